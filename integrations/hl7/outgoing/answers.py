"""What a peer's answer means: done, to be sent again, or never (HL7 2.5.1 chapter 2.9.2 and 2.9.3)."""

from dataclasses import dataclass
from datetime import timedelta

from django.utils.translation import gettext as _

from integrations.hl7.message import Message
from integrations.models import AcknowledgmentCode
from radiology.dicom import clean

# After an error: what the message needs may be on its way to the peer. Then a person decides.
ERROR_DELAYS = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))
# HL7 table 0357: a locked record and an internal error pass, also where they are told as a rejection.
PASSES = {"206", "207"}
COMMITS = {AcknowledgmentCode.COMMIT_ACCEPT, AcknowledgmentCode.COMMIT_ERROR, AcknowledgmentCode.COMMIT_REJECT}
ACCEPTS = {AcknowledgmentCode.ACCEPT, AcknowledgmentCode.COMMIT_ACCEPT}
REJECTS = {AcknowledgmentCode.REJECT, AcknowledgmentCode.COMMIT_REJECT}

LONGEST_TEXT, LONGEST_PLACE = 500, 100


@dataclass(frozen=True)
class Answer:
    """MSA and ERR, as far as they decide something. `text` is for people."""

    code: AcknowledgmentCode
    raw: bytes
    message: Message
    text: str = ""
    error_code: str = ""

    @property
    def is_accepted(self) -> bool:
        return self.code in ACCEPTS

    @property
    def is_commit(self) -> bool:
        """Of enhanced mode: that it was received, not what became of it."""
        return self.code in COMMITS

    @property
    def may_pass(self) -> bool:
        """Whether the same message may be accepted later."""
        return self.code not in REJECTS or self.error_code in PASSES


def read_answer(raw: bytes, message: Message) -> tuple[str, Answer] | None:
    """The control ID that is answered, and the answer; None for what is none."""
    msa = message.first("MSA")
    code = msa.text(1).upper()
    if code not in AcknowledgmentCode.values:
        return None
    err = message.first("ERR")
    # Before 2.5 the code stood in ERR-1.4.
    error_code = err.text(3) or err.text(1, 4)
    said = [err.text(8), msa.text(3), err.text(7), err.text(3, 2) or err.text(1, 4, 2)]
    text = clean(next((each for each in said if each), ""))[:LONGEST_TEXT]
    place = "-".join(part for part in (clean(err.text(2)), clean(err.text(2, 3))) if part)[:LONGEST_PLACE]
    answer = Answer(AcknowledgmentCode(code), raw, message, _sentence(code, text, place), error_code)
    return clean(msa.text(2)), answer


def _sentence(code: str, text: str, place: str) -> str:
    if code in ACCEPTS:
        return ""
    if not text:
        return _("It answered %(code)s, and not why.") % {"code": code}
    at = f"{place}: " if place and not text.startswith(place) else ""
    return _("It answered %(code)s: %(text)s") % {"code": code, "text": f"{at}{text}"}
