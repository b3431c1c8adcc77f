"""The placer's number of an order that was made here, as the answer to it says (IHE RAD-3; ORC-1 NA)."""

from integrations.hl7.message import Message
from integrations.hl7.outgoing.values import filler_number
from integrations.models import Hl7Message, Hl7Peer
from radiology.errors import RadiologyError
from radiology.services.order_numbers import keep_placer_number

# HL7 table 0119: number assigned; accepted, which may bring the number too.
ASSIGNS = {"NA", "OK"}


def take_number(*, row: Hl7Message, answer: Message, peer: Hl7Peer) -> str:
    """Keep the number that the answer to a message gives the order of that message; what is to be noted of it."""
    if row.order_ref is None:
        return ""
    for orc in answer.all("ORC"):
        number, filler = orc.text(2), orc.text(3)
        if orc.text(1).upper() not in ASSIGNS or not number or filler not in {"", filler_number(row.order_ref)}:
            continue
        try:
            keep_placer_number(order=row.order_ref, number=number, who=peer)
        except RadiologyError as error:
            return error.message
    return ""
