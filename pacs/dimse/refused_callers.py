"""Associations that were refused, in the audit trail: what a device's engineer looks for first.

Each caller and reason is written once an hour by a process, and no more than `MOST` of them, so that
nobody fills the trail by knocking.
"""

import threading
import time

import structlog
from django.db import DatabaseError

from pacs.dimse.pdu import AssociateRequest, Rejection
from radiology.models import AuditAction
from radiology.services import audit

log = structlog.get_logger(__name__)

EVENT = "dicom.refused"
EVERY = 3600.0
MOST = 100

_noted: dict[tuple[str, str, str, int], float] = {}
_lock = threading.Lock()


def note_refusal(request: AssociateRequest, address: str, rejection: Rejection) -> None:
    """Write down who was refused and why. That the trail cannot be written ends nothing."""
    calling, called = (title.strip() for title in (request.calling_ae_title, request.called_ae_title))
    if not _is_new((calling, called, address, rejection.reason), time.monotonic()):
        return
    try:
        audit.record(
            event=EVENT,
            action=AuditAction.EXECUTE,
            who=calling.replace("\x00", ""),
            address=address,
            succeeded=False,
            detail={
                "calling": calling.replace("\x00", "")[:16],
                "called": called.replace("\x00", "")[:16],
                "source": rejection.source,
                "reason": rejection.reason,
            },
        )
    except DatabaseError as error:
        log.error("audit_not_written", audit_event=EVENT, exc_info=error)


def _is_new(caller: tuple[str, str, str, int], now: float) -> bool:
    with _lock:
        for known in [each for each, at in _noted.items() if now - at > EVERY]:
            del _noted[known]
        if caller in _noted or len(_noted) >= MOST:
            return False
        _noted[caller] = now
        return True
