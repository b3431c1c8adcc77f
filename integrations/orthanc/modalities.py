"""`/modalities`: the registered nodes; echo, store, move, query, and `/queries` with their answers."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse

from integrations.orthanc.access import (
    OrthancView,
    OutOfRange,
    answer,
    field,
    flag,
    json_object,
    json_value,
    raw_body,
)
from integrations.orthanc.finding import BY_TYPE
from integrations.orthanc.identifiers import as_digest
from integrations.orthanc.lookup import find_any
from integrations.orthanc.onward import retrieved
from integrations.orthanc.retrieval import (
    MOST_RESOURCES,
    Named,
    is_synchronous,
    job_answer,
    studies_of_patients,
    waited_for_transfers,
)
from integrations.orthanc.selection import selected
from pacs.dimse import scu
from pacs.models import ApplicationEntity, Transfer, TransferState
from pacs.services import transfers
from pacs.services.attributes import UNIQUE, Level
from radiology.errors import InvalidValue, NotFound, Unreachable
from radiology.services import audit

LEVELS = BY_TYPE | {"image": Level.INSTANCE}
NAMED_BY = {
    Level.PATIENT: (UNIQUE[Level.PATIENT],),
    Level.STUDY: (UNIQUE[Level.STUDY],),
    Level.SERIES: (UNIQUE[Level.STUDY], UNIQUE[Level.SERIES]),
    Level.INSTANCE: (UNIQUE[Level.STUDY], UNIQUE[Level.SERIES], UNIQUE[Level.INSTANCE]),
}


def nodes_of(here: Any) -> dict[str, ApplicationEntity]:
    """The nodes of a caller's site by name: their title; where devices share one, the later with their address."""
    found: dict[str, ApplicationEntity] = {}
    for node in transfers.archives_for(who=here).order_by("id"):
        name = node.title if node.title not in found else f"{node.title}@{node.host}:{node.port}"
        found[name] = node
    return found


def node_named(here: Any, name: str) -> ApplicationEntity:
    """The node of a name or, as its configuration was taken over from an Orthanc, of a description. Raises NotFound."""
    nodes = nodes_of(here)
    if name in nodes:
        return nodes[name]
    described = [node for node in nodes.values() if node.description and node.description == name]
    if not described:
        raise NotFound("There is no such modality: nodes are registered in the administration.")
    return described[0]


def configuration(node: ApplicationEntity) -> dict[str, Any]:
    return {
        "AET": node.title,
        "AllowEcho": True,
        "AllowEventReport": True,
        "AllowFind": node.may_query,
        "AllowFindWorklist": node.may_ask_worklist,
        "AllowGet": node.may_retrieve,
        "AllowMove": node.may_retrieve,
        "AllowNAction": node.may_commit,
        "AllowStore": node.may_store,
        "AllowTranscoding": True,
        "Host": node.host,
        "LocalAet": "",
        "Manufacturer": "Generic",
        "Port": node.port,
        "Timeout": 0,
        "UseDicomTls": node.tls,
    }


class Modalities(OrthancView):
    """`GET /modalities`, with `?expand` in full."""

    def get(self, request: Any) -> HttpResponse:
        nodes = nodes_of(self.here)
        if flag(request, "expand"):
            return answer({name: configuration(node) for name, node in nodes.items()})
        return answer(sorted(nodes))


class NodeView(OrthancView):
    """About one node, which is looked for before anything else. With `may_be_new`, PUT may name one that is not."""

    may_be_new = False
    found: ApplicationEntity | None

    @property
    def node(self) -> ApplicationEntity:
        if self.found is None:
            raise NotFound("There is no such modality.")
        return self.found

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        try:
            self.found = node_named(self.here, kwargs["orthanc_modality"])
        except NotFound:
            if not (self.may_be_new and request.method == "PUT"):
                raise
            self.found = None


class Configuration(NodeView):
    """`/modalities/{name}/configuration`."""

    def get(self, request: Any, **_: str) -> HttpResponse:
        return answer(configuration(self.node))


class Echo(NodeView):
    """`POST /modalities/{name}/echo`."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        scu.echo(node=self.node)
        return answer({})


class Store(NodeView):
    """`POST /modalities/{name}/store`: identifiers of any level, or `Resources` with `Synchronous`."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = resources_of(request)
        names = given["Resources"]
        rows = [find_any(self.here, name) for name in names]
        begun = self._begin(rows)
        if not is_synchronous(given):
            return answer(job_answer(begun))
        if not waited_for_transfers(begun):
            return answer(job_answer(begun))
        failed = sum(each.failed for each in begun)
        if failed or any(each.state is not TransferState.DONE for each in begun):
            reasons = [each.job.error for each in begun if each.job is not None and each.job.error]
            raise Unreachable(reasons[0][:300] if reasons else f"{failed} objects did not reach {self.node.title}.")
        return answer(
            {
                "Description": "REST API",
                "FailedInstancesCount": 0,
                "InstancesCount": sum(each.total for each in begun),
                "LocalAet": settings.DIMSE["AE_TITLE"],
                "ParentResources": names,
                "RemoteAet": self.node.title,
            }
        )

    def _begin(self, rows: list[tuple[Level, Any]]) -> list[Transfer]:
        """A transfer for each study; one that is sent as a whole is not sent in parts beside."""
        return [
            transfers.send(
                who=self.here.who, node=self.node, study=each.study, series=each.series, instances=each.instances,
                address=audit.address_of(self.request),
            )
            for each in selected(self.here, rows)
        ]  # fmt: skip


def resources_of(request: Any) -> dict[str, Any]:
    """What to send: a JSON object with `Resources`, a list of identifiers, or one alone. Raises InvalidValue."""
    given = _plain(request)
    found = given if isinstance(given, dict) else {"Resources": given}
    names = found.get("Resources")
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidValue("Name the Resources in a list.", field="Resources")
    if len(names) > MOST_RESOURCES:
        raise InvalidValue(f"Name {MOST_RESOURCES} resources at most.", field="Resources")
    return {**found, "Resources": names}


def _plain(request: Any) -> Any:
    """The body as JSON, or an identifier that stands there alone."""
    body = raw_body(request)
    alone = body.decode("ascii", "replace").strip()
    return alone if as_digest(alone) else json_value(request, body)


class Move(NodeView):
    """`POST /modalities/{name}/move`: brings resources of any level from there to here or `TargetAet`."""

    needs = {"POST": "studies.write"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = json_object(request)
        level = LEVELS.get(field(given, "Level", str).lower())
        if level is None:
            raise OutOfRange("Level is Patient, Study, Series or Instance.", field="Level")
        keys = NAMED_BY[level]
        resources = field(given, "Resources", list)
        if len(resources) > MOST_RESOURCES or not all(
            isinstance(each, dict) and all(isinstance(each.get(key), str) and each[key] for key in keys)
            for each in resources
        ):
            raise InvalidValue(
                f"Each of the Resources, {MOST_RESOURCES} at most, names its {', '.join(keys)}.", field="Resources"
            )
        if level is Level.PATIENT:
            wanted = studies_of_patients(self.node, [each[keys[0]] for each in resources])
        else:
            wanted = [named_by(level, each) for each in resources]
        return retrieved(self, self.node, given, wanted)


def named_by(level: Level, found: dict[str, str]) -> Named:
    """The UIDs by which something of a level is fetched, out of values by keyword."""
    study, series, instance = (found[key] if key in NAMED_BY[level] else "" for key in NAMED_BY[Level.INSTANCE])
    return study, series, instance
