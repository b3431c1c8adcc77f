"""`/tools/bulk-content` and `/tools/bulk-delete`: several resources of any level in one request."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from integrations.orthanc.access import OrthancView, OutOfRange, field, json_object, text
from integrations.orthanc.collections import PAGE, streamed
from integrations.orthanc.contents import metadata_of_rows
from integrations.orthanc.copying import names_of
from integrations.orthanc.deleting import delete_selected
from integrations.orthanc.finding import BY_TYPE
from integrations.orthanc.lookup import above, below, find_any, rows_of
from integrations.orthanc.resources import described
from integrations.orthanc.selection import selected
from integrations.orthanc.tags import Form
from pacs.services.attributes import Level
from radiology.errors import NotFound
from radiology.models import AuditAction
from radiology.services import audit


def known(here: Any, names: list[str]) -> list[tuple[Level, Any]]:
    """The rows of the identifiers that lead to one; others are passed over, as Orthanc does."""
    found = []
    for name in names:
        try:
            found.append(find_any(here, name))
        except NotFound:
            continue
    return found


class BulkContent(OrthancView):
    """`Resources` described, with `Metadata` unless it is false; `Level` asks for what is above or below them."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any) -> HttpResponseBase:
        given = json_object(request)
        names = names_of(given)
        level = None
        if "Level" in given:
            level = BY_TYPE.get(field(given, "Level", str).lower())
            if level is None:
                raise OutOfRange("Level is Patient, Study, Series or Instance.", field="Level")
        form = Form.SHORT if given.get("Short") is True else Form.FULL if given.get("Full") is True else Form.SIMPLE
        with_metadata = field(given, "Metadata", bool, True)
        groups = self._groups(known(self.here, names), level)
        self.record("read", detail={"resources": len(names)})
        return streamed(self._entries(groups, form, with_metadata))

    def _groups(self, rows: list[tuple[Level, Any]], wanted: Level | None) -> Iterator[tuple[Level, list[int]]]:
        """Keys of rows, those of one level that follow one another together; none twice."""
        if wanted is None:
            for level, row in rows:
                yield level, [row.pk]
            return
        seen: dict[int, None] = {}
        for level, row in rows:
            if level.depth >= wanted.depth:
                seen[above(level, row, wanted).pk] = None
            else:
                seen.update(dict.fromkeys(below(self.here, level, row, wanted).values_list("pk", flat=True)))
        yield wanted, list(seen)

    def _entries(
        self, groups: Iterator[tuple[Level, list[int]]], form: Form, with_metadata: bool
    ) -> Iterator[dict[str, Any]]:
        for level, keys in groups:
            for start in range(0, len(keys), PAGE):
                part = keys[start : start + PAGE]
                rows = rows_of(self.here, level).in_bulk(part)
                page = [rows[key] for key in part if key in rows]
                metadata = metadata_of_rows(self.here, level, page) if with_metadata else {}
                for row, entry in zip(page, described(self.here, level, page, form=form), strict=True):
                    yield {**entry, "Metadata": metadata[row.pk]} if with_metadata else entry


class BulkDelete(OrthancView):
    """Deletes resources of any level, for some days only hidden."""

    needs = {"POST": "studies.delete"}

    def post(self, request: Any) -> HttpResponse:
        names = names_of(json_object(request))
        named = selected(self.here, known(self.here, names))
        delete_selected(who=request.user, selections=named, address=audit.address_of(request))
        self.record("delete", AuditAction.DELETE, detail={"resources": len(names)})
        return text("")
