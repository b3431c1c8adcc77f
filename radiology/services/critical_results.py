"""Critical results: raised, read, acknowledged, withdrawn. What follows in between is told by critical_escalation.

Whoever changes a result holds its row; what others want to do meanwhile waits, and finds what became of it.
"""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.dicom import PersonName, clean
from radiology.errors import Conflict, InvalidValue, NotAllowed
from radiology.models import (
    AcknowledgedHow,
    AuditAction,
    CriticalCategory,
    CriticalChannel,
    CriticalEventKind,
    CriticalResult,
    CriticalResultEvent,
    CriticalState,
    Order,
    OrderStatus,
    PersonalResult,
    RequestedProcedure,
    User,
)
from radiology.models.critical_result import LONGEST_FINDING, CriticalResultQuerySet
from radiology.services.critical_escalation import tell_first
from radiology.services.critical_log import note, record
from radiology.services.critical_mail import enqueue_mail
from radiology.services.practitioners import physician_of
from radiology.services.report_versions import require_reason, require_right
from radiology.signals import critical_result_changed

RIGHT = "reports.write"
RELATED = ("site", "recipient", "raised_by", "acknowledged_by", "requested_procedure_ref__order_ref__patient_ref")


def proposed_recipient(procedure: RequestedProcedure) -> tuple[User | None, str]:
    """Whom one would tell: who ordered it, if they have an account here; and their name."""
    order = procedure.order_ref
    if (user := physician_of(order)) is not None:
        return user, user.shown_name
    return None, PersonName(order.referring_physician_name or order.requesting_physician).display


@transaction.atomic
def raise_critical(
    *,
    procedure: RequestedProcedure,
    finding: str,
    category: str,
    who: Any,
    recipient_name: str = "",
    address: str | None = None,
) -> tuple[CriticalResult, bool]:
    """Say that a finding cannot wait, before there is a report or after; and whether it is a new one.

    It goes to who ordered the examination. With another `recipient_name` it is for somebody without an account. The
    same finding again, while nobody has acknowledged it, is the one that is there. Raises NotAllowed, InvalidValue,
    Conflict for an examination that was entered in error.
    """
    require_right(who, RIGHT)
    said = _text(finding, "finding", LONGEST_FINDING, _("Say what was found."))
    if category not in CriticalCategory.values:
        raise InvalidValue(_("Choose how soon it must be known."), field="category")
    # Whoever raises the same at the same time waits here.
    order = Order.objects.select_for_update(of=("self",), no_key=True).get(pk=procedure.order_ref_id)
    if order.status == OrderStatus.ENTERED_IN_ERROR:
        raise Conflict(_("This order was entered in error: there is nothing to tell of it."), field="procedure")
    there = CriticalResult.objects.open().filter(requested_procedure_ref=procedure.pk, finding__iexact=said)
    if (found := there.select_related(*RELATED).first()) is not None:
        return found, False
    procedure = RequestedProcedure.objects.select_related("order_ref__ordering_physician").get(pk=procedure.pk)
    recipient, name = proposed_recipient(procedure)
    other = " ".join(clean(recipient_name).split())[:324]
    if other and other != name:
        recipient, name = None, other
    if recipient is not None and isinstance(who, User) and recipient.pk == who.pk:
        recipient = None
    result = CriticalResult.objects.create(
        site=procedure.order_ref.site,
        requested_procedure_ref=procedure,
        finding=said,
        category=category,
        raised_by=who if isinstance(who, User) else None,
        raised_by_name=_name(who),
        recipient=recipient,
        recipient_name=name,
    )
    note(result, CriticalEventKind.RAISED, user=result.raised_by, detail=result.get_category_display(), who=who)
    record(result, AuditAction.CREATE, who, address, category=category)
    tell_first(result)
    _changed(result, CriticalEventKind.RAISED, who)
    return result, True


@transaction.atomic
def acknowledge(
    *,
    result: CriticalResult,
    how: AcknowledgedHow,
    who: Any,
    told: str = "",
    read_back: bool = False,
    at: datetime | None = None,
    address: str | None = None,
) -> CriticalResult:
    """Somebody knows: who reads it here, who was `told` by telephone, or a person whom another system names.

    By telephone it is noted by who writes reports, with `read_back` whether the finding was repeated, and `at` when.
    The same again changes nothing. Raises NotAllowed for who raised it, InvalidValue, Conflict for a result that
    somebody else acknowledged first, or that was withdrawn.
    """
    result = _claim(result, who)
    if how == AcknowledgedHow.READ:
        if not isinstance(who, User):
            raise NotAllowed(_("A person acknowledges here; a program says who it was."))
        if result.raised_by_id == who.pk:
            raise NotAllowed(_("You raised this: somebody else must say that they know."), field="result")
        name = who.shown_name
    else:
        require_right(who, RIGHT)
        name = _text(told, "told", 324, _("Say who was told."))
    moment = _moment(at, result)
    if result.state == CriticalState.WITHDRAWN:
        raise Conflict(_("This critical result was withdrawn."), field="result", result=result)
    if result.state == CriticalState.ACKNOWLEDGED:
        if result.acknowledged_name == name and result.acknowledged_how == how:
            return result
        raise Conflict(
            _("%(name)s has acknowledged it already.") % {"name": result.acknowledged_name},
            field="result",
            result=result,
        )
    result.state = CriticalState.ACKNOWLEDGED
    result.acknowledged_by = who if isinstance(who, User) else None
    result.acknowledged_name, result.acknowledged_how, result.acknowledged_at = name, how, moment
    result.read_back = read_back and how == AcknowledgedHow.TELEPHONE
    _save(result)
    if how == AcknowledgedHow.TELEPHONE:
        detail = _("Repeated what was said.") if read_back else _("It was not noted whether they repeated it.")
    else:
        detail = ""
    channel = {
        AcknowledgedHow.READ: CriticalChannel.HERE,
        AcknowledgedHow.TELEPHONE: CriticalChannel.TELEPHONE,
        AcknowledgedHow.API: CriticalChannel.API,
    }[how]
    user = who if how == AcknowledgedHow.READ else None
    note(result, CriticalEventKind.ACKNOWLEDGED, user=user, name=name, channel=channel, detail=detail, who=who)
    record(result, AuditAction.UPDATE, who, address, state=result.state, how=how)
    _changed(result, CriticalEventKind.ACKNOWLEDGED, who)
    return result


