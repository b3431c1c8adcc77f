"""The short way in, for what follows the first object of a series: one statement instead of a dozen.

What the long way (`Indexer`) found out about a series is remembered: which rows it is, and whose. Later objects that
say the same of their patient are inserted and counted by one statement, which asks under the lock of the study's row
whether all that was looked at is still so. Where it is not, `Changed` is raised, and the long way decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import connection

from pacs.models import Series, Study
from pacs.services.incoming import Received
from pacs.services.index import identity_of, instance_columns
from pacs.services.part10 import HEAD_SIZE
from radiology.services.identity import Identity

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


# Of this process. Never asked without the database's consent, so it may be old.
_known: dict[Key, KnownSeries] = {}

JOIN = """
WITH new AS (
    SELECT * FROM unnest(
        %s::varchar[], %s::varchar[], %s::int[], %s::int[], %s::int[], %s::smallint[], %s::int[], %s::varchar[],
        %s::varchar[], %s::bigint[], %s::varchar[], %s::bigint[], %s::bytea[], %s::varchar[]
    ) AS new(sop_instance_uid, sop_class_uid, instance_number, "rows", "columns", bits_allocated, number_of_frames,
             content_date, content_time, volume_id, path, size, sha256, transfer_syntax_uid)
), study AS (
    UPDATE pacs_study AS study
       SET number_of_study_related_instances = study.number_of_study_related_instances + %s, size = study.size + %s,
           version = study.version + 1, updated_at = now()
      FROM radiology_patient AS patient
     WHERE study.id = %s AND study.study_instance_uid = %s AND study.patient_ref_id = %s
       AND study.merged_into_id IS NULL AND study.deleted_at IS NULL AND study.overlay = '{}'
       AND study.modalities_in_study @> %s::varchar[] AND study.sop_classes_in_study @> %s::varchar[]
       AND patient.id = study.patient_ref_id AND patient.patient_id = %s AND patient.issuer_of_patient_id = %s
       AND patient.patient_name = %s AND patient.birth_date IS NOT DISTINCT FROM %s::date
       AND patient.provisional_for = %s
 RETURNING study.id
), series AS (
    UPDATE pacs_series AS series
       SET number_of_series_related_instances = series.number_of_series_related_instances + %s,
           size = series.size + %s, version = series.version + 1, updated_at = now()
      FROM study
     WHERE series.id = %s AND series.series_instance_uid = %s AND series.study_ref_id = study.id
       AND series.received_study_instance_uid = '' AND series.removed_at IS NULL
       AND series.number_of_series_related_instances > 0
 RETURNING series.id
), instance AS (
    INSERT INTO pacs_instance (site_id, series_ref_id, sop_instance_uid, sop_class_uid, instance_number, "rows",
                               "columns", bits_allocated, number_of_frames, content_date, content_time, created_at)
    SELECT %s, series.id, sop_instance_uid, sop_class_uid, instance_number, "rows", "columns", bits_allocated,
           number_of_frames, content_date, content_time, now()
      FROM series, new
        ON CONFLICT DO NOTHING
 RETURNING id, sop_instance_uid
)
INSERT INTO pacs_location (instance_ref_id, volume_id, path, data_set_offset, size, sha256, transfer_syntax_uid,
                           is_current, created_at)
SELECT instance.id, volume_id, path, %s, size, sha256, transfer_syntax_uid, TRUE, now()
  FROM instance JOIN new USING (sop_instance_uid)
RETURNING instance_ref_id
"""


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
        identity=identity_of(received.header, received.source),
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
            known = _known.get(_key(each))
            if known is None or known.identity != identity_of(each.header, each.source):
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
        """Insert and count them, studies in the order of their rows; the instances' rows.

        `paths` are the lasting paths by the id() of the object. Raises Changed.
        """
        made: list[int] = []
        for known in sorted(self._groups, key=lambda each: (each.study, each.series)):
            group = sorted(self._groups[known], key=lambda each: each.sop_instance_uid)
            with connection.cursor() as cursor:
                cursor.execute(JOIN, _parameters(known, group, paths))
                rows = [pk for (pk,) in cursor.fetchall()]
            if len(rows) != len(group):
                raise Changed
            made += rows
        return made


def _key(received: Received) -> Key:
    return received.source.site.pk, received.study_instance_uid, received.series_instance_uid


def _parameters(known: KnownSeries, group: Sequence[Received], paths: dict[int, str]) -> list[Any]:
    columns = [instance_columns(each.header) for each in group]
    size = sum(each.size for each in group)
    first = group[0]
    return [
        [each.sop_instance_uid for each in group],
        [each.sop_class_uid for each in group],
        *([row[name] for row in columns] for name in INSTANCE_COLUMNS),
        [each.volume.pk for each in group],
        [paths[id(each)] for each in group],
        [each.size for each in group],
        [each.sha256 for each in group],
        [each.transfer_syntax_uid for each in group],
        len(group), size,
        known.study, first.study_instance_uid, known.patient,
        [known.modality] if known.modality else [], sorted({each.sop_class_uid for each in group}),
        known.patient_id, known.issuer_of_patient_id, known.patient_name, known.birth_date, known.provisional_for,
        len(group), size,
        known.series, first.series_instance_uid,
        first.source.site.pk, HEAD_SIZE,
    ]  # fmt: skip


INSTANCE_COLUMNS = (
    "instance_number", "rows", "columns", "bits_allocated", "number_of_frames", "content_date", "content_time",
)  # fmt: skip
