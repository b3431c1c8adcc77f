"""What a message did here, for its row and for whoever looks at it."""

from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model

from integrations.hl7.acknowledgment import OrderReply
from radiology.models import Order, Patient


@dataclass(frozen=True)
class Response:
    """What a question is answered with, behind MSH and MSA: MSH-9 of the answer, and its segments."""

    kind: str
    segments: list[str]


@dataclass
class Outcome:
    """Filled in while a message is processed."""

    patient: Patient | None = None
    order: Order | None = None
    changed: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    orders: list[OrderReply] = field(default_factory=list)
    response: Response | None = None

    def did(self, what: str, row: Model) -> None:
        """`what` (created, changed, merged …) happened to `row`."""
        entry = {"model": row._meta.label, "id": row.pk, "did": what}
        if entry not in self.changed:
            self.changed.append(entry)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
