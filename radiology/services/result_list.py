"""A doctor's results: new, critical, reported, awaited; seen one by one or together. Along an index, page by page."""

import uuid
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from radiology.models import (
    CriticalResult,
    Order,
    Patient,
    PersonalResult,
    RequestedProcedure,
    ResultState,
    User,
)
from radiology.models.personal_result import REPORTED, PersonalResultQuerySet
from radiology.services.patient_search import find_patients

ORDER = ("-at", "-id")
VIEWS = ("reported", "new", "critical", "awaited")
WHOSE = ("", "ordered", "place")
# The tabs count no further.
COUNTED = 99
# A transaction that publishes is over by then.
SETTLED = timedelta(minutes=1)
# Of one question in words at most so many patients are looked at.
MOST_PATIENTS = 50
RELATED = ("requested_procedure_ref__order_ref__patient_ref", "version_ref__report_ref")
_DEFERRED = (
    "requested_procedure_ref__order_ref__patient_ref__attributes",
    "version_ref__pdf",
    "version_ref__markup",
    "version_ref__report_ref__draft",
    "version_ref__report_ref__draft_markup",
)


@dataclass(frozen=True)
class ResultFilter:
    """What of the list is wanted; what is empty does not matter. Days are those of the site, both included."""

    view: str = "reported"
    whose: str = ""
    modality: str = ""
    patient: uuid.UUID | None = None
    text: str = ""
    start: date | None = None
    end: date | None = None

    @property
    def is_narrowed(self) -> bool:
        return self != ResultFilter(self.view)


def results_for(*, who: Any, wanted: ResultFilter) -> PersonalResultQuerySet:
    """The rows of `who` for which the filter holds, in no order."""
    found = PersonalResult.objects.visible_to(who)
    if wanted.view == "new":
        found = found.filter(is_new=True)
    elif wanted.view == "critical":
        found = found.filter(is_critical=True)
    elif wanted.view == "awaited":
        found = found.filter(state=ResultState.AWAITED)
    else:
        found = found.filter(REPORTED)
    if wanted.whose:
        found = found.filter(**{"by_order" if wanted.whose == "ordered" else "by_place": True})
    if wanted.modality:
        found = found.filter(modality=wanted.modality)
    if wanted.start or wanted.end:
        found = found.filter(_between(who, wanted.start, wanted.end))
    if wanted.patient is not None:
        patients = Patient.objects.visible_to(who)
        keys = patients.filter(Q(public_id=wanted.patient) | Q(merged_into__public_id=wanted.patient))
        found = found.filter(_of_patients(list(keys.values_list("pk", flat=True))))
    if wanted.text.strip():
        keys_found = {
            key
            for each in find_patients(who=who, text=wanted.text, limit=MOST_PATIENTS)
            for key in (each.patient.pk, each.formerly.pk if each.formerly else each.patient.pk)
        }
        by_number = Q(requested_procedure_ref__order_ref__accession_number=wanted.text.strip()[:16])
        found = found.filter(_of_patients(sorted(keys_found)) | by_number)
    return found


def shown_results(found: PersonalResultQuerySet) -> PersonalResultQuerySet:
    """With all that a line shows, in the same query."""
    return found.select_related(*RELATED).defer(*_DEFERRED)


def counts_of(*, who: Any, views: Sequence[str] = VIEWS) -> dict[str, int]:
    """How much each view has, counted to one more than `COUNTED`; one query. What is reported is not counted."""
    counted = [view for view in views if view != "reported"]
    if not isinstance(who, User) or not who.may("studies.read"):
        return dict.fromkeys(counted, 0)
    parts: list[str] = []
    values: list[Any] = []
    for view in counted:
        rows = results_for(who=who, wanted=ResultFilter(view)).order_by().values("pk")[: COUNTED + 1]
        sql, params = rows.query.sql_with_params()
        parts.append(f"(SELECT count(*) FROM ({sql}) AS found)")
        values += params
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        return dict(zip(counted, cursor.fetchone(), strict=True))


def neighbours_of(*, row: PersonalResult, who: Any, wanted: ResultFilter) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """The examinations (public ids) that stand before and behind a row: the newer and the older result.

    One that was opened is no longer new; its place among the others is where it stands by its time.
    """
    found = results_for(who=who, wanted=wanted).exclude(pk=row.pk)
    newer = found.filter(Q(at__gt=row.at) | Q(at=row.at, pk__gt=row.pk)).filter(at__gte=row.at)
    older = found.filter(Q(at__lt=row.at) | Q(at=row.at, pk__lt=row.pk)).filter(at__lte=row.at)
    key = "requested_procedure_ref__public_id"
    return (
        newer.order_by("at", "pk").values_list(key, flat=True).first(),
        older.order_by("-at", "-pk").values_list(key, flat=True).first(),
    )


