"""Putting right what came in wrong: laid over on the way out, recorded, and undone when that was wrong.

Rows take the corrected values, so that every search finds them; objects get them on their way out
(pacs.services.outgoing); the bytes in the archive never change. Each correction keeps what stood there
before. Of several, the latest is undone first.
"""

import zoneinfo
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import Correction, CorrectionKind, Removal, RemovalCode, Series, Study
from pacs.services.attributes import BY_KEYWORD
from pacs.services.availability import notify_availability
from pacs.services.coercion import (
    Attributes,
    lay_patient_over,
    lock_studies,
    of_patient,
    of_row,
    of_study,
    recount,
    show_anew,
    with_attributes,
)
from pacs.services.correctable import OF_SERIES, OF_STUDY, value_of
from radiology.dicom import PersonName, clean, instant, new_uid, parse_offset
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, Patient, User
from radiology.services import audit
from radiology.services.survivors import hold_survivor, survivor_of

IMAGE_LATERALITY = "00200062"
MERGED = "merged"


@transaction.atomic
def correct_study(
    *, who: Any, study: Study, version: int, changes: Mapping[str, str], reason: str = "", address: str | None = None
) -> Correction:
    """Give a study other attributes (OF_STUDY). Raises InvalidValue, NotAllowed, NotFound, Conflict."""
    study = _locked(who, study, version)
    values = {keyword: value_of(keyword, text, OF_STUDY) for keyword, text in changes.items()}
    before = _before(study, values, [BY_KEYWORD[keyword].tag for keyword in values])
    for keyword, value in values.items():
        setattr(study, BY_KEYWORD[keyword].column, value)
    attributes: Attributes = dict(of_row(keyword, study) for keyword in values)
    study.overlay = with_attributes(study.overlay, attributes)
    study.referring_physician_name_search = PersonName(study.referring_physician_name).normalised[:512]
    if {"StudyDate", "StudyTime"} & values.keys():
        _derive_moment(study)
    _save(study, *DERIVED, "overlay", *(BY_KEYWORD[keyword].column for keyword in values))
    return _record(who, CorrectionKind.ATTRIBUTES, study, {"study": before}, values, reason, address)


@transaction.atomic
def correct_series(
    *, who: Any, series: Series, version: int, changes: Mapping[str, str], reason: str = "", address: str | None = None
) -> Correction:
    """Give a series other attributes (OF_SERIES); `version` is its study's.

    Image Laterality (0020,0062) follows Laterality in the objects that have it.
    """
    study = _locked(who, series.study_ref, version)
    series = Series.objects.select_for_update().get(pk=series.pk, study_ref=study)
    values: dict[str, Any] = {keyword: value_of(keyword, text, OF_SERIES) for keyword, text in changes.items()}
    if values.get("SeriesNumber") == "":
        values["SeriesNumber"] = None
    before = _before(series, values, [*(BY_KEYWORD[keyword].tag for keyword in values), IMAGE_LATERALITY])
    for keyword, value in values.items():
        setattr(series, BY_KEYWORD[keyword].column, int(value) if keyword == "SeriesNumber" and value else value)
    attributes: Attributes = dict(of_row(keyword, series) for keyword in values)
    if "Laterality" in values:
        attributes[IMAGE_LATERALITY] = attributes[BY_KEYWORD["Laterality"].tag]
    series.overlay = with_attributes(series.overlay, attributes)
    series.save(update_fields=["overlay", *(BY_KEYWORD[keyword].column for keyword in values)])
    after = {"series": series.series_instance_uid, **values}
    return _record(who, CorrectionKind.ATTRIBUTES, study, {"series": {str(series.pk): before}}, after, reason, address)


