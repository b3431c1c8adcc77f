"""One message for its page: as it came and decoded, what was answered, and what it changed."""

from typing import Any

from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from integrations.hl7.character_sets import decode
from integrations.hl7.decoded import Decoded, decoded
from integrations.hl7.message import parse
from integrations.models import Hl7Message
from radiology.errors import CannotUnderstand
from radiology.models import Order, Patient
from worklist.models import ScheduledProcedureStep

SHOWN = 100_000
LISTED = 20
CHANGES = 50
DID = {
    "created": _("made"),
    "changed": _("changed"),
    "merged": _("merged"),
    "scheduled": _("scheduled"),
    "arrived": _("arrived"),
    "linked": _("linked"),
    "unlinked": _("unlinked"),
}
# Rows that have a page of their own: by the model's label, its class and the page's name.
PAGES: dict[str, tuple[Any, str]] = {
    "radiology.Patient": (Patient, "patient"),
    "radiology.Order": (Order, "order"),
    "worklist.ScheduledProcedureStep": (ScheduledProcedureStep, "examination"),
}


class MessageView:
    """What the template asks for."""

    def __init__(self, row: Hl7Message) -> None:
        self._row = row

    @property
    def raw(self) -> list[str]:
        """A segment a line."""
        return lines_of(bytes(self._row.raw), self._row.character_set)

    @property
    def segments(self) -> list[Decoded]:
        """Decoded; none for what is no message."""
        try:
            return decoded(parse(bytes(self._row.raw), character_set=self._row.character_set))
        except CannotUnderstand:
            return []

    @property
    def answer(self) -> list[str]:
        return lines_of(bytes(self._row.acknowledgment), "") if self._row.acknowledgment else []

    @property
    def replays(self) -> list[Hl7Message]:
        return list(self._row.replays.order_by("pk").defer("raw", "acknowledgment")[:LISTED])

    @property
    def duplicates(self) -> list[Hl7Message]:
        return list(self._row.duplicates.order_by("-pk").defer("raw", "acknowledgment")[:LISTED])

    @property
    def changes(self) -> list[dict[str, str]]:
        """What the message wrote: what it is, the way to it, what happened to it."""
        entries = [(str(each.get("model", "")), each.get("id"), str(each.get("did", ""))) for each in self._row.changed]
        rows: dict[str, dict[Any, Any]] = {}
        for label, (model, _page) in PAGES.items():
            keys = {key for one, key, _did in entries if one == label}
            rows[label] = model.objects.in_bulk(keys) if keys else {}
        return [_change(label, key, did, rows.get(label, {}).get(key)) for label, key, did in entries[:CHANGES]]


def _change(label: str, key: Any, did: str, row: Any) -> dict[str, str]:
    told = {"did": str(DID.get(did, did)), "what": f"{label.partition('.')[2]} {key}", "address": ""}
    if row is not None:
        return {**told, "what": str(row), "address": reverse(PAGES[label][1], args=[row.public_id])}
    try:
        return {**told, "address": reverse(f"admin:{label.lower().replace('.', '_')}_change", args=[key])}
    except NoReverseMatch:
        return told


def lines_of(raw: bytes, character_set: str, *, most: int = SHOWN) -> list[str]:
    """A segment a line; marks that nobody can see are shown as dots."""
    text, _named = decode(raw, default=character_set)
    lines = text[:most].replace("\r\n", "\n").replace("\r", "\n").strip("\n").split("\n")
    shown = ["".join(each if each.isprintable() else "·" for each in line) for line in lines]
    return [*shown, "…"] if len(text) > most else shown