def note_opened(*, who: Any, procedure: RequestedProcedure, version: int) -> bool:
    """Somebody has this version (id) on the screen: it is not new to them; whether it was.

    A newer one, published meanwhile, stays new. Who has no row of it has nothing to note.
    """
    if not isinstance(who, User):
        return False
    found = PersonalResult.objects.filter(user=who, requested_procedure_ref=procedure).first()
    if found is None or (found.seen_version == version and not found.is_new):
        return False
    now = timezone.now()
    shown = PersonalResult.objects.filter(Q(version_ref=version) | Q(version_ref=None), pk=found.pk)
    noted = shown.update(is_new=False, seen_version=version, seen_at=now, marked=None, updated_at=now)
    return bool(noted) and found.is_new


@transaction.atomic
def mark_seen(
    *,
    who: User,
    until: datetime | None = None,
    wanted: ResultFilter | None = None,
    results: Sequence[uuid.UUID] = (),
) -> tuple[uuid.UUID, int]:
    """Say of new results that they are seen: of all that the filter leaves, as they stood at `until`, or of `results`
    (public ids of their procedures) alone.

    With `until`, what is critical stays new as long as nobody has acknowledged it, and so does what was published
    within the minute before now, whose transaction may have ended after `until`, unless `results` names it too. The
    answer names what was marked, for `unmark_seen`, and how many these were.
    """
    found = results_for(who=who, wanted=replace(wanted or ResultFilter(), view="new"))
    # Of what is held nobody has seen what it says.
    found = found.exclude(version_ref__report_ref__held_at__isnull=False)
    named = Q(requested_procedure_ref__public_id__in=list(results))
    if until is None:
        found = found.filter(named)
    else:
        settled = Q(at__lte=min(until, timezone.now() - SETTLED))
        found = found.filter(settled | named & Q(at__lte=until) if results else settled, is_critical=False)
    seen = {row.pk: row.version_ref_id for row in found.only("pk", "version_ref")}
    locked = PersonalResult.objects.filter(pk__in=list(seen), is_new=True)
    rows = locked.select_for_update(no_key=True).order_by("pk").only("pk", "version_ref")
    still = [row.pk for row in rows if row.version_ref_id == seen[row.pk]]
    mark, now = uuid.uuid4(), timezone.now()
    PersonalResult.objects.filter(pk__in=still).update(is_new=False, marked=mark, updated_at=now)
    return mark, len(still)


@transaction.atomic
def unmark_seen(*, who: User, mark: uuid.UUID) -> int:
    """Take that back: new again is what was marked together, except what was opened since. Again: nothing."""
    marked = PersonalResult.objects.visible_to(who).filter(marked=mark)
    keys = [row.pk for row in marked.select_for_update(no_key=True).order_by("pk").only("pk")]
    now = timezone.now()
    return PersonalResult.objects.filter(pk__in=keys).update(is_new=True, marked=None, updated_at=now)


def open_critical_of(*, who: Any, patient: Patient, but: RequestedProcedure | None = None) -> list[CriticalResult]:
    """The open critical results of a patient, for the pages about them: ten at most, the newest first.

    `but` is the requested procedure that the page is about, and tells itself.
    """
    found = CriticalResult.objects.visible_to(who).open()
    found = found.filter(requested_procedure_ref__order_ref__patient_ref=patient)
    if but is not None:
        found = found.exclude(requested_procedure_ref=but)
    return list(found.select_related("requested_procedure_ref__order_ref").order_by("-pk")[:10])


def _of_patients(keys: Sequence[int]) -> Q:
    """By patients (ids): along their orders, not along all that the person has."""
    orders = Order.objects.filter(patient_ref__in=keys).values("pk")
    return Q(requested_procedure_ref__in=RequestedProcedure.objects.filter(order_ref__in=orders).values("pk"))


def _between(who: Any, start: date | None, end: date | None) -> Q:
    zone = zoneinfo.ZoneInfo(who.site.time_zone)
    condition = Q()
    if start is not None:
        condition &= Q(at__gte=datetime.combine(start, time(0), tzinfo=zone))
    if end is not None and end < date.max:
        condition &= Q(at__lt=datetime.combine(end + timedelta(days=1), time(0), tzinfo=zone))
    return condition
