"""The rows that a batch of received objects belongs to: patients, studies, series, counters."""

import json
import zoneinfo
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from pacs.models import HeldReason, Instance, RequestAttributes, Series, Study
from pacs.services.coercion import lay_person_over, of_person, of_study, with_attributes
from pacs.services.deletion import may_return
from pacs.services.header import Header
from pacs.services.incoming import SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, Received, Source
from pacs.services.overlay import text_of
from pacs.signals import studies_stored
from radiology.dicom import PersonName, instant, parse_da, parse_offset
from radiology.models import Patient
from radiology.services.identity import (
    Identity,
    patients_for_studies,
    same_person,
    survivor_named,
)
from radiology.services.rows import Statement, insert_missing

MOST_MERGES = 20
PATIENT_ID = "00100020"
R = TypeVar("R", Study, Series)

# Keys are given as arrays once more: the planner cannot know how few rows the JSON yields.
_COUNT_SERIES = Statement(
    """
    UPDATE pacs_series AS series SET
        number_of_series_related_instances = number_of_series_related_instances + new.instances,
        size = series.size + new.size, version = version + 1, updated_at = now(), removed_at = NULL
      FROM json_to_recordset(%s::json) AS new(id bigint, instances int, size bigint)
     WHERE series.id = new.id AND series.id = ANY(%s::bigint[])
    """
)
_COUNT_STUDIES = Statement(
    """
    UPDATE pacs_study AS study SET
        number_of_study_related_instances = number_of_study_related_instances + new.instances,
        number_of_study_related_series =
            (SELECT count(*) FROM pacs_series
              WHERE study_ref_id = study.id AND number_of_series_related_instances > 0),
        size = study.size + new.size,
        modalities_in_study = ARRAY(SELECT DISTINCT unnest(modalities_in_study || new.modalities) ORDER BY 1),
        sop_classes_in_study = ARRAY(SELECT DISTINCT unnest(sop_classes_in_study || new.sop_classes) ORDER BY 1),
        version = version + 1, updated_at = now(), deleted_at = NULL, deletion_reason = ''
      FROM json_to_recordset(%s::json)
           AS new(id bigint, instances int, size bigint, modalities varchar[], sop_classes varchar[])
     WHERE study.id = new.id AND study.id = ANY(%s::bigint[])
    """
)