@transaction.atomic
def withdraw(*, result: CriticalResult, reason: str, who: Any, address: str | None = None) -> CriticalResult:
    """It was none, or another patient's: nobody is told further, and the recipient is told of that. Again: nothing."""
    require_right(who, RIGHT)
    result = _claim(result, who)
    if result.state == CriticalState.WITHDRAWN:
        return result
    result.state, result.withdrawn_reason = CriticalState.WITHDRAWN, require_reason(reason)
    _save(result)
    user = who if isinstance(who, User) else None
    note(result, CriticalEventKind.WITHDRAWN, user=user, detail=result.withdrawn_reason, who=who)
    record(result, AuditAction.UPDATE, who, address, state=result.state)
    if result.recipient is not None:
        enqueue_mail(result, CriticalEventKind.WITHDRAWN, user=result.recipient)
    _changed(result, CriticalEventKind.WITHDRAWN, who)
    return result


def withdraw_with_report(*, procedure: RequestedProcedure, reason: str, who: Any) -> None:
    """What nobody has acknowledged falls with a report that was entered in error, in its transaction."""
    for result in CriticalResult.objects.open().filter(requested_procedure_ref=procedure):
        withdraw(result=result, reason=reason or _("The report was withdrawn."), who=who)


def note_read(*, result: CriticalResult, who: Any) -> None:
    """Write down that a person has it on the screen: the first time, and not of who raised it."""
    if isinstance(who, User) and who.pk != result.raised_by_id:
        seen = CriticalResultEvent.objects.filter(critical_result=result, kind=CriticalEventKind.READ, user=who)
        if not seen.exists():
            note(result, CriticalEventKind.READ, user=who, channel=CriticalChannel.HERE, who=who)


def open_results_for(who: Any) -> CriticalResultQuerySet:
    """The open ones that concern a person, newest first.

    Those one was told of, of one's own patients (ordered by oneself, this time or before), and that one raised.
    """
    found = CriticalResult.objects.visible_to(who).open().select_related(*RELATED)
    if not isinstance(who, User):
        return found.order_by("-pk")
    told = CriticalResultEvent.objects.filter(critical_result=OuterRef("pk"), user=who)
    told = told.filter(kind__in=[CriticalEventKind.NOTIFIED, CriticalEventKind.ESCALATED])
    patients = Order.objects.filter(
        patient_ref=OuterRef("requested_procedure_ref__order_ref__patient_ref"), ordering_physician=who
    )
    awaited = PersonalResult.objects.filter(
        requested_procedure_ref__order_ref__patient_ref=OuterRef("requested_procedure_ref__order_ref__patient_ref"),
        user=who,
        by_order=True,
    )
    mine = Q(recipient=who) | Q(raised_by=who) | Exists(told) | Exists(patients) | Exists(awaited)
    return found.filter(mine).order_by("-pk")


def results_of(procedure: RequestedProcedure) -> list[CriticalResult]:
    """All of a procedure, the open ones first, with their events."""
    found = CriticalResult.objects.filter(requested_procedure_ref=procedure).select_related(*RELATED)
    rows = list(found.prefetch_related("events").order_by("-pk")[:50])
    return sorted(rows, key=lambda each: not each.is_open)


def _claim(result: CriticalResult, who: Any) -> CriticalResult:
    found = CriticalResult.objects.select_for_update(of=("self",)).select_related(*RELATED)
    if who is not None:
        found = found.filter(pk__in=CriticalResult.objects.visible_to(who).filter(pk=result.pk).values("pk"))
    claimed = found.filter(pk=result.pk).first()
    if claimed is None:
        raise NotAllowed(_("This critical result is not for you to see."), field="result")
    return claimed


def _save(result: CriticalResult) -> None:
    result.next_escalation_at, result.updated_at = None, timezone.now()
    result.save()


def _changed(result: CriticalResult, change: CriticalEventKind, who: Any) -> None:
    critical_result_changed.send(sender=CriticalResult, result=result, change=change, who=who)


def _moment(at: datetime | None, result: CriticalResult) -> datetime:
    now = timezone.now()
    if at is not None and not result.raised_at <= at <= now:
        raise InvalidValue(_("They cannot have been told before it was raised, nor later than now."), field="at")
    return at or now


def _name(who: Any) -> str:
    return who.shown_name if isinstance(who, User) else str(getattr(who, "client", who or ""))[:324]


def _text(text: Any, field: str, most: int, missing: str) -> str:
    said = " ".join(clean(text).split()) if isinstance(text, str) else ""
    if not said:
        raise InvalidValue(missing, field=field)
    if len(said) > most:
        raise InvalidValue(_("This may have %(most)d characters.") % {"most": most}, field=field)
    return said
