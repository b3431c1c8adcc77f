"""`/tools/find` and `/tools/lookup`: resources by what they say."""

import re
from collections.abc import Iterator
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from integrations.orthanc.access import OrthancView, OutOfRange, answer, field, json_object, raw_body
from integrations.orthanc.collections import PAGE, streamed
from integrations.orthanc.identifiers import identifiers_of
from integrations.orthanc.lookup import COLLECTIONS, TYPES, rows_of
from integrations.orthanc.resources import described
from integrations.orthanc.tags import Form, tag_of
from pacs.services.attributes import BY_TAG, Kind, Level, path
from pacs.services.query import Search
from pacs.services.stored_values import value_of_model
from radiology.errors import InvalidValue, NotDone
from radiology.models import AuditAction, Patient

BY_TYPE = {name.lower(): level for level, name in TYPES.items()}
MOST_ALIKE = 100


class Find(OrthancView):
    """`POST /tools/find`: `Level` and `Query`, with `Expand`, `Limit`, `Since`, `CaseSensitive`, `Short`, `Full`,
    `RequestedTags`."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any) -> HttpResponseBase:
        given = json_object(request)
        level = BY_TYPE.get(field(given, "Level", str).lower())
        if level is None:
            raise OutOfRange("Level is Patient, Study, Series or Instance.", field="Level")
        keys = keys_of(field(given, "Query", dict))
        limit, since = field(given, "Limit", int, 0), field(given, "Since", int, 0)
        if limit < 0 or since < 0:
            raise InvalidValue("Limit and Since may not be negative.", field="Limit")
        if given.get("OrderBy"):
            raise NotDone("Answers come newest first; they are not sorted otherwise.")
        requested = [str(each) for each in field(given, "RequestedTags", list, [])]
        expand, exact = field(given, "Expand", bool, False), field(given, "CaseSensitive", bool, False)
        form = Form.SHORT if given.get("Short") is True else Form.FULL if given.get("Full") is True else Form.SIMPLE
        search = Search(who=self.here, level=level, keys=keys)
        if search.unmatched:
            raise NotDone(f"{search.unmatched[0][:64]} cannot be searched for at this level.")
        if field(given, "Labels", list, []) and given.get("LabelsConstraint", "All") != "None":
            rows: Iterator[Any] = iter(())  # nothing has a label here
        elif exact:
            rows = _cut(_exactly(search, keys), limit, since)
        else:
            rows = search.rows(limit=limit or None, offset=since)
        self.record("find", AuditAction.EXECUTE, detail={"level": level.value})
        return streamed(self._entries(level, rows, form if expand else None, requested))

    def _entries(self, level: Level, rows: Iterator[Any], form: Form | None, requested: list[str]) -> Iterator[Any]:
        for page in _paged(rows):
            if form is None:
                yield from identifiers_of(level, page)
            else:
                yield from described(self.here, level, page, form=form, requested=requested)


def keys_of(query: dict[str, Any]) -> dict[str, str]:
    """The keys of a search, by tag. Raises InvalidValue for what is no attribute or no text."""
    found = {}
    for name, value in query.items():
        tag = tag_of(name)
        if not tag:
            raise InvalidValue("Unknown DICOM tag", field="Query")
        if not isinstance(value, str):
            raise InvalidValue(f"The value of {name[:64]} must be a string.", field="Query")
        if value.strip():
            found[tag] = value
    return found


def _paged(rows: Iterator[Any]) -> Iterator[list[Any]]:
    page: list[Any] = []
    for row in rows:
        page.append(row)
        if len(page) >= PAGE:
            yield page
            page = []
    if page:
        yield page


def _cut(rows: Iterator[Any], limit: int, since: int) -> Iterator[Any]:
    for position, row in enumerate(rows):
        if limit and position >= since + limit:
            return
        if position >= since:
            yield row


def _exactly(search: Search, keys: dict[str, str]) -> Iterator[Any]:
    """Of what was found those whose names match letter by letter; other attributes always do."""
    patterns = []
    for tag, value in keys.items():
        attribute = BY_TAG.get(tag)
        if attribute is not None and attribute.vr == "PN" and attribute.kind is Kind.COLUMN:
            parts = (re.escape(part).replace(r"\*", ".*").replace(r"\?", ".") for part in value.split("\\"))
            place = path(search.level, attribute.level) + attribute.column
            patterns.append((place, re.compile("|".join(parts), re.DOTALL)))
    for row in search.rows():
        value_of = value_of_model(row)
        if all(pattern.fullmatch(value_of(place)) for place, pattern in patterns):
            yield row


class Lookup(OrthancView):
    """`POST /tools/lookup`: resources by PatientID or UID; the body is that text alone."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any) -> HttpResponse:
        asked = raw_body(request, most=1024).decode("utf-8", "replace").strip()
        found = []
        if asked and "\0" not in asked:
            for level, column in (
                (Level.PATIENT, "patient_id"),
                (Level.STUDY, "study_instance_uid"),
                (Level.SERIES, "series_instance_uid"),
                (Level.INSTANCE, "sop_instance_uid"),
            ):
                rows = list(rows_of(self.here, level).filter(**{column: asked}).order_by("pk")[:MOST_ALIKE])
                found += [
                    {"ID": name, "Path": f"/{COLLECTIONS[level]}/{name}", "Type": TYPES[level]}
                    for name in identifiers_of(level, rows)
                ]
        self.record("lookup", AuditAction.EXECUTE)
        return answer(found)


def patients_numbered(who: Any, number: str) -> list[Patient]:
    """The patients of a number whom a caller may see, with or without studies; two at most."""
    found = Patient.objects.visible_to(who).filter(patient_id=number, provisional_for="", merged_into=None)
    return list(found.order_by("pk")[:2])
