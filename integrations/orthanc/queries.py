"""Searches at other nodes: asked at once, their answers kept for a day, so that they can be fetched."""

import uuid
from typing import Any

from django.http import HttpResponse
from pydicom import Dataset
from pydicom.multival import MultiValue

from integrations.models import OrthancQuery
from integrations.orthanc.access import (
    OrthancView,
    OutOfRange,
    answer,
    field,
    flag,
    json_object,
    raw_body,
    text,
)
from integrations.orthanc.finding import BY_TYPE
from integrations.orthanc.lookup import item_of
from integrations.orthanc.modalities import NAMED_BY, NodeView, named_by
from integrations.orthanc.onward import retrieved
from integrations.orthanc.resources import MAIN_TAGS
from integrations.orthanc.retrieval import ASKS, studies_of_patients
from integrations.orthanc.tags import form_of, formatted, keyword_of, tag_of
from pacs.dimse.scu_query import find as query_node
from pacs.models import ApplicationEntity
from pacs.services.attributes import UNIQUE, Level
from radiology.errors import InvalidValue, NotFound
from radiology.models import AuditAction, Site

MOST_ANSWERS = 500
RETURNED = {
    Level.PATIENT: MAIN_TAGS[Level.PATIENT],
    Level.STUDY: (*MAIN_TAGS[Level.PATIENT], *MAIN_TAGS[Level.STUDY], "ModalitiesInStudy"),
    Level.SERIES: ("StudyInstanceUID", *MAIN_TAGS[Level.SERIES]),
    Level.INSTANCE: ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "SOPInstanceUID", "SOPClassUID"),
}


