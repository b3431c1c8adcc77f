"""The peers as every message needs them: with their site and their mappings, as they stand at this moment."""

from integrations.models import Hl7FieldMapping, Hl7Peer
from radiology.models import Site
from radiology.services.whole import Standing


def _read() -> dict[int, Hl7Peer]:
    found = Hl7Peer.objects.select_related("site").prefetch_related("mappings").order_by("pk")
    return {peer.pk: peer for peer in found}


_standing = Standing([Hl7Peer, Hl7FieldMapping, Site], _read)


def peer_of(pk: int) -> Hl7Peer:
    """One of them, whether it is active or not. Raises KeyError."""
    return _standing()[pk]


def active() -> list[Hl7Peer]:
    """Those that may send, or are sent to."""
    return [peer for peer in _standing().values() if peer.is_active]


def receiving(*, site_id: int | None) -> list[Hl7Peer]:
    """Those of a site to which messages are sent."""
    return [peer for peer in active() if peer.receives and peer.site_id == site_id]
