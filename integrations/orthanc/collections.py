"""Lists of resources, one resource, and those above and below it."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from integrations.orthanc.access import OfOneSite, OrthancView, answer, flag, number
from integrations.orthanc.deleting import delete_selected
from integrations.orthanc.identifiers import identifiers_of
from integrations.orthanc.lookup import (
    COLLECTIONS,
    TYPES,
    above,
    below,
    find,
    location_of,
    object_of,
    rows_of,
    study_above,
)
from integrations.orthanc.resources import MAIN_TAGS_IN_FILES, described, tags_in_file
from integrations.orthanc.selection import selected
from integrations.orthanc.tags import Form, form_of
from pacs.services.attributes import Level
from radiology.errors import CannotUnderstand, InvalidValue, NotFound, OutOfResources
from radiology.models import AuditAction
from radiology.services import audit

PAGE = 200
IDENTIFIERS_A_PAGE = 2000


class ResourceView(OrthancView):
    """About one resource of a level: `self.row`, looked for before anything else."""

    level = Level.STUDY
    row: Any

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.row = find(self.here, self.level, next(iter(kwargs.values())))

    def record_read(self, event: str, **detail: Any) -> None:
        study = study_above(self.level, self.row)
        patient = above(self.level, self.row, Level.PATIENT)
        self.record(
            event,
            site_id=patient.site_id,
            patient_id=patient.pk,
            study_instance_uid=study.study_instance_uid if study else "",
            detail=detail,
        )


class Collection(OrthancView):
    """`GET /studies` and the like: all identifiers, in the order in which the resources came."""

    level = Level.STUDY

    def get(self, request: Any) -> HttpResponseBase:
        since, limit = number(request, "since"), number(request, "limit")
        if (since is None) != (limit is None):
            missing = "since" if since is None else "limit"
            raise InvalidValue(f'Missing "{missing}" argument for GET request against: /{COLLECTIONS[self.level]}/')
        rows = rows_of(self.here, self.level).order_by("pk")
        if limit is not None and limit > 0:
            # As in Orthanc, a limit of 0 is none.
            first = rows.values_list("pk", flat=True)[since or 0 : (since or 0) + 1]
            begin = first[0] if first else None
            rows = rows.none() if begin is None else rows.filter(pk__gte=begin)
        self.record("list", AuditAction.EXECUTE, detail={"level": self.level.value})
        if flag(request, "expand"):
            form = form_of(request, plain=Form.SIMPLE)
            requested = [name for name in request.GET.get("requestedTags", "").split(";") if name]
            entries: Iterator[Any] = expanded(
                self.here, self.level, rows, limit or None, form=form, requested=requested
            )
        else:
            entries = identifiers(self.level, rows, limit or None)
        return streamed(entries)


def identifiers(level: Level, rows: QuerySet[Any], limit: int | None) -> Iterator[str]:
    """The identifiers of rows in the order of their keys, page by page."""
    for page in pages(rows, limit, IDENTIFIERS_A_PAGE):
        yield from identifiers_of(level, page)


def expanded(
    here: OfOneSite, level: Level, rows: QuerySet[Any], limit: int | None, **options: Any
) -> Iterator[dict[str, Any]]:
    for page in pages(rows, limit, PAGE):
        yield from described(here, level, page, **options)


def pages(rows: QuerySet[Any], limit: int | None, size: int) -> Iterator[list[Any]]:
    last = 0
    while limit is None or limit > 0:
        page = list(rows.filter(pk__gt=last)[: size if limit is None else min(size, limit)])
        if page:
            yield page
        if len(page) < size:
            return
        last = page[-1].pk
        limit = None if limit is None else limit - len(page)


def streamed(entries: Iterator[Any]) -> StreamingHttpResponse:
    """A JSON list that is written while it is read, so that its length costs no memory."""

    def blocks() -> Iterator[str]:
        sign = "["
        block: list[str] = []
        for entry in entries:
            block.append(sign + "\n" + json.dumps(entry, ensure_ascii=True, sort_keys=isinstance(entry, dict)))
            sign = ","
            if len(block) >= PAGE:
                yield "".join(block)
                block = []
        yield "".join(block) + ("[]\n" if sign == "[" else "\n]\n")

    return StreamingHttpResponse(blocks(), content_type="application/json; charset=utf-8")


class One(ResourceView):
    """`GET` and `DELETE /studies/{id}`."""

    needs = {"DELETE": "studies.delete"}

    def get(self, request: Any, **_: str) -> HttpResponse:
        form = form_of(request, plain=Form.SIMPLE)
        requested = [name for name in request.GET.get("requestedTags", "").split(";") if name]
        (found,) = described(self.here, self.level, [self.row], form=form, requested=requested)
        if self.level in MAIN_TAGS_IN_FILES:
            # Where the file is damaged, what the row says is all that is known.
            with contextlib.suppress(CannotUnderstand, OutOfResources, NotFound):
                found["MainDicomTags"] = self._main_tags(found["MainDicomTags"], form)
        self.record_read("read")
        return answer(found)

    def _main_tags(self, known: dict[str, Any], form: Form) -> dict[str, Any]:
        """All of them, also those that are not in the database: of a series as its first object says."""
        first = object_of(self.here, self.level, self.row)
        return {**tags_in_file(self.level, location_of(self.here, first), form), **known}

    def delete(self, request: Any, **_: str) -> HttpResponse:
        """Answers the nearest resource above it that is still there."""
        named = selected(self.here, [(self.level, self.row)])
        delete_selected(who=request.user, selections=named, address=audit.address_of(request))
        return answer({"RemainingAncestor": self._remaining()})

    def _remaining(self) -> dict[str, str] | None:
        for level in reversed([each for each in Level if each.depth < self.level.depth]):
            row = above(self.level, self.row, level)
            if rows_of(self.here, level).filter(pk=row.pk).exists():
                (name,) = identifiers_of(level, [row])
                return {"ID": name, "Path": f"/{COLLECTIONS[level]}/{name}", "Type": TYPES[level]}
        return None


class Children(ResourceView):
    """`GET /studies/{id}/series` and the like: the resources below, described."""

    wanted = Level.SERIES

    def get(self, request: Any, **_: str) -> HttpResponseBase:
        rows = below(self.here, self.level, self.row, self.wanted)
        form = form_of(request, plain=Form.SIMPLE)
        self.record_read("read", below=self.wanted.value)
        keys = list(rows.values_list("pk", flat=True))
        if request.GET.get("expand", "").lower() == "false":
            return streamed(self._identifiers(keys))
        return streamed(self._described(keys, form))

    def _pages(self, keys: list[int], size: int) -> Iterator[list[Any]]:
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            rows = rows_of(self.here, self.wanted).in_bulk(part)
            yield [rows[key] for key in part if key in rows]

    def _identifiers(self, keys: list[int]) -> Iterator[str]:
        for page in self._pages(keys, IDENTIFIERS_A_PAGE):
            yield from identifiers_of(self.wanted, page)

    def _described(self, keys: list[int], form: Form) -> Iterator[dict[str, Any]]:
        for page in self._pages(keys, PAGE):
            yield from described(self.here, self.wanted, page, form=form)


class Parent(ResourceView):
    """`GET /series/{id}/study` and the like."""

    wanted = Level.STUDY

    def get(self, request: Any, **_: str) -> HttpResponse:
        form = form_of(request, plain=Form.SIMPLE)
        self.record_read("read")
        return answer(described(self.here, self.wanted, [above(self.level, self.row, self.wanted)], form=form)[0])
