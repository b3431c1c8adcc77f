"""Who reads what: examinations are claimed, let go, handed on, and taken one after the other.

Two at once: the row is locked, and the second is told who has it. A claim of which nothing is heard for a while
lapses; a draft stays its writer's, and is taken from them only on purpose.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, Q, QuerySet
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, Order, RequestedProcedure, Resident, User
from radiology.services import audit
from worklist.models import TO_READ, Reading, ReadingArea, ReadingState, WorklistSettings

RIGHT = "reports.write"
# By what hurts most when it is late.
ORDER = ["urgency", "due_at", "pk"]
VIEWS = ("unread", "mine", "areas", "drafts", "cosign", "preliminary", "late")
CLAIM_MINUTES = 60
# Nobody has more at once.
MOST_MINE = 1000
# A claim is not written anew for each key that is pressed.
TOUCH_EVERY = timedelta(seconds=30)


@dataclass(frozen=True)
class ReadingFilter:
    """Which part of the list: one of `VIEWS`, a modality, a priority. Empty means everything."""

    view: str = "unread"
    modality: str = ""
    priority: str = ""


def readings(*, who: Any, wanted: ReadingFilter | None = None) -> QuerySet[Reading]:
    """What is to be read at `who`'s site, as far as the filter leaves it; unsorted."""
    wanted = wanted or ReadingFilter()
    found = Reading.objects.visible_to(who)
    found = found.filter(late_images__isnull=False) if wanted.view == "late" else found.to_read()
    if wanted.modality:
        found = found.filter(modality=wanted.modality)
    if wanted.priority:
        found = found.filter(priority=wanted.priority)
    if wanted.view in {"mine", "areas"} and not isinstance(who, User):
        return found.none()
    match wanted.view:
        case "mine":
            keys = _mine(who)
            return found.filter(pk__in=keys) if keys else found.none()
        case "areas":
            areas = _in_areas(who)
            return found.none() if areas is None else found.filter(areas)
        case "drafts":
            return found.filter(state=ReadingState.DRAFTED)
        case "cosign":
            waiting = found.filter(state=ReadingState.PRELIMINARY, resident__isnull=False)
            return waiting.filter(_theirs_to_cosign(who)) if isinstance(who, User) else waiting
        case "preliminary":
            return found.filter(state=ReadingState.PRELIMINARY, resident=None)
    return found


def _theirs_to_cosign(who: User) -> Q:
    """To a supervisor what others wait with; to a resident what they wait with themselves."""
    is_resident = Exists(Resident.objects.filter(user=who.pk))
    return Q(is_resident, resident=who.pk) | Q(~is_resident) & ~Q(resident=who.pk)


def _mine(who: User) -> list[int]:
    """Keys of what is assigned to somebody, claimed or drafted; looked up apart, so that no list is walked for it."""
    rows = Reading.objects.to_read().order_by()
    theirs = [rows.filter(**{name: who.pk}).values_list("pk") for name in ("assigned_to", "claimed_by", "draft_by")]
    return [pk for (pk,) in theirs[0].union(*theirs[1:])[:MOST_MINE]]


def _in_areas(who: Any) -> Q | None:
    """None for somebody who has no areas, to whom this view shows nothing."""
    areas = Q()
    for area in ReadingArea.objects.filter(user=who.pk):
        one = Q(modality=area.modality) if area.modality else Q()
        areas |= one & Q(regions__contains=[area.region]) if area.region else one
    return areas or None


def silent_since(*, who: Any, now: datetime | None = None) -> datetime:
    """A claim that was last active before this has lapsed."""
    minutes = WorklistSettings.objects.filter(site=who.site_id).values_list("claim_minutes", flat=True).first()
    return (now or timezone.now()) - timedelta(minutes=CLAIM_MINUTES if minutes is None else minutes)


def holder_of(reading: Reading, silent: datetime) -> int | None:
    """The user (id) who has an examination: by a claim that holds, else by a draft."""
    if reading.claimed_by_id is not None and reading.active_at is not None and reading.active_at > silent:
        return reading.claimed_by_id
    return reading.draft_by_id


@transaction.atomic
def claim(*, who: Any, procedure: RequestedProcedure, take_over: bool = False, address: str | None = None) -> Reading:
    """Have an examination to oneself; claiming one's own again only renews it.

    Of another's, only with `take_over`, which is audited. Raises NotAllowed, NotFound, Conflict, which says who has it
    and since when (`holder` among its facts), or that there is nothing to read any more.
    """
    reading = _locked(who, procedure)
    if reading.state not in TO_READ:
        raise Conflict(
            _("There is nothing to read here any more: the report is signed, or the images are gone."),
            field="procedure",
        )
    holder = holder_of(reading, silent_since(who=who))
    if holder is not None and holder != who.pk:
        if not take_over:
            raise Conflict(_told(reading, holder), field="procedure", holder=holder)
        _record("reading.taken_over", who, reading, address, {"from": holder})
    now = timezone.now()
    if holder != who.pk or reading.claimed_by_id != who.pk:
        reading.claimed_by_id, reading.claimed_at, reading.updated_at = who.pk, now, now
    reading.active_at = now
    reading.save(update_fields=["claimed_by", "claimed_at", "active_at", "updated_at"])
    return reading