@transaction.atomic
def assign_patient(
    *, who: Any, study: Study, version: int, patient: Patient, reason: str = "", address: str | None = None
) -> Correction:
    """Say that a study is another patient's, who must be of the same site.

    The order that it was linked to is left behind when it is not that patient's.
    """
    study = _locked(who, study, version)
    patient = hold_survivor(_visible_patient(who, study, patient))
    if patient.pk == study.patient_ref_id:
        raise InvalidValue(_("The study is this patient's already."), field="patient")
    attributes = of_patient(patient)
    before = _before(study, {}, attributes)
    study.patient_ref = patient
    procedure = study.requested_procedure_ref
    if procedure is not None and procedure.order_ref.patient_ref_id != patient.pk:
        study.requested_procedure_ref = None
        study.ordering_physician = None
    study.overlay = with_attributes(study.overlay, attributes)
    _save(study, "patient_ref", "requested_procedure_ref", "ordering_physician", "overlay")
    after = {"PatientID": patient.patient_id, "PatientName": patient.patient_name, "patient": str(patient.public_id)}
    return _record(who, CorrectionKind.PATIENT, study, {"study": before}, after, reason, address)


@transaction.atomic
def move_series(
    *,
    who: Any,
    series: Sequence[Series],
    version: int,
    into: Study | None = None,
    reason: str = "",
    address: str | None = None,
) -> Correction:
    """Split a study: move some of its series into another study, or (None) into a new one of the same patient.

    `version` is that of the study they leave. What still arrives for them follows. Raises InvalidValue
    when none would stay.
    """
    if not series:
        raise InvalidValue(_("Choose the series that go to another study."), field="series")
    study = _locked(who, series[0].study_ref, version, into)
    rows = list(Series.objects.select_for_update().filter(pk__in=[each.pk for each in series], study_ref=study))
    if len(rows) != len({each.pk for each in series}):
        raise NotFound(_("Some of these series are not in this study any more."))
    if not Series.objects.visible_to(who).filter(study_ref=study).exclude(pk__in=[row.pk for row in rows]).exists():
        raise InvalidValue(_("At least one series must stay: merge the study instead."), field="series")
    created = into is None
    target = _locked_other(who, study, into) if into is not None else _new_study(study)
    before = {"series": {str(row.pk): _before(row, {}, of_study(target)) for row in rows}, "created": created}
    _move(rows, target)
    recount(studies=[study.pk, target.pk])
    study.refresh_from_db()
    _tell_of_move(study, target, rows)
    after = {"series": [row.series_instance_uid for row in rows], "StudyInstanceUID": target.study_instance_uid}
    return _record(who, CorrectionKind.SPLIT, study, before, after, reason, address, other=target)


@transaction.atomic
def merge_studies(
    *, who: Any, study: Study, version: int, into: Study, reason: str = "", address: str | None = None
) -> Correction:
    """Move all that a study holds into another one; the emptied study disappears, and what still arrives follows."""
    study = _locked(who, study, version, into)
    target = _locked_other(who, study, into)
    rows = list(Series.objects.select_for_update().filter(study_ref=study).order_by("pk"))
    before: dict[str, Any] = {"series": {str(row.pk): _before(row, {}, of_study(target)) for row in rows}}
    _move(rows, target)
    study.merged_into = target
    study.deleted_at = timezone.now()
    study.deletion_reason = MERGED
    _save(study, "merged_into", "deleted_at", "deletion_reason")
    recount(studies=[study.pk, target.pk])
    target.refresh_from_db()
    _tell_of_move(study, target, rows)
    after = {"StudyInstanceUID": study.study_instance_uid, "series": [row.series_instance_uid for row in rows]}
    return _record(who, CorrectionKind.MERGE, target, before, after, reason, address, other=study)


