"""Numbers that others give to orders that were made here."""

from typing import Any

from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import Conflict, InvalidValue
from radiology.models import Order
from radiology.services.order_fields import field_of
from radiology.services.order_states import record_version
from radiology.services.orders import claim_order
from radiology.services.whole import atomic
from radiology.signals import order_changed


@atomic()
def keep_placer_number(*, order: Order, number: str, who: Any = None) -> Order:
    """The order with the number that its placer has given it (HL7 ORC-1 NA). The same number again changes nothing.

    Raises InvalidValue for what is no number, Conflict when it has another one.
    """
    number = clean(number)
    order = claim_order(order, None)
    if not number or not number.isprintable() or len(number) > (field_of("placer_order_number").max_length or 0):
        raise InvalidValue(_("An order number may have 64 characters."), field="placer_order_number")
    before = order.placer_order_number
    if before == number:
        return order
    if before:
        raise Conflict(
            _("The order has the placer's number %(number)s already.") % {"number": before},
            field="placer_order_number",
            order=order,
        )
    order.placer_order_number = number
    changes = {"placer_order_number": [before, number]}
    record_version(order=order, changes=changes, who=who, written={"placer_order_number": number})
    order_changed.send(sender=Order, order=order, procedures=[], changes=changes, who=who)
    return order
