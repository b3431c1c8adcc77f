"""The short way in, for what follows the first object of a series: one statement instead of a dozen.

What the long way (`Indexer`) found out about a series is remembered: which rows it is, and whose. Later objects that
say the same of their patient are inserted and counted by one statement, which asks under the lock of the study's row
whether all that was looked at is still so. Where it is not, `Changed` is raised, and the long way decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pacs.models import Series, Study
from pacs.services.incoming import Received
from pacs.services.index import instance_columns
from pacs.services.part10 import HEAD_SIZE
from radiology.services.identity import Identity
from radiology.services.rows import Statement

MOST_REMEMBERED = 5000
# Site, study, series.
Key = tuple[int, str, str]


class Changed(Exception):
    """What was remembered is not so any more; what the transaction has done must be taken back."""


@dataclass(frozen=True)
class KnownSeries:
    """What decided that objects which name `identity` belong to this series."""

    identity: Identity
    study: int
    series: int
    modality: str
    patient: int
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    birth_date: date | None
    provisional_for: str

    @property
    def patient_facts(self) -> tuple[Any, ...]:
        """What must still be so of the study's patient."""
        return tuple(getattr(self, name) for name in PATIENT_FACTS)


PATIENT_FACTS = ("patient", "patient_id", "issuer_of_patient_id", "patient_name", "birth_date", "provisional_for")

# Of this process. Never asked without the database's consent, so it may be old.
_known: dict[Key, KnownSeries] = {}

# In one order everywhere, so that batches that share studies wait for each other.
LOCK = Statement("SELECT FROM pacs_study WHERE id = ANY(%s::bigint[]) ORDER BY id FOR NO KEY UPDATE")

# The keys are given as arrays once more: the planner cannot know how few rows an unnest() yields.
JOIN = Statement(
    """
WITH new AS (
    SELECT * FROM unnest(
        %s::bigint[], %s::varchar[], %s::varchar[], %s::int[], %s::int[], %s::int[], %s::smallint[], %s::int[],
        %s::varchar[], %s::varchar[], %s::bigint[], %s::varchar[], %s::bigint[], %s::bytea[], %s::varchar[], %s::bytea[]
    ) AS new(series, sop_instance_uid, sop_class_uid, instance_number, "rows", "columns", bits_allocated,
             number_of_frames, content_date, content_time, volume_id, path, size, sha256, transfer_syntax_uid,
             pixels)
), known_study AS (
    SELECT * FROM unnest(
        %s::bigint[], %s::varchar[], %s::bigint[], %s::varchar[], %s::varchar[], %s::varchar[], %s::date[],
        %s::varchar[], %s::int[], %s::bigint[]
    ) AS known(id, study_instance_uid, patient, patient_id, issuer_of_patient_id, patient_name, birth_date,
               provisional_for, instances, size)
), known_series AS (
    SELECT * FROM unnest(
        %s::bigint[], %s::bigint[], %s::varchar[], %s::varchar[], %s::int[], %s::bigint[]
    ) AS known(id, study, series_instance_uid, modality, instances, size)
), study AS (
    UPDATE pacs_study AS study
       SET number_of_study_related_instances = study.number_of_study_related_instances + known.instances,
           size = study.size + known.size, version = study.version + 1, updated_at = now()
      FROM known_study AS known JOIN radiology_patient AS patient ON patient.id = known.patient
     WHERE study.id = known.id AND study.id = ANY(%s) AND patient.id = ANY(%s)
       AND study.study_instance_uid = known.study_instance_uid
       AND study.patient_ref_id = patient.id
       AND study.merged_into_id IS NULL AND study.deleted_at IS NULL AND study.overlay = '{}'
       AND patient.patient_id = known.patient_id AND patient.issuer_of_patient_id = known.issuer_of_patient_id
       AND patient.patient_name = known.patient_name
       AND patient.birth_date IS NOT DISTINCT FROM known.birth_date
       AND patient.provisional_for = known.provisional_for
 RETURNING study.id, study.modalities_in_study, study.sop_classes_in_study
), series AS (
    UPDATE pacs_series AS series
       SET number_of_series_related_instances = series.number_of_series_related_instances + known.instances,
           size = series.size + known.size, version = series.version + 1, updated_at = now()
      FROM known_series AS known JOIN study ON study.id = known.study
     WHERE series.id = known.id AND series.id = ANY(%s) AND series.series_instance_uid = known.series_instance_uid
       AND series.study_ref_id = study.id
       AND series.received_study_instance_uid = '' AND series.removed_at IS NULL
       AND series.number_of_series_related_instances > 0
       AND (known.modality = '' OR known.modality = ANY(study.modalities_in_study))
 RETURNING series.id, study.sop_classes_in_study
), instance AS (
    INSERT INTO pacs_instance (site_id, series_ref_id, sop_instance_uid, sop_class_uid, instance_number, "rows",
                               "columns", bits_allocated, number_of_frames, content_date, content_time, created_at)
    SELECT %s::bigint, series.id, sop_instance_uid, sop_class_uid, instance_number, "rows", "columns", bits_allocated,
           number_of_frames, content_date, content_time, now()
      FROM new JOIN series ON series.id = new.series
     WHERE new.sop_class_uid = ANY(series.sop_classes_in_study)
     ORDER BY sop_instance_uid
        ON CONFLICT DO NOTHING
 RETURNING id, sop_instance_uid
)
INSERT INTO pacs_location (instance_ref_id, volume_id, path, data_set_offset, size, sha256, transfer_syntax_uid,
                           pixels, is_current, created_at)
SELECT instance.id, volume_id, path, %s::bigint, size, sha256, transfer_syntax_uid, pixels, TRUE, now()
  FROM instance JOIN new USING (sop_instance_uid)
RETURNING instance_ref_id
"""
)