@transaction.atomic
def undo(*, who: Any, correction: Correction, address: str | None = None) -> None:
    """Take a correction back. Undoing twice is harmless.

    Raises Conflict while a later one stands on it, or while one of its studies is deleted.
    """
    _require_right(who)
    found = Correction.objects.select_for_update(of=("self",)).select_related("study_ref", "other_study_ref")
    correction = found.get(public_id=correction.public_id)
    studies = [each for each in (correction.study_ref, correction.other_study_ref) if each is not None]
    if not Study.objects.visible_to(who).filter(pk__in=[each.pk for each in studies]).exists():
        raise NotFound(_("There is no such correction."))
    if correction.undone_at is not None:
        return
    involved = Q(study_ref__in=studies) | Q(other_study_ref__in=studies)
    if Correction.objects.filter(involved, undone_at=None, pk__gt=correction.pk).exists():
        raise Conflict(_("The study was corrected again since: undo the later correction first."))
    if Removal.objects.filter(study_ref__in=studies, code=RemovalCode.DELETED, restored_at=None).exists():
        raise Conflict(_("The study was deleted since: restore it first."))
    _lock(*(each.pk for each in studies))
    series_before = list(Series.objects.filter(study_ref__in=studies))
    study = Study.objects.get(pk=correction.study_ref.pk)
    if "study" in correction.before:
        _restore(study, correction.before["study"])
        study = Study.objects.get(pk=study.pk)
        lay_patient_over(study.patient_ref)
    if correction.kind == CorrectionKind.MERGE and correction.other_study_ref is not None:
        merged = correction.other_study_ref
        late = Series.objects.filter(study_ref=study, received_study_instance_uid=merged.study_instance_uid)
        late.exclude(pk__in=list(correction.before["series"])).update(
            study_ref=merged, received_study_instance_uid="", overlay={}
        )
        Study.objects.filter(pk=merged.pk).update(merged_into=None, deleted_at=None, deletion_reason="")
    for pk, before in correction.before.get("series", {}).items():
        series = Series.objects.filter(pk=pk).first()
        if series is not None:
            _restore(series, before)
    if correction.other_study_ref is not None:
        recount(studies=[each.pk for each in studies])
        left = Series.objects.filter(study_ref=correction.other_study_ref).exists()
        if correction.before.get("created") and not left:
            Study.objects.filter(pk=correction.other_study_ref.pk).update(
                deleted_at=timezone.now(), deletion_reason="undone"
            )
        for each in studies:
            notify_availability(study=each, left=[row for row in series_before if row.study_ref_id == each.pk])
    else:
        show_anew(study.pk)
    study.refresh_from_db()
    _level(study, correction.other_study_ref)
    correction.undone_at = timezone.now()
    correction.study_version = study.version
    correction.save(update_fields=["undone_at", "study_version"])
    _audit(who, "study.correction.undone", correction, study, address)


DERIVED = ("referring_physician_name_search", "study_datetime", "sort_at")
KEPT_OF_STUDY = ("patient_ref_id", "requested_procedure_ref_id", "ordering_physician_id")
KEPT_OF_SERIES = ("study_ref_id", "received_study_instance_uid")


def _require_right(who: Any) -> None:
    if not who.may("studies.correct"):
        raise NotAllowed(_("You may not correct studies."))


def _lock(*studies: int | None) -> None:
    lock_studies(pk for pk in studies if pk is not None)


def _locked(who: Any, study: Study, version: int, other: Study | None = None) -> Study:
    """The study's row, locked, as is that of `other`. Raises Conflict when somebody corrected it after `version`."""
    _require_right(who)
    _lock(study.pk, other.pk if other is not None else None)
    found = (
        Study.objects.visible_to(who)
        .select_related("site", "patient_ref", "requested_procedure_ref__order_ref")
        .filter(pk=study.pk)
        .first()
    )
    if found is None:
        raise NotFound(_("There is no such study."))
    later = Correction.objects.filter(Q(study_ref=found) | Q(other_study_ref=found), study_version__gt=version)
    if version > found.version or later.exists():
        raise Conflict(
            _("Somebody else corrected this study meanwhile: look at it again, then repeat your correction."),
            version=found.version,
        )
    return found


def _locked_other(who: Any, study: Study, other: Study) -> Study:
    found = Study.objects.visible_to(who).select_related("patient_ref").filter(pk=other.pk, site=study.site_id).first()
    if found is None:
        raise NotFound(_("There is no such study at this site."))
    if found.pk == study.pk:
        raise InvalidValue(_("Choose another study than the one that the images are in."), field="into")
    return found


def _visible_patient(who: Any, study: Study, patient: Patient) -> Patient:
    found = Patient.objects.visible_to(who).filter(pk=patient.pk, site=study.site_id).first()
    if found is None:
        raise NotFound(_("There is no such patient at this site."))
    return found


