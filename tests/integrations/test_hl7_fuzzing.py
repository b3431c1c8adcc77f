"""Messages that were damaged at random: every one is answered, none finds anything that nobody foresaw."""

import random
from pathlib import Path

import pytest

from integrations.models import Hl7Message
from tests.integrations.mllp_client import Answer, hand_in, make_peer, message, pid

DATA = Path(__file__).parent / "data"
PIECES = [
    *(b"|", b"^", b"~", b"&", b"\\", b"\r", b"\n", b'""', b"\x00", b"\xff\xfe", b"\xc3", b"=", b"\x1e\x7f"),
    *(b"\\X00\\", b"\\X0G\\", b"\\.br\\", b"\\.sp99999999\\"),
    *(b"'; DROP TABLE x; --", b"../../etc/passwd", b"%s%n", b"A" * 300, b"9" * 40, b"-1", b"20269999"),
    *(b"MSH|^~\\&|", b"OBR|", b"PID|", b"ORC|NW|"),
    "\u202e\U0001f600李".encode(),
]
OBR = "OBR|1|P1|F1|CT1^CT^L^P1^Prot^L||||||||D^Danger|A^Alert||L|8^ASK^ER||ACC1|RP1|SPS1||||CT||||||WALK|R^Why||5&T&N"
ORC = "ORC|NW|P1|F1||SC||^^^2026113010^^S"
OWN = [
    ("ORM^O01", pid("7", f11="St^^City", f13="0812"), "PV1|1|I|W^1^2||||7^DOC^TOR", ORC, OBR, "NTE|1||T", "ZDS|1.2.3"),
    ("ADT^A40", pid("7"), "MRG|8", pid("9"), "MRG|10"),
    ("OMI^O23", pid("7"), "ORC|XO|P1", "TQ1|1||||||20261130||S", OBR, "IPC|A|R|1.2|S|CT|P^Q|N||AE"),
    ("ADT^A47", pid("77"), "MRG|7"),
    ("ADT^A02", pid("7"), "PV1|1|I|ICU^1"),
    ("ORM^O01", pid("7"), "ORC|CA|P1|F1", OBR),
]


def damaged(raw: bytes, chance: random.Random) -> bytes:
    """One to four bytes or pieces of it removed, doubled, or replaced."""
    data = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                del data[at : at + chance.choice([1, 1, 5, 60])]
            case 1:
                data[at:at] = chance.choice(PIECES)
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case _:
                data[at:at] = data[at : at + chance.randint(1, 80)]
        if not data:
            data = bytearray(b"M")
    return bytes(data)


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(6))
def test_damaged_messages_are_answered_with_reasons_that_were_foreseen(seed: int) -> None:
    make_peer()
    chance = random.Random(seed)
    own = [message(kind, *segments, own_id="M1").encode() for kind, *segments in OWN]
    samples = [path.read_bytes() for path in sorted(DATA.glob("*.hl7"))] + own * 3
    codes = set()
    for _ in range(120):
        raw = damaged(chance.choice(samples), chance)
        answer = hand_in(raw)
        assert answer is not None
        read = Answer(answer.decode("latin-1").encode())
        codes.add(read.code)
        kept = Hl7Message.objects.order_by("-pk")[0]
        assert bytes(kept.raw) == raw
        assert "could not be processed here" not in kept.error, raw
        assert (kept.error == "") == (read.code == "AA"), raw
    assert codes == {"AA", "AE", "AR"}