@transaction.atomic
def release(*, who: Any, procedure: RequestedProcedure) -> Reading:
    """Let go of what one has claimed; of what nobody has, nothing changes. A draft stays its writer's.

    Raises NotAllowed, NotFound, Conflict for another's.
    """
    reading = _locked(who, procedure)
    if reading.claimed_by_id is None:
        return reading
    if reading.claimed_by_id != who.pk and holder_of(reading, silent_since(who=who)) == reading.claimed_by_id:
        raise Conflict(_told(reading, reading.claimed_by_id), field="procedure", holder=reading.claimed_by_id)
    _let_go(reading)
    return reading


@transaction.atomic
def assign(*, who: Any, procedure: RequestedProcedure, to: User | None, address: str | None = None) -> Reading:
    """Say who is to read an examination (None: anybody again); what one has claimed oneself is let go with it.

    Raises NotAllowed, NotFound, InvalidValue for somebody who may not write reports at its site, Conflict when
    another has it.
    """
    reading = _locked(who, procedure)
    if to is not None and not (to.may(RIGHT) and (to.site_id == reading.site_id or to.sees_every_site)):
        raise InvalidValue(_("%(who)s may not write reports here.") % {"who": to.shown_name}, field="to")
    holder = holder_of(reading, silent_since(who=who))
    if to is not None and holder not in {None, who.pk, to.pk}:
        raise Conflict(_told(reading, holder), field="procedure", holder=holder)
    if reading.assigned_to_id != (to.pk if to else None):
        _record("reading.assigned", who, reading, address, {"from": reading.assigned_to_id, "to": to and to.pk})
        reading.assigned_to, reading.updated_at = to, timezone.now()
        reading.save(update_fields=["assigned_to", "updated_at"])
    if to is not None and to.pk != who.pk and reading.claimed_by_id == who.pk:
        _let_go(reading)
    return reading


def touch(*, who: Any, procedure: RequestedProcedure) -> bool:
    """Renew one's claim while one is at work; False when one does not have it (any more), and nothing changes."""
    now = timezone.now()
    mine = Reading.objects.visible_to(who).to_read().filter(requested_procedure_ref=procedure, claimed_by=who.pk)
    if mine.filter(active_at__lt=now - TOUCH_EVERY).update(active_at=now):
        return True
    return mine.exists()


@transaction.atomic
def next_for(
    *, who: Any, after: RequestedProcedure | None = None, wanted: ReadingFilter | None = None
) -> Reading | None:
    """Claim the next examination that nobody has, in the order of the view; never `after`. None when there is none.

    What others have claimed or drafted, or is assigned to somebody else, is passed over; whoever asks at the same
    time gets another one. In the views of what is signed already nobody claims anything. Raises NotAllowed.
    """
    require_right(who)
    wanted, now = wanted or ReadingFilter(), timezone.now()
    silent = silent_since(who=who, now=now)
    if wanted.view == "late" or (wanted.view == "cosign" and Resident.objects.filter(user=who.pk).exists()):
        return None
    free = (
        readings(who=who, wanted=wanted)
        .filter(Q(claimed_by=None) | Q(active_at__lte=silent))
        .filter(Q(draft_by=None) | Q(draft_by=who.pk))
        .filter(Q(assigned_to=None) | Q(assigned_to=who.pk))
    )
    if wanted.view not in {"drafts", "preliminary", "cosign"}:
        free = free.filter(state=ReadingState.UNREAD)
    if after is not None:
        free = free.exclude(requested_procedure_ref=after)
    rows = free.order_by(*ORDER).select_for_update(of=("self",), skip_locked=True, no_key=True)
    found = rows.first()
    if found is None:
        return None
    found.claimed_by_id, found.claimed_at, found.active_at, found.updated_at = who.pk, now, now, now
    found.save(update_fields=["claimed_by", "claimed_at", "active_at", "updated_at"])
    return found


def require_right(who: Any) -> None:
    if not (isinstance(who, User) and who.may(RIGHT)):
        raise NotAllowed(_("You may not write reports."))


def _locked(who: Any, procedure: RequestedProcedure) -> Reading:
    require_right(who)
    rows = Reading.objects.visible_to(who).select_for_update(of=("self",), no_key=True)
    found = rows.filter(requested_procedure_ref=procedure).first()
    if found is None:
        raise NotFound(_("This examination has no images to read, or is not for you to see."), field="procedure")
    return found


def _let_go(reading: Reading) -> None:
    reading.claimed_by = reading.claimed_at = reading.active_at = None
    reading.updated_at = timezone.now()
    reading.save(update_fields=["claimed_by", "claimed_at", "active_at", "updated_at"])


def _told(reading: Reading, holder: int | None) -> str:
    """What the second of two is told."""
    user = User.objects.filter(pk__in=[holder]).first()
    name = user.shown_name if user is not None else _("Somebody")
    if reading.claimed_by_id != holder or reading.claimed_at is None:
        return _("%(who)s has a draft of this report.") % {"who": name}
    since = timezone.localtime(reading.claimed_at)
    today = since.date() == timezone.localdate()
    said = formats.date_format(since, "H:i" if today else "j M Y H:i")
    return _("%(who)s has been reading this since %(since)s.") % {"who": name, "since": said}


def _record(event: str, who: Any, reading: Reading, address: str | None, detail: dict[str, Any]) -> None:
    order = Order.objects.filter(requested_procedures=reading.requested_procedure_ref_id).first()
    study = reading.study_ref
    audit.record(
        event=event,
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=reading.site_id,
        patient_id=order.patient_ref_id if order is not None else None,
        study_instance_uid=study.study_instance_uid if study is not None else "",
        detail={"reading": reading.pk, **detail},
    )
