"""The one way to write the audit trail."""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest

from radiology.dicom import clean
from radiology.models import ApiToken, AuditAction, AuditEvent, User
from radiology.services.rows import Added

_add = Added(AuditEvent)


def record(
    *,
    event: str,
    action: AuditAction,
    who: Any = None,
    address: str | None = None,
    site_id: int | None = None,
    patient_id: int | None = None,
    study_instance_uid: str = "",
    succeeded: bool = True,
    detail: dict[str, Any] | None = None,
) -> None:
    """Append one event. `who` is a User, an ApiToken or any other caller (its text is kept).

    That somebody searched or read is on the disk within a second, and nobody waits for it; all else is when this ends.
    """
    appended = event_of(
        event=event,
        action=action,
        who=who,
        address=address,
        site_id=site_id,
        patient_id=patient_id,
        study_instance_uid=study_instance_uid,
        succeeded=succeeded,
        detail=detail,
    )
    _add([appended], soon=action == AuditAction.READ or event.endswith((".search", ".find")))


def record_all(events: Iterable[AuditEvent]) -> None:
    """Append many events at once, as `event_of` made them."""
    _add(list(events))


def event_of(
    *,
    event: str,
    action: AuditAction,
    who: Any = None,
    address: str | None = None,
    site_id: int | None = None,
    patient_id: int | None = None,
    study_instance_uid: str = "",
    succeeded: bool = True,
    detail: dict[str, Any] | None = None,
) -> AuditEvent:
    """An event that is not written yet; as for `record`."""
    return AuditEvent(
        event=event,
        action=action,
        user_id=who.pk if isinstance(who, User) else None,
        agent=agent_of(who),
        address=address or None,
        site_id=site_id if site_id is not None else getattr(who, "site_id", None) or None,
        patient_ref_id=patient_id,
        study_instance_uid=clean(study_instance_uid)[:64],
        succeeded=succeeded,
        detail=detail or {},
    )


def address_of(request: HttpRequest) -> str | None:
    """The caller's address as the server saw it."""
    return request.META.get("REMOTE_ADDR") or None


def agent_of(who: Any) -> str:
    """The caller in a few words: a user's name, a client's, a node's title."""
    return clean(_agent(who))[:200]


def _agent(who: Any) -> str:
    if who is None:
        return ""
    if isinstance(who, User):
        return who.get_username()
    if isinstance(who, ApiToken):
        return str(who.client)
    return str(who)