def learn(received: Received, study: Study, series: Series) -> None:
    """Remember how an object was filed, if there was nothing special about it.

    Special are a study that was corrected, merged or deleted, a series that was moved, and an identity that was
    not the study's own patient's.
    """
    if study.overlay or study.merged_into_id is not None or series.received_study_instance_uid:
        return
    if len(_known) >= MOST_REMEMBERED:
        _known.clear()
    patient = study.patient_ref
    _known[_key(received)] = KnownSeries(
        identity=received.identity,
        study=study.pk,
        series=series.pk,
        modality=series.modality,
        patient=patient.pk,
        patient_id=patient.patient_id,
        issuer_of_patient_id=patient.issuer_of_patient_id,
        patient_name=patient.patient_name,
        birth_date=patient.birth_date,
        provisional_for=patient.provisional_for,
    )


def forget(received: Sequence[Received]) -> None:
    """Take the long way the next time."""
    for each in received:
        _known.pop(_key(each), None)


def pioneers(received: Sequence[Received]) -> list[Received]:
    """One of each series that is not known, or known of somebody else: once it is filed the others may join it."""
    first: dict[Key, Received] = {}
    for each in received:
        if _known_of(each) is None:
            first.setdefault(_key(each), each)
    return list(first.values())


class Joining:
    """Objects of one site that all belong to series that are known."""

    def __init__(self, groups: dict[KnownSeries, list[Received]]) -> None:
        self._groups = groups
        self._studies = {id(each): known.study for known, group in groups.items() for each in group}

    @classmethod
    def of(cls, received: Sequence[Received]) -> "Joining | None":
        """None when one of them must take the long way."""
        groups: dict[KnownSeries, list[Received]] = {}
        for each in received:
            known = _known_of(each)
            if known is None:
                return None
            groups.setdefault(known, []).append(each)
        return cls(groups)

    @property
    def studies(self) -> list[int]:
        return sorted(set(self._studies.values()))

    def study(self, received: Received) -> int:
        """The row of the study that an object joins."""
        return self._studies[id(received)]

    def insert(self, paths: dict[int, str]) -> list[int]:
        """Insert and count them; the instances' rows. `paths` are the lasting paths by the id() of the object.

        Raises Changed.
        """
        if len(self.studies) > 1:
            LOCK(self.studies)
        made = [pk for (pk,) in JOIN(*self._parameters(paths))]
        if len(made) != len(self._studies):
            raise Changed
        return made

    def _parameters(self, paths: dict[int, str]) -> list[Any]:
        objects = [(known, each) for known, group in self._groups.items() for each in group]
        rows = [instance_columns(each.header) for _, each in objects]
        studies: dict[int, list[KnownSeries]] = {}
        for known in self._groups:
            studies.setdefault(known.study, []).append(known)
        facts = [own[0] for own in studies.values()]
        if any(each.patient_facts != own[0].patient_facts for own in studies.values() for each in own):
            raise Changed  # learned at different times
        in_series = {known: _counted(group) for known, group in self._groups.items()}
        in_study = [tuple(map(sum, zip(*map(in_series.get, own), strict=True))) for own in studies.values()]
        first = {known.study: group[0] for known, group in self._groups.items()}
        return [
            [known.series for known, _ in objects],
            [each.sop_instance_uid for _, each in objects],
            [each.sop_class_uid for _, each in objects],
            *([row[name] for row in rows] for name in INSTANCE_COLUMNS),
            [each.volume.pk for _, each in objects],
            [paths[id(each)] for _, each in objects],
            [each.size for _, each in objects],
            [each.sha256 for _, each in objects],
            [each.transfer_syntax_uid for _, each in objects],
            [each.pixels for _, each in objects],
            list(studies),
            [first[study].study_instance_uid for study in studies],
            *([getattr(each, name) for each in facts] for name in PATIENT_FACTS),
            [count for count, _ in in_study],
            [size for _, size in in_study],
            [known.series for known in self._groups],
            [known.study for known in self._groups],
            [group[0].series_instance_uid for group in self._groups.values()],
            [known.modality for known in self._groups],
            [count for count, _ in in_series.values()],
            [size for _, size in in_series.values()],
            list(studies),
            [each.patient for each in facts],
            [known.series for known in self._groups],
            objects[0][1].source.site.pk,
            HEAD_SIZE,
        ]


def _key(received: Received) -> Key:
    return received.source.site.pk, received.study_instance_uid, received.series_instance_uid


def _known_of(received: Received) -> KnownSeries | None:
    known = _known.get(_key(received))
    return known if known is not None and known.identity == received.identity else None


def _counted(group: Sequence[Received]) -> tuple[int, int]:
    return len(group), sum(each.size for each in group)


INSTANCE_COLUMNS = (
    "instance_number", "rows", "columns", "bits_allocated", "number_of_frames", "content_date", "content_time",
)  # fmt: skip
