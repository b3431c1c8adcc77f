"""`/peers`: other Orthancs, as they were entered in the administration; asking and storing there."""

from typing import Any

from django.http import HttpResponse

from integrations.models import OrthancJob, OrthancPeer
from integrations.orthanc.access import OrthancView, answer, flag
from integrations.orthanc.identifiers import identifiers_of
from integrations.orthanc.lookup import find_any
from integrations.orthanc.modalities import resources_of
from integrations.orthanc.peering import KIND, system_of
from integrations.orthanc.selection import objects_of, selected
from integrations.orthanc.starting import answered, begin
from pacs.services.transfers import MOST_OBJECTS
from radiology.errors import InvalidValue, NotDone, NotFound, Unreachable
from radiology.models import AuditAction


def configuration(peer: OrthancPeer) -> dict[str, Any]:
    """As Orthanc shows it: the password is there, and is not told."""
    found: dict[str, Any] = {"HttpHeaders": [], "Pkcs11": False, "Timeout": 0, "Url": peer.url}
    if peer.username:
        found |= {"Password": None, "Username": peer.username}
    return found


class Peers(OrthancView):
    """`GET /peers`, with `?expand` in full."""

    def get(self, request: Any) -> HttpResponse:
        peers = OrthancPeer.objects.filter(site=self.here.site_id, is_active=True).order_by("name")
        if flag(request, "expand"):
            return answer({peer.name: configuration(peer) for peer in peers})
        return answer([peer.name for peer in peers])


class PeerView(OrthancView):
    """About one peer, which is looked for before anything else. With `may_be_new`, PUT may name one that is not."""

    may_be_new = False
    found: OrthancPeer | None

    @property
    def peer(self) -> OrthancPeer:
        if self.found is None:
            raise NotFound("There is no such peer.")
        return self.found

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        name = kwargs["orthanc_peer"]
        self.found = OrthancPeer.objects.filter(site=self.here.site_id, is_active=True, name=name).first()
        if self.found is None and not (self.may_be_new and request.method == "PUT"):
            raise NotFound("There is no such peer: peers are registered in the administration.")


class Configuration(PeerView):
    """`/peers/{name}/configuration`."""

    def get(self, request: Any, **_: str) -> HttpResponse:
        return answer(configuration(self.peer))


class System(PeerView):
    """`/peers/{name}/system`: what the peer says of itself."""

    def get(self, request: Any, **_: str) -> HttpResponse:
        return answer(system_of(self.peer))


class Store(PeerView):
    """`POST /peers/{name}/store`: identifiers of any level, or `Resources` with `Synchronous`."""

    needs = {"POST": "studies.read"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        given = resources_of(request)
        if given.get("Compress") or given.get("Transcode"):
            raise NotDone("Objects are given as they are stored.")
        rows = [find_any(self.here, name) for name in given["Resources"]]
        chosen = selected(self.here, rows)
        total = sum(objects_of(self.here.site_id, each.named).count() for each in chosen)
        if not total or total > MOST_OBJECTS:
            raise InvalidValue(f"There is nothing to send, or more than {MOST_OBJECTS} objects.", field="Resources")
        row = begin(
            self, given, kind=OrthancJob.Kind.PEER, work=KIND, peer=self.peer, total=total,
            selections=[each.named for each in chosen],
            resources=[name for level, source in rows for name in identifiers_of(level, [source])],
        )  # fmt: skip
        for each in chosen:
            self.record(
                "peer", AuditAction.READ, site_id=each.study.site_id, patient_id=each.study.patient_ref_id,
                study_instance_uid=each.study.study_instance_uid, detail={"peer": self.peer.name, "url": self.peer.url},
            )  # fmt: skip
        return answered(row, given, Unreachable)