class Indexer:
    """Finds or makes, inside the caller's transaction, the rows of a batch.

    Rows are made in the order of their UIDs, level by level, and studies are locked before anything
    below them is touched, so that batches and corrections that share studies wait for each other
    rather than lock each other out.
    """

    def __init__(self, received: Sequence[Received]) -> None:
        self._studies: dict[tuple[int, str], Study] = {}
        self._series: dict[tuple[int, str], Series] = {}
        self._conflicts: dict[int, HeldReason] = {}
        self._refused: set[int] = set()
        self._new: set[int] = set()
        self._returned: set[int] = set()
        self._find_studies(received)
        self._find_series([each for each in received if id(each) not in self._conflicts])

    def conflict(self, received: Received) -> HeldReason | None:
        """Why this object cannot join the tree, if so."""
        return self._conflicts.get(id(received))

    def is_refused(self, received: Received) -> bool:
        """Whether the study that it would join was deleted here, and the site refuses what is sent again."""
        return id(received) in self._refused

    def study(self, received: Received) -> int:
        """The row of the study that an object joins."""
        return self._series[_series_key(received)].study_ref_id

    def filed_under(self, received: Received) -> tuple[Study, Series]:
        """The study that an object names, and its series."""
        return self._studies[_study_key(received)], self._series[_series_key(received)]

    def tell(self, stored: Sequence[Received], instances: Sequence[int]) -> None:
        """Send `studies_stored` about the studies that `stored` joined as the rows `instances`."""
        studies = {self.study(each) for each in stored}
        if studies:
            studies_stored.send(
                sender=Study,
                studies=sorted(studies),
                new=sorted(studies & (self._new | self._returned)),
                returned=sorted(studies & self._returned),
                instances=instances,
                is_ours=all(each.source.is_ours for each in stored),
            )

    def instance(self, received: Received) -> Instance:
        """The row of one object, not yet inserted."""
        return Instance(
            site=received.source.site,
            series_ref=self._series[_series_key(received)],
            sop_instance_uid=received.sop_instance_uid,
            sop_class_uid=received.sop_class_uid,
            **instance_columns(received.header),
        )

    def count(self, stored: Sequence[Received]) -> None:
        """Raise the counters of the series and studies that `stored` joined; what was hidden as empty is shown."""
        series_images: Counter[int] = Counter()
        series_bytes: Counter[int] = Counter()
        studies: dict[int, list[Received]] = {}
        for each in stored:
            series = self._series[_series_key(each)]
            series_images[series.pk] += 1
            series_bytes[series.pk] += each.size
            studies.setdefault(series.study_ref_id, []).append(each)
        _COUNT_SERIES(
            json.dumps([{"id": pk, "instances": series_images[pk], "size": series_bytes[pk]} for pk in series_images]),
            list(series_images),
        )
        _COUNT_STUDIES(json.dumps([self._counted(pk, own) for pk, own in studies.items()]), list(studies))

    def _counted(self, pk: int, stored: Sequence[Received]) -> dict[str, Any]:
        return {
            "id": pk,
            "instances": len(stored),
            "size": sum(each.size for each in stored),
            "modalities": sorted({self._series[_series_key(each)].modality for each in stored} - {""}),
            "sop_classes": sorted({each.sop_class_uid for each in stored}),
        }

    def _find_studies(self, received: Sequence[Received]) -> None:
        wanted = {_study_key(each): each for each in received}
        self._studies = _load_studies(wanted)
        missing = sorted(wanted.keys() - self._studies.keys())
        for site in {key[0] for key in missing}:
            rows = _new_studies([wanted[key] for key in missing if key[0] == site])
            made = insert_missing(rows, returning="study_instance_uid")
            self._new.update(made.values())
            self._studies.update(_made(rows, made, "study_instance_uid"))
        self._studies.update(_load_studies([key for key in missing if key not in self._studies]))
        for each in received:
            study = self._studies[_study_key(each)]
            identity = each.identity
            if same_person_or_own(study, identity):
                continue
            survivor = survivor_named(site=each.source.site, identity=identity)
            if survivor is not None and survivor.pk == study.patient_ref_id:
                lay_person_over(study)
            else:
                self._conflicts[id(each)] = HeldReason.STUDY_OF_OTHER_PATIENT
        for key, study in self._studies.items():
            self._studies[key] = _merged_into(study)

    def _find_series(self, received: Sequence[Received]) -> None:
        self._series = _load_series({_series_key(each): each for each in received})
        for each in received:
            study = self._joined(each)
            if study.deleted_at is None:
                continue
            if may_return(study):
                self._returned.add(study.pk)
            else:
                self._refused.add(id(each))
        received = [each for each in received if id(each) not in self._refused]
        wanted = {_series_key(each): each for each in received}
        missing = sorted(wanted.keys() - self._series.keys())
        if missing:
            rows = [_series_row(wanted[key], self._studies[_study_key(wanted[key])]) for key in missing]
            made = insert_missing(rows, returning="series_instance_uid")
            new = _made(rows, made, "series_instance_uid")
            self._series.update(new)
            self._series.update(_load_series([key for key in missing if key not in new]))
            RequestAttributes.objects.bulk_create(
                each for key, series in new.items() for each in _request_attributes(series, wanted[key].header)
            )
        for each in received:
            series = self._series[_series_key(each)]
            if each.study_instance_uid == series.received_study_instance_uid:
                continue  # it was moved to another study: what belongs to it follows
            if series.study_ref_id != self._studies[_study_key(each)].pk:
                self._conflicts[id(each)] = HeldReason.SERIES_OF_OTHER_STUDY

    def _joined(self, received: Received) -> Study:
        """The study that an object joins: the one that its series was moved to, else the one that it names."""
        series = self._series.get(_series_key(received))
        if series is not None and series.received_study_instance_uid == received.study_instance_uid:
            return _locked(series.study_ref_id)
        return self._studies[_study_key(received)]


