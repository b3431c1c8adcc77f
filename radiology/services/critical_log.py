"""What is written down of a critical result, for good, and what a site's policy says of it."""

from datetime import timedelta
from typing import Any

from django.db.models import Q

from radiology.models import (
    AuditAction,
    CriticalChannel,
    CriticalEventKind,
    CriticalPolicy,
    CriticalResult,
    CriticalResultEvent,
    User,
)
from radiology.models.critical_result import USUAL_MINUTES, CriticalCategory
from radiology.services import audit

MOST_PEOPLE = 200


def note(
    result: CriticalResult,
    kind: CriticalEventKind,
    *,
    user: User | None = None,
    name: str = "",
    channel: CriticalChannel | str = "",
    detail: str = "",
    who: Any = None,
) -> None:
    """Append one event to the log of a result. `user` or `name` is whom it concerns, `who` the one that did it."""
    CriticalResultEvent.objects.bulk_create(
        [
            CriticalResultEvent(
                critical_result=result,
                kind=kind,
                user=user,
                name=(name or (user.shown_name if user else ""))[:324],
                channel=channel,
                level=result.level,
                detail=detail[:300],
                agent=audit.agent_of(who),
            )
        ],
        ignore_conflicts=kind == CriticalEventKind.READ,
    )


def record(result: CriticalResult, action: AuditAction, who: Any, address: str | None, **detail: Any) -> None:
    """The same in the audit trail; the finding stays out of it."""
    procedure = result.requested_procedure_ref
    audit.record(
        event="critical_result",
        action=action,
        who=who,
        address=address,
        site_id=result.site_id,
        patient_id=procedure.order_ref.patient_ref_id,
        study_instance_uid=procedure.study_instance_uid,
        detail={"critical_result": str(result.public_id), **detail},
    )


def interval_of(result: CriticalResult) -> timedelta:
    """So long a result waits before it is told further."""
    policy = CriticalPolicy.objects.filter(site=result.site_id, category=result.category).first()
    return timedelta(minutes=policy.minutes if policy else USUAL_MINUTES[CriticalCategory(result.category)])


def escalated_to(result: CriticalResult) -> tuple[list[User], list[str]]:
    """Who is told when the recipient says nothing: the policy's people and addresses, and who raised it."""
    policy = CriticalPolicy.objects.filter(site=result.site_id, category=result.category).first()
    wanted = Q(pk=result.raised_by_id)
    if policy is not None:
        wanted |= Q(pk__in=policy.people.values("pk")) | Q(site=result.site_id, groups__name__in=policy.roles)
    people = User.objects.filter(wanted, is_active=True).distinct().order_by("pk")[:MOST_PEOPLE]
    return list(people), list(policy.addresses) if policy is not None else []
