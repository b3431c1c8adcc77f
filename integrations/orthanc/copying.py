"""`/anonymize`, and `/modify` where the source stays: copies under other identifiers, made by a job.

Of a single object both answer the file, and nothing is stored, as in Orthanc.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from integrations.models import OrthancJob
from integrations.orthanc.access import OrthancView, field, json_object, raw_body
from integrations.orthanc.collections import ResourceView
from integrations.orthanc.identifiers import identifiers_of
from integrations.orthanc.lookup import find_any, location_of
from integrations.orthanc.making import KIND
from integrations.orthanc.modification import OF_LEVEL, Modification, level_of_replacements, members_of
from integrations.orthanc.retrieval import MOST_RESOURCES
from integrations.orthanc.selection import objects_of, selected
from integrations.orthanc.starting import answered, begin
from pacs.services.attributes import UNIQUE, Level
from pacs.services.copies import attributes_to_change, copy_with
from pacs.services.part10 import head
from pacs.services.transfers import MOST_OBJECTS
from radiology.errors import InvalidValue, NotAllowed, NotDone
from radiology.models import AuditAction

LARGEST_REQUEST = 1024 * 1024
KEPT_BY_COPIES = {OF_LEVEL[Level.STUDY], OF_LEVEL[Level.SERIES]}


class Anonymize(ResourceView):
    """`POST /studies/{id}/anonymize`, of patients and series too: stored as objects of a new patient."""

    needs = {"POST": "studies.write"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = json_object(request, raw_body(request, most=LARGEST_REQUEST))
        rows = [(self.level, self.row)]
        return copied(self, given, rows, anonymizes=True, changed=Level.PATIENT, level=self.level)


class BulkCopies(OrthancView):
    """`POST /tools/bulk-anonymize` and `/tools/bulk-modify` with `Resources` of any level."""

    needs = {"POST": "studies.write"}
    anonymizes = False

    def post(self, request: Any) -> HttpResponse:
        given = json_object(request, raw_body(request, most=LARGEST_REQUEST))
        rows = [find_any(self.here, name) for name in names_of(given)]
        changed = Level.PATIENT if self.anonymizes else self._level(given)
        return copied(self, given, rows, anonymizes=self.anonymizes, changed=changed)

    def _level(self, given: dict[str, Any]) -> Level:
        if "Level" not in given:
            return level_of_replacements(given)
        words = {"patient": Level.PATIENT, "study": Level.STUDY, "series": Level.SERIES, "instance": Level.INSTANCE}
        word = field(given, "Level", str).lower()
        if word not in words:
            raise InvalidValue("Level is Patient, Study, Series or Instance.", field="Level")
        return words[word]


class OneFile(ResourceView):
    """`POST /instances/{id}/anonymize` and `/modify`: the changed file, which is not stored."""

    needs = {"POST": "studies.read"}
    level = Level.INSTANCE
    anonymizes = False

    def post(self, request: Any, **_: str) -> HttpResponseBase:
        given = json_object(request, raw_body(request, most=LARGEST_REQUEST))
        modification = Modification.of_request(
            given,
            level=Level.PATIENT if self.anonymizes else level_of_replacements(given),
            anonymizes=self.anonymizes,
            secret=secrets.token_hex(),
            patient_name=f"Anonymized{secrets.randbelow(10**6)}",
        )
        location = location_of(self.here, self.row)
        attributes = attributes_to_change(location=location)
        modification.apply(attributes)
        syntax = modification.transfer_syntax_uid
        copy = copy_with(location=location, attributes=attributes, transfer_syntax_uid=syntax)
        first = next(copy.blocks, b"")  # what cannot be done is said before the answer begins
        self.record_read("anonymize" if self.anonymizes else "modify", instance=self.row.sop_instance_uid)

        def blocks() -> Any:
            yield head(
                sop_class_uid=copy.sop_class_uid,
                sop_instance_uid=copy.sop_instance_uid,
                transfer_syntax_uid=copy.transfer_syntax_uid,
                source_ae_title="",
            )
            yield first
            yield from copy.blocks

        return StreamingHttpResponse(blocks(), content_type="application/dicom")


def names_of(given: dict[str, Any]) -> list[str]:
    """`Resources` of a request. Raises InvalidValue."""
    names: list[str] = field(given, "Resources", list)
    if not names or len(names) > MOST_RESOURCES or not all(isinstance(name, str) for name in names):
        raise InvalidValue(f"Name the Resources in a list, {MOST_RESOURCES} at most.", field="Resources")
    return names


def copied(
    view: OrthancView,
    given: dict[str, Any],
    rows: Sequence[tuple[Level, Any]],
    *,
    anonymizes: bool,
    changed: Level,
    level: Level | None = None,
) -> HttpResponse:
    """Begin to make copies of `rows`, and wait for them as the request wants.

    `changed` is the level from which on identifiers are new, `level` that of the one resource that was named.
    """
    if not view.here.may("studies.correct"):
        raise NotAllowed("You may not make copies of studies.")
    row = _begin(view, given, rows, anonymizes=anonymizes, changed=changed, level=level)
    return answered(row, given)


def _begin(
    view: OrthancView,
    given: dict[str, Any],
    rows: Sequence[tuple[Level, Any]],
    *,
    anonymizes: bool,
    changed: Level,
    level: Level | None,
) -> OrthancJob:
    keeps_source = field(given, "KeepSource", bool, True)
    if not keeps_source and not view.here.may("studies.delete"):
        raise NotAllowed("You may not delete studies: their copies can only be kept beside them.")
    modification = Modification.of_request(given, level=changed, anonymizes=anonymizes, secret="", patient_name="X")
    _require_storable(modification)
    site = view.here.site_id
    selections = [each.named for each in selected(view.here, rows)]
    total = sum(objects_of(site, each).count() for each in selections)
    if not total or total > MOST_OBJECTS:
        raise InvalidValue(f"There is nothing to copy, or more than {MOST_OBJECTS} objects.", field="Resources")
    if total > 1 and OF_LEVEL[Level.INSTANCE] in modification.replaced:
        raise InvalidValue("Several objects cannot have one SOPInstanceUID.", field="Replace")
    if modification.kept & KEPT_BY_COPIES:  # copies that join their source must not be copied again
        selections = [_spelt_out(site, each) for each in selections]
    row = begin(
        view,
        given,
        kind=OrthancJob.Kind.ANONYMIZE if anonymizes else OrthancJob.Kind.MODIFY,
        work=KIND,
        level=level.value if level else "",
        changed_level=changed.value,
        request=members_of(given),
        resources=[name for each, source in rows for name in identifiers_of(each, [source])],
        selections=selections,
        keeps_source=keeps_source,
        total=total,
    )
    for study, *_ in selections:
        view.record(row.kind, AuditAction.CREATE, study_instance_uid=study, detail={"job": str(row.public_id)})
    return row


def _require_storable(modification: Modification) -> None:
    """Raises NotDone for copies that would contradict what they are copies of: they would be held, not stored."""
    kept = {level: OF_LEVEL[level] in modification.kept for level in Level}
    is_other_patient = modification.anonymizes or modification.level is Level.PATIENT
    if kept[Level.INSTANCE] or (is_other_patient and any(kept[level] for level in (Level.STUDY, Level.SERIES))):
        raise NotDone("A UID stands for one object here: copies cannot keep it.")
    if kept[Level.SERIES] and modification.level is Level.STUDY and not kept[Level.STUDY]:
        raise NotDone(f"Keep {UNIQUE[Level.STUDY]} too: a series is in one study.")


def _spelt_out(site_id: int, named: list[Any]) -> list[Any]:
    uids = objects_of(site_id, named).values_list("instance_ref__sop_instance_uid", flat=True)
    return [named[0], [], sorted(set(uids))]
