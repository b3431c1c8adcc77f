"""Finding orders: for the list of the pages and for programs, newest first, in pages that an index begins."""

import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from radiology.dicom import PersonName
from radiology.models import Order, Patient, RequestedProcedure, Site

# Of one question in words at most so many patients are looked at.
MOST_PATIENTS = 200
SIZE = 50


@dataclass(frozen=True)
class Asked:
    """What is looked for; what is empty does not matter. Days are those of the site, both included."""

    text: str = ""
    patient_id: str = ""
    accession_number: str = ""
    placer_order_number: str = ""
    statuses: Sequence[str] = ()
    priority: str = ""
    modality: str = ""
    start: date | None = None
    end: date | None = None
    updated_since: datetime | None = None

    @property
    def is_empty(self) -> bool:
        return self == Asked()


@dataclass(frozen=True)
class Page:
    """Orders, and the key behind which older ones begin; None when these were the last."""

    orders: list[Order] = field(default_factory=list)
    older: int | None = None


def find_orders(*, who: Any, asked: Asked, size: int = SIZE, before: int | None = None) -> Page:
    """One page of the orders that `who` may see, with their patients and procedures: two queries, three with words."""
    found = _matching(Order.objects.visible_to(who), who, asked)
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(
        found.select_related("patient_ref", "site", "ordering_physician")
        .defer("patient_ref__attributes")
        .prefetch_related("requested_procedures")
        .order_by("-pk")[: size + 1]
    )
    return Page(rows[:size], rows[size - 1].pk if len(rows) > size else None)


def _matching(found: QuerySet[Any], who: Any, asked: Asked) -> QuerySet[Any]:
    for name in ("accession_number", "placer_order_number", "priority"):
        if value := getattr(asked, name):
            found = found.filter(**{name: value})
    if asked.statuses:
        found = found.filter(status__in=asked.statuses)
    if asked.patient_id:
        found = found.filter(patient_ref__patient_id=asked.patient_id)
    if asked.modality:
        of_modality = RequestedProcedure.objects.filter(modality=asked.modality).values("order_ref")
        found = found.filter(Q(pk__in=of_modality))
    if asked.updated_since is not None:
        found = found.filter(updated_at__gte=asked.updated_since)
    if asked.start or asked.end:
        found = found.filter(_between(who, asked.start, asked.end))
    return found.filter(_in_words(who, asked.text)) if asked.text.strip() else found


def _between(who: Any, start: date | None, end: date | None) -> Q:
    """The days in the zone of the one who asks."""
    zone = zoneinfo.ZoneInfo(Site.objects.get(pk=who.site_id).time_zone)
    condition = Q()
    if start is not None:
        condition &= Q(created_at__gte=datetime.combine(start, time(0), tzinfo=zone))
    if end is not None and end < date.max:
        condition &= Q(created_at__lt=datetime.combine(end + timedelta(days=1), time(0), tzinfo=zone))
    return condition


def _in_words(who: Any, text: str) -> Q:
    """Numbers of the order or of the patient by their beginning, or words of the name. One query for the patients."""
    term = " ".join(text.replace("\x00", "").split())[:64]
    words = PersonName(term).words
    patients = Patient.objects.visible_to(who)
    by_name = (
        patients.named(words).order_by("-pk").values("pk")[:MOST_PATIENTS] if words else patients.none().values("pk")
    )
    by_number = patients.filter(patient_id__startswith=term).order_by("patient_id").values("pk")[:MOST_PATIENTS]
    keys = {row["pk"] for row in by_number.union(by_name, all=True)} if words else {row["pk"] for row in by_number}
    condition = Q(patient_ref__in=sorted(keys)) if keys else Q(pk__in=[])
    for value in {term, term.upper()}:
        condition |= Q(accession_number__startswith=value) | Q(placer_order_number=value) | Q(filler_order_number=value)
    return condition