def same_person_or_own(study: Study, identity: Identity) -> bool:
    """Whether an object that names that patient may join `study`: its patient is the study's."""
    patient = study.patient_ref
    if was_corrected_from(study, identity):
        return True
    if patient.is_provisional and not patient.patient_id and not identity.patient_id:
        return same_person(patient, identity)
    return bool(identity.patient_id) and same_person(patient, identity)


def was_corrected_from(study: Study, identity: Identity) -> bool:
    """Whether somebody said that what names `identity` in this study is another patient's."""
    return PATIENT_ID in study.overlay.get("attributes", {}) and same_person(patient_as_received(study), identity)


def patient_as_received(study: Study) -> Patient:
    """Who the objects of a study said they are of, before somebody corrected it; in no database."""
    received = {tag: study.attributes.get(tag, {}) for tag in ("00100010", PATIENT_ID, "00100021", "00100030")}
    name, patient_id, issuer, born = (text_of(element) for element in received.values())
    return Patient(
        patient_id=patient_id,
        issuer_of_patient_id=issuer,
        patient_name=name,
        patient_birth_date=born,
        birth_date=parse_da(born),
    )


def _study_key(received: Received) -> tuple[int, str]:
    return received.source.site.pk, received.study_instance_uid


def _series_key(received: Received) -> tuple[int, str]:
    return received.source.site.pk, received.series_instance_uid


def _made(rows: Sequence[R], made: dict[str, int], uid: str) -> dict[tuple[int, str], R]:
    """Those of `rows` that were inserted, by site and `uid`."""
    found = {}
    for row in rows:
        if getattr(row, uid) in made:
            row.pk, row._state.adding, row._state.db = made[getattr(row, uid)], False, connection.alias
            found[row.site_id, getattr(row, uid)] = row
    return found


def _load_studies(keys: Sequence[tuple[int, str]] | dict[tuple[int, str], Received]) -> dict[tuple[int, str], Study]:
    if not keys:
        return {}
    found = _locking().filter(site__in={site for site, _ in keys}, study_instance_uid__in={uid for _, uid in keys})
    return {(each.site_id, each.study_instance_uid): each for each in found}


def _load_series(keys: Sequence[tuple[int, str]] | dict[tuple[int, str], Received]) -> dict[tuple[int, str], Series]:
    if not keys:
        return {}
    found = Series.objects.filter(site__in={site for site, _ in keys}, series_instance_uid__in={uid for _, uid in keys})
    return {(each.site_id, each.series_instance_uid): each for each in found}


def _new_studies(received: Sequence[Received]) -> list[Study]:
    """New studies of one site, of which these are the first objects."""
    site = received[0].source.site
    patients = patients_for_studies(site=site, wanted=[(each.identity, each.study_instance_uid) for each in received])
    return [_study(each, patient) for each, patient in zip(received, patients, strict=True)]


def _study(received: Received, patient: Patient) -> Study:
    """A new study; of a patient who was merged into another, with that other's identity laid over."""
    now = timezone.now()
    columns = study_columns(received.header, received.source)
    is_other = not patient.is_provisional and not same_person(patient, received.identity)
    return Study(
        site=received.source.site,
        patient_ref=patient,
        overlay=with_attributes({}, of_person(patient)) if is_other else {},
        study_instance_uid=received.study_instance_uid,
        sort_at=columns["study_datetime"] or now,
        created_at=now,
        updated_at=now,
        **columns,
    )


def _series(received: Received, study: Study) -> Series:
    return Series(
        site=received.source.site,
        study_ref=study,
        series_instance_uid=received.series_instance_uid,
        source_ae_title=received.source.ae_title[:16],
        **series_columns(received.header),
    )


