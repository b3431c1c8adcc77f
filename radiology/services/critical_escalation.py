"""Telling of critical results, again and further up, until somebody says that they know.

Level 0 is the first word, level 1 the recipient again, every later one the policy's people. A level is told in one
transaction that also plans the next: a worker that dies loses none and tells none twice.
"""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.models import (
    CriticalChannel,
    CriticalEventKind,
    CriticalResult,
    Job,
    JobPriority,
    User,
)
from radiology.services import jobs
from radiology.services.critical_log import escalated_to, interval_of, note
from radiology.services.critical_mail import enqueue_mail
from radiology.services.jobs import handles
from radiology.signals import critical_result_changed

KIND = "radiology.escalate_critical_result"


def tell_first(result: CriticalResult) -> None:
    """Tell the recipient, and plan what follows if nothing is heard. In the transaction that raised it."""
    if result.recipient is not None and result.recipient.is_active:
        _tell(result, CriticalEventKind.RAISED, result.recipient)
    else:
        note(
            result,
            CriticalEventKind.FAILED,
            name=result.recipient_name,
            channel=CriticalChannel.HERE,
            detail=_("Has no account here: tell them by telephone."),
        )
    plan_next(result)


def plan_next(result: CriticalResult) -> None:
    """The next level, once the policy's time has passed; the result's row is the caller's to save or was just made."""
    result.next_escalation_at = timezone.now() + interval_of(result)
    CriticalResult.objects.filter(pk=result.pk).update(
        level=result.level, next_escalation_at=result.next_escalation_at, updated_at=timezone.now()
    )
    level = result.level + 1
    jobs.enqueue(
        kind=KIND,
        arguments={"result": result.pk, "level": level},
        idempotency_key=f"critical:{result.pk}:level:{level}",
        not_before=result.next_escalation_at,
        max_attempts=1000,
        priority=JobPriority.FIRST,
        site=result.site,
    )


@handles(KIND)
@transaction.atomic
def escalate(job: Job) -> None:
    """Go to the job's level, if the result is still open and not there yet."""
    found = CriticalResult.objects.select_for_update(of=("self",)).select_related("site", "recipient", "raised_by")
    result = found.get(pk=job.arguments["result"])
    if not result.is_open or result.level >= job.arguments["level"]:
        return
    result.level = job.arguments["level"]
    recipient = result.recipient if result.recipient is not None and result.recipient.is_active else None
    is_for_recipient = result.level == 1 and recipient is not None
    people, addresses = ([recipient], []) if is_for_recipient and recipient else escalated_to(result)
    if not people and not addresses:
        note(result, CriticalEventKind.FAILED, detail=_("The policy names nobody who could be told."))
    for each in people:
        _tell(result, CriticalEventKind.ESCALATED, each)
    for address in addresses:
        note(result, CriticalEventKind.ESCALATED, name=address, channel=CriticalChannel.MAIL)
        enqueue_mail(result, CriticalEventKind.ESCALATED, address=address)
    plan_next(result)
    critical_result_changed.send(sender=CriticalResult, result=result, change=CriticalEventKind.ESCALATED, who=None)


def _tell(result: CriticalResult, what: CriticalEventKind, user: User) -> None:
    """On the person's home page from now on, and by mail."""
    kind = CriticalEventKind.NOTIFIED if what == CriticalEventKind.RAISED else what
    note(result, kind, user=user, channel=CriticalChannel.HERE)
    enqueue_mail(result, what, user=user)
