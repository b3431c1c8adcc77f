"""Which messages are understood, and who acts on each."""

from django.utils.translation import gettext as _

from integrations.hl7 import adt, appointments, orders, queries, results
from integrations.hl7.acknowledgment import ORDER_RESPONSES, Fault
from integrations.hl7.adt import Handler
from integrations.hl7.message import Message

VERSIONS = ("2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8")
PRODUCTION = {"", "P"}
# Answers to what we sent, or to our answers; they are never answered (HL7 2.5.1 chapter 2.9.3).
ANSWERS = {"ACK", "MCF"}
HANDLERS: dict[tuple[str, str], Handler] = {
    **{("ADT", event): handler for event, handler in adt.EVENTS.items()},
    **{("SIU", event): handler for event, handler in appointments.EVENTS.items()},
    **queries.EVENTS,
    ("ORM", "O01"): orders.process,
    ("OMG", "O19"): orders.process,
    ("OMI", "O23"): orders.process,
    ("ORU", "R01"): results.process,
}


def refusal(message: Message) -> Fault | None:
    """Why a message is rejected whatever it says (AR): its type, event, version or processing id."""
    code, event = message.message_code, message.trigger_event
    if not message.message_control_id:
        return Fault("101", _("MSH-10: the message has no control ID."), "MSH^1^10", is_rejection=True)
    if not any(message.version_id.startswith(each) for each in VERSIONS):
        text = _("MSH-12: version %(version)s is not understood; 2.3 to 2.8 are.") % {"version": message.version_id}
        return Fault("203", text, "MSH^1^12", is_rejection=True)
    if message.processing_id not in PRODUCTION:
        text = _("MSH-11: this is a production system, and takes P only.")
        return Fault("202", text, "MSH^1^11", is_rejection=True)
    if (code, event) in HANDLERS:
        return None
    if code not in {known for known, _event in HANDLERS}:
        text = _("MSH-9: messages of type %(type)s are not understood.") % {"type": code or '""'}
        return Fault("200", text, "MSH^1^9^1^1", is_rejection=True)
    text = _("MSH-9: the event %(event)s is not understood.") % {"event": f"{code}^{event}"}
    return Fault("201", text, "MSH^1^9^1^2", is_rejection=True)


def handler_of(message: Message) -> Handler:
    return HANDLERS[message.message_code, message.trigger_event]


def is_order(message: Message) -> bool:
    """Whether an order response may answer it."""
    return message.trigger_event in ORDER_RESPONSES and (message.message_code, message.trigger_event) in HANDLERS