def _series_row(received: Received, study: Study) -> Series:
    """A new series; in a study that its own was merged into, it is corrected as those that came before."""
    row = _series(received, study)
    if received.study_instance_uid != study.study_instance_uid:
        row.received_study_instance_uid = received.study_instance_uid
        row.overlay = with_attributes({}, of_study(study))
    return row


def _merged_into(study: Study) -> Study:
    """The study that now holds what this one held."""
    for _ in range(MOST_MERGES):
        if study.merged_into_id is None:
            return study
        study = _locked(study.merged_into_id)
    return study


def _locking() -> QuerySet[Study]:
    return Study.objects.select_for_update(no_key=True, of=("self",)).select_related("patient_ref").order_by("id")


def _locked(pk: int) -> Study:
    return _locking().get(pk=pk)


def study_columns(header: Header, source: Source) -> dict[str, Any]:
    """The columns of a study's row that its objects' header gives."""
    study_date, study_time = header.first(0x00080020)[:16], header.first(0x00080030)[:16]
    offset = header.first(0x00080201)
    zone = parse_offset(offset) or zoneinfo.ZoneInfo(source.time_zone or source.site.time_zone)
    referrer = header.first(0x00080090)
    issuer = header.items(0x00080051)
    return {
        "study_date": study_date,
        "study_time": study_time,
        "timezone_offset_from_utc": offset[:5],
        "study_datetime": instant(study_date, study_time, zone),
        "accession_number": header.first(0x00080050)[:64],
        "issuer_of_accession_number": (issuer[0].first(0x00400031) if issuer else "")[:64],
        "study_id": header.first(0x00200010)[:64],
        "study_description": header.first(0x00081030)[:256],
        "referring_physician_name": referrer[:324],
        "referring_physician_name_search": PersonName(referrer).normalised[:512],
        "attributes": header.to_json(STUDY_ATTRIBUTES),
    }


def series_columns(header: Header) -> dict[str, Any]:
    """The columns of a series' row that its objects' header gives."""
    return {
        "modality": header.first(0x00080060)[:16],
        "series_number": header.integer(0x00200011),
        "series_description": header.first(0x0008103E)[:256],
        "series_date": header.first(0x00080021)[:16],
        "series_time": header.first(0x00080031)[:16],
        "body_part_examined": header.first(0x00180015)[:64],
        "laterality": header.first(0x00200060)[:16],
        "station_name": header.first(0x00081010)[:64],
        "protocol_name": header.first(0x00181030)[:256],
        "performed_procedure_step_start_date": header.first(0x00400244)[:16],
        "performed_procedure_step_start_time": header.first(0x00400245)[:16],
        "attributes": header.to_json(SERIES_ATTRIBUTES),
    }


def instance_columns(header: Header) -> dict[str, Any]:
    """The columns of an instance's row that its header gives."""
    return {
        "instance_number": header.integer(0x00200013),
        "rows": _positive(header.integer(0x00280010)),
        "columns": _positive(header.integer(0x00280011)),
        "bits_allocated": _positive(header.integer(0x00280100), 0x7FFF),
        "number_of_frames": _positive(header.integer(0x00280008)),
        "content_date": header.first(0x00080023)[:16],
        "content_time": header.first(0x00080033)[:16],
    }


def _request_attributes(series: Series, header: Header) -> Iterator[RequestAttributes]:
    for item in header.items(0x00400275)[:50]:
        yield RequestAttributes(
            series_ref=series,
            scheduled_procedure_step_id=item.first(0x00400009)[:64],
            requested_procedure_id=item.first(0x00401001)[:64],
            accession_number=item.first(0x00080050)[:64],
            study_instance_uid=item.uid(0x0020000D)[:64],
        )


def _positive(number: int | None, largest: int = 2**31 - 1) -> int | None:
    return number if number is not None and 0 <= number <= largest else None
