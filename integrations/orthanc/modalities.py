"""`/modalities`: the registered nodes; echo, store, move, query, and `/queries` with their answers."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse

from integrations.orthanc.access import (
    NotDone,
    OrthancView,
    answer,
    field,
    flag,
    json_object,
    json_value,
    raw_body,
)
from integrations.orthanc.identifiers import as_digest
from integrations.orthanc.lookup import find_any
from integrations.orthanc.onward import retrieved
from integrations.orthanc.retrieval import (
    MOST_RESOURCES,
    is_synchronous,
    job_answer,
    studies_of_patients,
    waited_for_transfers,
)
from integrations.orthanc.selection import selected
from pacs.dimse import scu
from pacs.models import ApplicationEntity, Transfer, TransferState
from pacs.services import transfers
from pacs.services.attributes import Level
from radiology.errors import InvalidValue, NotFound, Unreachable
from radiology.services import audit


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
    """About one node, which is looked for before anything else."""

    node: ApplicationEntity

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.node = node_named(self.here, kwargs["orthanc_modality"])


class Modality(NodeView):
    """`/modalities/{name}`: what can be done with it."""

    def get(self, request: Any, **_: str) -> HttpResponse:
        return answer(["configuration", "echo", "find-study", "find-series", "move", "query", "store"])

    def _refuse(self, request: Any, **_: str) -> HttpResponse:
        raise NotDone("Nodes are registered and changed in the administration.")

    put = delete = _refuse


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
    """`POST /modalities/{name}/move`: brings patients' studies, studies or series from there to here or `TargetAet`."""

    needs = {"POST": "studies.write"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = json_object(request)
        level = field(given, "Level", str).lower()
        if level not in {"patient", "study", "series"}:
            raise NotDone("Patients, studies and series are fetched, not single objects.")
        key = "PatientID" if level == "patient" else "StudyInstanceUID"
        resources = field(given, "Resources", list)
        if len(resources) > MOST_RESOURCES or not all(
            isinstance(each, dict) and isinstance(each.get(key), str) for each in resources
        ):
            raise InvalidValue(f"Each of the Resources, {MOST_RESOURCES} at most, names its {key}.", field="Resources")
        if level == "patient":
            wanted = studies_of_patients(self.node, [each[key] for each in resources])
        else:
            wanted = [(each[key], str(each.get("SeriesInstanceUID") or "")) for each in resources]
        return retrieved(self, self.node, given, wanted)
