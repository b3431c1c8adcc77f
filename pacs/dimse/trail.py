"""Who did what over an association, written to the audit trail."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from django.db import Error as DatabaseError

from radiology.services import audit

if TYPE_CHECKING:
    from pacs.dimse.acceptor import ServedAssociation

log = structlog.get_logger(__name__)


def record(association: "ServedAssociation", **facts: Any) -> None:
    """Write to the audit trail who asked over this association. That the trail cannot be written ends nothing."""
    with _trail(facts["event"]):
        audit.record(**_facts(association, facts))


def record_all(association: "ServedAssociation", events: Sequence[dict[str, Any]]) -> None:
    """The same of several events at once."""
    if events:
        with _trail(events[0]["event"]):
            audit.record_all(audit.event_of(**_facts(association, each)) for each in events)


def _facts(association: "ServedAssociation", facts: dict[str, Any]) -> dict[str, Any]:
    titles = {"calling": association.calling_ae_title, "called": association.called_ae_title}
    return {
        **facts,
        "who": association.node,
        "address": association.address,
        "site_id": association.node.site_id,
        "detail": {**titles, **facts.get("detail", {})},
    }


@contextlib.contextmanager
def _trail(event: str) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        log.error("audit_not_written", audit_event=event, exc_info=error)
