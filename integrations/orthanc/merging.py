"""`/merge` and `/split`: series move, as a correction that can be undone; what should stay too is copied.

Unless `KeepSource` is true, whole series move: they keep their UIDs. Single objects, and series of which a request
wants something to be changed besides, are copied under new UIDs as in Orthanc, and deleted where they came from.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.http import HttpResponse

from integrations.models import OrthancJob
from integrations.orthanc.access import answer, field, json_object, raw_body
from integrations.orthanc.copying import LARGEST_REQUEST, names_of
from integrations.orthanc.identifiers import study_identifier
from integrations.orthanc.joining import sample_of, split_of
from integrations.orthanc.lookup import TYPES, above, below, find, find_any, rows_of
from integrations.orthanc.making import KIND
from integrations.orthanc.modification import OF_LEVEL
from integrations.orthanc.modifying import Correcting
from integrations.orthanc.selection import objects_of, selected
from integrations.orthanc.starting import answered, begin
from integrations.orthanc.tags import tag_of
from pacs.models import Study
from pacs.services import corrections
from pacs.services.attributes import Level
from pacs.services.transfers import MOST_OBJECTS
from radiology.dicom import new_uid
from radiology.errors import InvalidValue, NotAllowed, NotDone, NotFound
from radiology.models import AuditAction

Rows = Sequence[tuple[Level, Any]]


class JoiningView(Correcting):
    """What both share. Each may keep UIDs (`Keep`) only where series move."""

    def requested(self, request: Any) -> tuple[dict[str, Any], bool]:
        """The request, and whether the source stays."""
        given = json_object(request, raw_body(request, most=LARGEST_REQUEST))
        keeps_source = field(given, "KeepSource", bool, False)
        return given, keeps_source

    def joined(
        self, given: dict[str, Any], rows: Rows, *, kind: OrthancJob.Kind, keeps_source: bool, **values: Any
    ) -> HttpResponse:
        """Begin to make copies, and wait for them as the request wants."""
        if not keeps_source and not self.here.may("studies.delete"):
            raise NotAllowed("You may not delete images: their copies can only be kept beside them (KeepSource).")
        kept = {tag_of(name) for name in field(given, "Keep", list, []) if isinstance(name, str)}
        if kept & {OF_LEVEL[Level.SERIES], OF_LEVEL[Level.INSTANCE]}:
            raise NotDone("A UID stands for one object here: copies cannot keep it.")
        selections = [each.named for each in selected(self.here, rows)]
        total = sum(objects_of(self.here.site_id, each).count() for each in selections)
        if not total or total > MOST_OBJECTS:
            raise InvalidValue(f"There is nothing to copy, or more than {MOST_OBJECTS} objects.")
        row = begin(
            self,
            given,
            kind=kind,
            work=KIND,
            selections=selections,
            keeps_source=keeps_source,
            total=total,
            **values,
        )
        for study in {study for study, *_ in selections}:
            self.record(kind, AuditAction.CREATE, study_instance_uid=study, detail={"job": str(row.public_id)})
        return answered(row, given)


class Merge(JoiningView):
    """`POST /studies/{id}/merge` with `Resources` (studies, series, objects): they go into it."""

    def post(self, request: Any, **_: str) -> HttpResponse:
        given, keeps_source = self.requested(request)
        rows = [find_any(self.here, name) for name in names_of(given)]
        for level, row in rows:
            if level is Level.PATIENT:
                raise NotFound("This resource is neither a study, nor a series, nor an instance.")
            if above(level, row, Level.STUDY).pk == self.row.pk:
                raise NotFound(f"Cannot merge a {TYPES[level].lower()} into its own study.")
        if keeps_source or any(level is Level.INSTANCE for level, _ in rows):
            sample_of(self.here.site_id, self.row.study_instance_uid)
            return self.joined(
                given,
                rows,
                kind=OrthancJob.Kind.MERGE,
                keeps_source=keeps_source,
                resources=[study_identifier(self.row)],
                study_instance_uid=self.row.study_instance_uid,
            )
        return self._moved(rows)

    def _moved(self, rows: Rows) -> HttpResponse:
        before = self.row.number_of_study_related_instances
        with transaction.atomic():
            for each in selected(self.here, rows):
                series = list(below(self.here, Level.STUDY, each.study, Level.SERIES))
                chosen = [row for row in series if row.series_instance_uid in each.series]
                version = Study.objects.values_list("version", flat=True).get(pk=each.study.pk)
                if each.is_whole or len(chosen) == len(series):
                    corrections.merge_studies(study=each.study, version=version, into=self.row, **self.common)
                else:
                    corrections.move_series(series=chosen, version=version, into=self.row, **self.common)
        target = rows_of(self.here, Level.STUDY).get(pk=self.row.pk)
        return answer(
            {
                "Description": "REST API",
                "FailedInstancesCount": 0,
                "InstancesCount": target.number_of_study_related_instances - before,
                "TargetStudy": study_identifier(target),
            }
        )


class Split(JoiningView):
    """`POST /studies/{id}/split` with `Series`, `Instances`: they go into a new study."""

    def post(self, request: Any, **_: str) -> HttpResponse:
        given, keeps_source = self.requested(request)
        rows = [(level, row) for level, name in _named(given) for row in [find(self.here, level, name)]]
        if not rows:
            raise InvalidValue('Both the "Series" and the "Instances" fields are missing')
        if any(above(level, row, Level.STUDY).pk != self.row.pk for level, row in rows):
            raise NotFound("Not all of these series and instances are in this study.")
        uid = new_uid()
        split_of(given, secret=secrets.token_hex(), study_instance_uid=uid)
        all_series = below(self.here, Level.STUDY, self.row, Level.SERIES).count()
        moves = (
            not keeps_source
            and not field(given, "Replace", dict, {})
            and not field(given, "Remove", list, [])
            and all(level is Level.SERIES for level, _ in rows)
            and len({row.pk for _, row in rows}) < all_series
        )
        if moves:
            return self._moved([row for _, row in rows])
        return self.joined(
            given,
            rows,
            kind=OrthancJob.Kind.SPLIT,
            keeps_source=keeps_source,
            study_instance_uid=uid,
            request={name: given[name] for name in ("Replace", "Remove") if name in given},
        )

    def _moved(self, series: list[Any]) -> HttpResponse:
        done = corrections.move_series(series=series, version=self.row.version, into=None, **self.common)
        target = rows_of(self.here, Level.STUDY).get(pk=done.other_study_ref_id)
        return answer(
            {
                "Description": "REST API",
                "FailedInstancesCount": 0,
                "InstancesCount": target.number_of_study_related_instances,
                "TargetStudy": study_identifier(target),
                "TargetStudyUID": target.study_instance_uid,
            }
        )


def _named(given: dict[str, Any]) -> list[tuple[Level, str]]:
    """Levels and identifiers of a request to split. Raises InvalidValue."""
    found = []
    for level, name in ((Level.SERIES, "Series"), (Level.INSTANCE, "Instances")):
        names: list[str] = field(given, name, list, [])
        if len(names) > 1000 or not all(isinstance(each, str) for each in names):
            raise InvalidValue(f"Name the {name} in a list, 1000 at most.", field=name)
        found += [(level, each) for each in names]
    return found
