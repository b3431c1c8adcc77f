"""The numbers of orders: accession numbers that rise and are never given out twice, and what follows from them."""

import uuid
import zoneinfo
from datetime import date

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.accession_pattern import LONGEST, fill, period
from radiology.errors import Conflict, InvalidValue
from radiology.models import AccessionCounter, Order, Site
from radiology.services.rows import Sought
from radiology.services.whole import atomic
from radiology.signals import accession_number_chosen

# Numbers that others brought along are stepped over; more in one row than this is a mistake in the pattern.
MOST_SKIPPED = 10_000
RAISE = (
    f'INSERT INTO "{AccessionCounter._meta.db_table}" (site_id, period, last) VALUES (%s, %s, 1)'
    " ON CONFLICT (site_id, period) DO UPDATE"
    f' SET last = "{AccessionCounter._meta.db_table}".last + 1 RETURNING last'
)


_ORDERS = Sought(Order, "site_id = %s AND accession_number = %s LIMIT 1", fields=["id"])


@atomic()
def next_accession_number(*, site: Site, day: date | None = None) -> str:
    """The next number of the site's pattern: higher than all before it in its period, and used by nothing yet.

    The counter's row stays locked until the transaction ends, so that numbers rise in the order in which
    orders are committed, and an order that is not made after all leaves no gap. Raises Conflict when the
    pattern has no number left.
    """
    day = day or timezone.localtime(timezone=zoneinfo.ZoneInfo(site.time_zone)).date()
    within = period(site.accession_pattern, day=day)
    for _skipped in range(MOST_SKIPPED):
        with connection.cursor() as cursor:
            cursor.execute(RAISE, [site.pk, within])
            number = fill(site.accession_pattern, day=day, number=cursor.fetchone()[0])
        if len(number) > LONGEST:
            break
        if not is_taken(site=site, accession_number=number):
            return number
    raise Conflict(
        _("The pattern of accession numbers has none left: ask your administrator to lengthen it."),
        field="accession_number",
    )


def is_taken(*, site: Site, accession_number: str) -> bool:
    """Whether an order has the number, or something to the right of us does (images that came with it)."""
    if _ORDERS(site.pk, accession_number):
        return True
    answers = accession_number_chosen.send(sender=Order, site=site, accession_number=accession_number)
    return any(answer for _receiver, answer in answers)


def require_free(*, site: Site, accession_number: str, issuer: str = "") -> None:
    """A number that somebody else gave out must fit and be free; until the transaction ends nobody else takes it.

    Raises InvalidValue for one that is too long, Conflict with the order that has it in its facts.
    """
    if len(accession_number) > LONGEST:
        raise InvalidValue(
            _("An accession number may have %(most)d characters; this one has %(count)d.")
            % {"most": LONGEST, "count": len(accession_number)},
            field="accession_number",
        )
    if "\\" in accession_number or not accession_number.isprintable():
        raise InvalidValue(
            _("An accession number has no backslash and no control characters."), field="accession_number"
        )
    lock("accession", site.pk, accession_number)
    same = Order.objects.filter(site=site, accession_number=accession_number)
    if issuer:  # a number without an issuer may be anybody's
        same = same.filter(issuer_of_accession_number__in={"", issuer})
    known = same.first()
    if known is not None:
        raise Conflict(
            _("There is an order with the accession number %(number)s already.") % {"number": accession_number},
            field="accession_number",
            order=known,
        )


def lock(*key: object) -> None:
    """Until the transaction ends, whoever names the same key waits."""
    text = "\x1f".join(map(str, key))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [text])


def requested_procedure_id(*, accession_number: str, position: int) -> str:
    """The id of an order's procedure at `position`, from 1: the number and the position, in 16 characters (SH)."""
    whole = f"{accession_number}-{position}"
    return whole if len(whole) <= LONGEST else str(position)


def study_uid(*, site: Site, issuer: str, accession_number: str, requested_procedure_id: str) -> str:
    """The UID of a procedure's study to come: the same whenever the same order is sent, another for each procedure."""
    name = "\n".join(["urn:sinar:study", site.code, issuer, accession_number, requested_procedure_id])
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"
