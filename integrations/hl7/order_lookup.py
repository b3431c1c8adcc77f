"""The order that a message means, and the key under which it is made once."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from integrations.hl7.order_content import OrderContent
from integrations.models import Hl7Peer
from radiology.errors import Conflict, InvalidValue
from radiology.models import Order, Patient
from radiology.services.accession import lock
from radiology.services.orders import LONGEST_KEY
from radiology.services.rows import Sought

# By column, what its partial index wants to be told in so many words.
INDEXED = {"client_key": " AND client_key <> ''"}
_WITH_KEY = Sought(Order, "id = %s")


def find(content: OrderContent, peer: Hl7Peer, patient: Patient, *, field: str = "ORC-2") -> tuple[Order, bool] | None:
    """The order that is meant, and whether its own numbers say so rather than the accession number alone.

    Raises Conflict when it is another patient's, InvalidValue when it may be one of several.
    """
    ways: list[tuple[dict[str, Any], bool]] = [({"client_key": key_of(content, peer)}, True)]
    if content.placer_order_number:
        ways.append(({"placer_order_number": content.placer_order_number, "patient_ref_id": patient.pk}, True))
    if content.filler_order_number:
        ways.append(({"filler_order_number": content.filler_order_number}, True))
        ways.append(({"accession_number": content.filler_order_number}, True))
        if own := _own_id(content.filler_order_number):
            ways.append(({"public_id": own}, True))
    if content.accession_number:
        ways.append(({"accession_number": content.accession_number}, not content.placer_order_number))
    found = _first_found(peer.site_id, [way for way, _is_same in ways])
    if found is None:
        return None
    place, keys = found
    if len(keys) > 1:
        raise InvalidValue(_("Several orders have this number: name the accession number."), field=field)
    (order,) = _WITH_KEY(keys[0])
    if order.patient_ref_id != patient.pk:
        raise Conflict(_("The order with this number is another patient's."), field=field)
    order.site, order.patient_ref = peer.site, patient
    return order, ways[place][1] or order.placer_order_number == content.placer_order_number


def _first_found(site_id: int | None, ways: Sequence[Mapping[str, Any]]) -> tuple[int, list[int]] | None:
    """The first of several ways (values by column) that finds orders of the site, two of these at most; one query."""
    table, parts, values = Order._meta.db_table, [], []
    for place, way in enumerate(ways):
        wanted = " AND ".join(f"{column} = %s{INDEXED.get(column, '')}" for column in ("site_id", *way))
        parts.append(f'(SELECT {place}, id FROM "{table}" WHERE {wanted} ORDER BY id LIMIT 2)')
        values += [site_id, *way.values()]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        rows = cursor.fetchall()
    first = min((place for place, _pk in rows), default=None)
    return None if first is None else (first, [pk for place, pk in rows if place == first])


def _own_id(number: str) -> str:
    """What an order without any number is called where we send it; empty for what is no such name."""
    try:
        return str(uuid.UUID(number)) if len(number) == 36 else ""
    except ValueError:
        return ""


def key_of(content: OrderContent, peer: Hl7Peer) -> str:
    """Under which the order is made once, however often and from how many sides it is sent."""
    number = "^".join(part for part in (content.placer_order_number, content.placer_namespace) if part)
    if not number:
        number = content.accession_number and f"accession {content.accession_number}"
    if not number:
        number = content.filler_order_number and f"filler {content.filler_order_number}"
    if not number:
        raise InvalidValue(_("The order has no number: ORC-2 is empty."), field="ORC-2")
    return key_of_number(number, peer)


def key_of_number(number: str, peer: Hl7Peer) -> str:
    """The same, of what its system calls an order."""
    key = f"hl7 {peer.pk} {number}"
    if len(key) > LONGEST_KEY or not key.isprintable():
        key = f"hl7 {peer.pk} {hashlib.sha256(number.encode()).hexdigest()}"
    return key


def lock_key(peer: Hl7Peer, key: str) -> None:
    """Until the transaction ends, whoever places the same order waits."""
    lock("order", peer.site_id, key)