def _before(row: Study | Series, values: Mapping[str, Any], tags: Collection[str]) -> dict[str, Any]:
    """What stands in the row now, of all that a correction changes: columns, and entries of the overlay."""
    names = [*(KEPT_OF_STUDY if isinstance(row, Study) else KEPT_OF_SERIES)]
    names += [BY_KEYWORD[keyword].column for keyword in values]
    laid = row.overlay.get("attributes", {})
    return {
        "columns": {name: getattr(row, name) for name in names},
        "overlay": {tag: laid[tag] for tag in tags if tag in laid},
        "overlaid": [tag for tag in tags if tag not in laid],
    }


def _restore(row: Study | Series, before: Mapping[str, Any]) -> None:
    """Put back what `_before` kept; what else was corrected meanwhile stays."""
    for name, value in before["columns"].items():
        setattr(row, name, value)
    attributes = {**row.overlay.get("attributes", {}), **before["overlay"]}
    for tag in before["overlaid"]:
        attributes.pop(tag, None)
    row.overlay = with_attributes({}, attributes) if attributes else {}
    if isinstance(row, Study):
        row.patient_ref = survivor_of(row.patient_ref)  # who was merged into another since is that other
        row.referring_physician_name_search = PersonName(row.referring_physician_name).normalised[:512]
        if {"study_date", "study_time"} & before["columns"].keys():
            _derive_moment(row)
    row.save()


def _derive_moment(study: Study) -> None:
    zone = parse_offset(study.timezone_offset_from_utc) or zoneinfo.ZoneInfo(study.site.time_zone)
    study.study_datetime = instant(study.study_date, study.study_time, zone)
    study.sort_at = study.study_datetime or study.created_at


def _save(study: Study, *names: str) -> None:
    study.save(update_fields=list(names))
    show_anew(study.pk)
    study.refresh_from_db(fields=["version"])


def _new_study(study: Study) -> Study:
    """A study beside `study`: the same patient and moment, a UID of its own, no order."""
    now = timezone.now()
    return Study.objects.create(
        site=study.site,
        patient_ref=study.patient_ref,
        study_instance_uid=new_uid(),
        study_date=study.study_date,
        study_time=study.study_time,
        timezone_offset_from_utc=study.timezone_offset_from_utc,
        study_datetime=study.study_datetime,
        study_description=study.study_description,
        referring_physician_name=study.referring_physician_name,
        referring_physician_name_search=study.referring_physician_name_search,
        attributes=study.attributes,
        sort_at=study.sort_at,
        created_at=now,
        updated_at=now,
    )


def _move(rows: Sequence[Series], target: Study) -> None:
    for row in rows:
        belonged = row.received_study_instance_uid or row.study_ref.study_instance_uid
        row.study_ref = target
        row.received_study_instance_uid = "" if belonged == target.study_instance_uid else belonged
        row.overlay = with_attributes(row.overlay, of_study(target))
        row.save(update_fields=["study_ref", "received_study_instance_uid", "overlay"])


def _tell_of_move(source: Study, target: Study, rows: Sequence[Series]) -> None:
    notify_availability(study=source, left=rows)
    notify_availability(study=target)


def _record(
    who: Any,
    kind: CorrectionKind,
    study: Study,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str,
    address: str | None,
    *,
    other: Study | None = None,
) -> Correction:
    show_anew(study.pk)
    _level(study, other)
    correction = Correction.objects.create(
        site=study.site,
        study_ref=study,
        other_study_ref=other,
        kind=kind,
        before=before,
        after=after,
        reason=clean(reason)[:200],
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
        study_version=study.version,
    )
    _audit(who, "study.corrected", correction, study, address)
    return correction


def _level(study: Study, other: Study | None) -> None:
    """Both studies of a correction get one version, which then says of either whether it was seen."""
    pks = [study.pk, *([other.pk] if other else [])]
    newest = max(Study.objects.filter(pk__in=pks).values_list("version", flat=True))
    Study.objects.filter(pk__in=pks).update(version=newest)
    study.version = newest


def _audit(who: Any, event: str, correction: Correction, study: Study, address: str | None) -> None:
    audit.record(
        event=event,
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
        detail={"correction": str(correction.public_id), "kind": correction.kind},
    )
