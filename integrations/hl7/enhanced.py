"""Which answers a sender asks for: original and enhanced acknowledgment mode (HL7 2.5.1 chapter 2.9.2, 2.9.3)."""

from dataclasses import dataclass
from enum import StrEnum

from integrations.hl7.message import Message
from integrations.models import AcknowledgmentMode


class Condition(StrEnum):
    """MSH-15 and MSH-16 (HL7 table 0155)."""

    ALWAYS = "AL"
    NEVER = "NE"
    ERROR = "ER"
    SUCCESS = "SU"

    def includes(self, is_success: bool) -> bool:
        """Whether this outcome is told."""
        return self == Condition.ALWAYS or self == (Condition.SUCCESS if is_success else Condition.ERROR)


@dataclass(frozen=True)
class Wanted:
    """`accept`: that it is kept safely (CA, CR); `application`: what became of it (AA, AE, AR)."""

    accept: Condition
    application: Condition
    is_enhanced: bool

    @property
    def is_behind(self) -> bool:
        """Whether the sender does not wait until it is processed."""
        return self.is_enhanced and self.application == Condition.NEVER


ORIGINAL = Wanted(Condition.NEVER, Condition.ALWAYS, is_enhanced=False)


def wanted_by(message: Message | None, mode: str = AcknowledgmentMode.MESSAGE) -> Wanted:
    """What a message asks for. Both fields empty is original mode; one alone leaves the other at NE (2.9.3.1).

    Words that table 0155 has not are read as AL: an answer too many is passed over, one too few is waited for. So
    is NE in both, which senders copy from examples and then wait: it is answered as in original mode.
    """
    if message is None or mode == AcknowledgmentMode.ORIGINAL:
        return ORIGINAL
    said = tuple(message.header.text(number).upper() for number in (15, 16))
    if set(said) <= {"", "NE"}:
        return ORIGINAL
    accept, application = map(_condition, said)
    return Wanted(accept, application, is_enhanced=True)


def _condition(said: str) -> Condition:
    if not said:
        return Condition.NEVER
    return Condition(said) if said in set(Condition) else Condition.ALWAYS