class Query(NodeView):
    """`POST /modalities/{name}/query`: asks at once, and keeps the answers for a day."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = json_object(request)
        level = BY_TYPE.get(field(given, "Level", str).lower())
        if level is None:
            raise OutOfRange("Level is Patient, Study, Series or Instance.", field="Level")
        row = ask(self.here, self.node, level, field(given, "Query", dict, {}))
        self.record("query", AuditAction.EXECUTE, detail={"node": self.node.title, "answers": len(row.answers)})
        return answer({"ID": str(row.public_id), "Path": f"/queries/{row.public_id}"})


class FindAtNode(NodeView):
    """`POST /modalities/{name}/find-study` and `find-series`: the answers themselves, an old way of asking."""

    needs = {"POST": "studies.read"}
    level = Level.STUDY

    def post(self, request: Any, **_: str) -> HttpResponse:
        row = ask(self.here, self.node, self.level, json_object(request))
        self.record("query", AuditAction.EXECUTE, detail={"node": self.node.title, "answers": len(row.answers)})
        form = form_of(request)
        return answer([formatted(each, form) for each in row.answers])


def ask(here: Any, node: ApplicationEntity, level: Level, query: dict[str, Any]) -> OrthancQuery:
    """C-FIND at a node. Raises InvalidValue, Unreachable."""
    keys = {}
    for name, value in query.items():
        tag = tag_of(name)
        keyword = keyword_of(tag) if tag else ""
        if not keyword.isalnum() or not isinstance(value, str) or len(value) > 1024:
            raise InvalidValue(f"{name[:64]} is no DICOM attribute with a text to look for.", field="Query")
        keys[keyword] = value
    found = query_node(
        node=node, level=level.value, keys=keys, returned=RETURNED[level], limit=MOST_ANSWERS, seconds=ASKS
    )
    answers = [_attributes(each) for each in found]
    site = Site.objects.get(pk=here.site_id)
    return OrthancQuery.objects.create(site=site, node=node, level=level.value, keys=keys, answers=answers)


def _attributes(data_set: Dataset) -> dict[str, Any]:
    """An answer in DICOM JSON, with what is text or a number in it."""
    found = {}
    for element in data_set:
        if element.VR == "SQ":
            continue
        value = element.value
        values = list(value) if isinstance(value, MultiValue) else [] if value in (None, "") else [value]
        texts = [str(each).replace("\0", "") for each in values]
        vr = "LO" if element.VR == "PN" else element.VR
        found[f"{int(element.tag):08X}"] = {"vr": vr, "Value": texts} if texts else {"vr": vr}
    return found


class Queries(OrthancView):
    """`GET /queries`: those of the last day."""

    def get(self, request: Any) -> HttpResponse:
        rows = OrthancQuery.objects.filter(site=self.here.site_id).order_by("-id")[:MOST_ANSWERS]
        return answer([str(key) for key in rows.values_list("public_id", flat=True)])


class QueryView(OrthancView):
    """About one query, and with `orthanc_answer` about one answer of it."""

    query: OrthancQuery
    result: dict[str, Any]

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        try:
            key = uuid.UUID(kwargs["orthanc_query"])
        except ValueError:
            key = uuid.UUID(int=0)
        found = OrthancQuery.objects.filter(public_id=key, site=self.here.site_id).select_related("node").first()
        if found is None:
            raise NotFound("There is no such query: they are kept for a day.")
        self.query = found
        if "orthanc_answer" in kwargs:
            self.result = item_of(found.answers, kwargs["orthanc_answer"])


class OneQuery(QueryView):
    """`/queries/{id}`, `/level`, `/modality`, `/query`; `DELETE` forgets it."""

    what = ""

    def get(self, request: Any, **_: str) -> HttpResponse:
        level = "Instance" if self.query.level == Level.INSTANCE else self.query.level.title()
        if self.what == "level":
            return text(level)
        if self.what == "modality":
            return text(self.query.node.title)
        if self.what == "query":
            keys = {tag_of(name): {"vr": "LO", "Value": [value]} for name, value in self.query.keys.items()}
            return answer(formatted(keys, form_of(request)))
        return answer(["answers", "level", "modality", "query", "retrieve"])

    def delete(self, request: Any, **_: str) -> HttpResponse:
        if self.what:
            return self.http_method_not_allowed(request)
        self.query.delete()
        return answer({})

    needs = {"DELETE": "studies.read"}


class Answers(QueryView):
    """`/queries/{id}/answers`, with `?expand` what they say."""

    def get(self, request: Any, **_: str) -> HttpResponse:
        if flag(request, "expand"):
            form = form_of(request)
            return answer([formatted(each, form) for each in self.query.answers])
        return answer([str(number) for number in range(len(self.query.answers))])


class Answer(QueryView):
    """`/queries/{id}/answers/{n}` and `/content`."""

    content = False

    def get(self, request: Any, **_: str) -> HttpResponse:
        if not self.content:
            return answer(["content", "retrieve"])
        return answer(formatted(self.result, form_of(request)))


class Retrieve(QueryView):
    """`POST /queries/{id}/retrieve` and `/queries/{id}/answers/{n}/retrieve`: brings it here, or to `TargetAet`."""

    needs = {"POST": "studies.write"}
    all = False

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = _target(request)
        chosen = self.query.answers if self.all else [self.result]
        if self.query.level == Level.PATIENT.value:
            numbers = [_uid(each, UNIQUE[Level.PATIENT]) for each in chosen]
            return retrieved(self, self.query.node, given, studies_of_patients(self.query.node, numbers))
        level = Level(self.query.level)
        wanted = [named_by(level, {key: _uid(each, key) for key in NAMED_BY[level]}) for each in chosen]
        if not all(uid for each in wanted for uid in each[: len(NAMED_BY[level])]):
            raise InvalidValue(f"An answer names no {', '.join(NAMED_BY[level])}: ask for them in the query.")
        return retrieved(self, self.query.node, given, wanted)


def _uid(found: dict[str, Any], keyword: str) -> str:
    return str((found.get(tag_of(keyword), {}).get("Value") or [""])[0])


def _target(request: Any) -> dict[str, Any]:
    """A JSON object, or the AE title alone, as Orthanc takes it."""
    body = raw_body(request, most=4096)
    if body.lstrip().startswith(b"{"):
        return json_object(request, body)
    return {"TargetAet": body.decode("utf-8", "replace").strip().strip('"')}
