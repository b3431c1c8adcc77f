"""Reading HL7 v2 messages: tolerant of what senders write; and building answers, strictly."""

import pytest

from integrations.hl7 import escapes, values
from integrations.hl7.acknowledgment import Fault, OrderReply, acknowledge
from integrations.hl7.message import Message, parse
from radiology.errors import CannotUnderstand
from tests.integrations.mllp_client import Answer

HEADER = r"MSH|^~\&|SIMRS|RSUD|SINAR|RAD|20260125083000||ADT^A08^ADT_A01|17|P|2.5"


def read(*segments: str, header: str = HEADER, end: str = "\r") -> Message:
    return parse(end.join([header, *segments]).encode() + end.encode())


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
def test_segments_end_with_cr_lf_or_both(end: str) -> None:
    message = read("EVN|A08", "PID|1||12^^^HIS^MR~34^^^NIK^NI||DOE^JOHN", end=end)
    assert [segment.name for segment in message.segments] == ["MSH", "EVN", "PID"]
    assert [each.text(1) for each in message.first("PID").repetitions(3)] == ["12", "34"]
    assert (message.message_code, message.trigger_event, message.message_control_id) == ("ADT", "A08", "17")
    assert (message.sending_application, message.sending_facility) == ("SIMRS", "RSUD")
    assert message.version_id == "2.5"


def test_a_line_break_within_a_text_stays_in_it() -> None:
    message = read("NTE|1||first line\nMRI, second line\r\nthird", "PID|1||12", end="\r")
    assert message.first("NTE").text(3) == "first line\nMRI, second line\nthird"
    assert message.first("PID").text(3) == "12"


def test_what_is_not_there_is_empty() -> None:
    message = read("PID|1||12")
    assert message.first("PV1").text(3) == "" and not message.first("PV1")
    assert message.first("PID").text(30, 4, 2) == ""
    assert list(message.all("OBX")) == []


def test_empty_leaves_and_two_quotation_marks_delete() -> None:
    segment = read('PID|1||12||DOE^JOHN|""|""^x||').first("PID")
    assert segment.given(8) is None and segment.text(8) == ""
    assert segment.given(6) == "" and segment.value(6).is_null
    assert not segment.value(7).is_null
    assert segment.given(5) == "DOE"


def test_other_separators_are_taken_from_the_header() -> None:
    message = parse(rb"MSH#*@!%#A#B#C#D#2026##ADT*A08#1#P#2.4" + b"\r" + rb"PID#1##12***H%1.2%ISO@34##DOE!S!X*J")
    assert message.trigger_event == "A08"
    assert message.first("PID").text(3, 4, 2) == "1.2"
    assert message.first("PID").text(5) == "DOE*X" and message.first("PID").text(5, 2) == "J"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"one\.br\two\.sp2\three", "one\ntwo\n\nthree"),
        (r"\H\loud\N\ quiet", "loud quiet"),
        (r"caf\XC3A9\!", "café!"),
        (r"\Zxyz\ and \nothing", r"\Zxyz\ and \nothing"),
        (r"ends with \\", r"ends with \\"),
    ],
)
def test_escape_sequences_are_decoded(written: str, meant: str) -> None:
    assert escapes.decode(written, escapes.STANDARD) == meant


def test_what_is_encoded_is_decoded_to_the_same() -> None:
    text = "a|b^c&d~e\\f\ng\x01 é 李"
    encoded = escapes.encode(text)
    assert not set("|^&~\n\r\x01") & set(encoded)
    assert escapes.decode(encoded, escapes.STANDARD) == text


@pytest.mark.parametrize(
    ("named", "codec"),
    [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("8859/15", "iso8859-15"), ("", "latin-1"), ("", "utf-8")],
)
def test_text_is_read_in_the_character_set_that_is_named_or_guessed(named: str, codec: str) -> None:
    header = HEADER + "||||||" + named
    message = parse(f"{header}\rPID|1||12||GRÖNÉ^É".encode(codec))
    assert message.first("PID").text(5) == "GRÖNÉ"


def test_a_character_set_of_the_peer_stands_in_for_one_that_is_missing() -> None:
    raw = f"{HEADER}\rPID|1||12||ЖУКОВ".encode("iso8859-5")
    assert parse(raw, character_set="8859/5").first("PID").text(5) == "ЖУКОВ"


def test_a_character_set_that_lies_does_not_lose_the_message() -> None:
    raw = f"{HEADER}||||||UNICODE UTF-8\rPID|1||12||GRÖNÉ".encode("latin-1")
    assert parse(raw).first("PID").text(5) == "GRÖNÉ"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"MSH",
        b"MSH|",
        b"PID|1||12\rMSH|^~\\&|",
        b"hello, world",
        b"\x00\xff\xfe" * 100,
        b"MSHAAAAAAAAAAAA",
        b"FHS|^~\\&|A\rBHS|^~\\&|A\r",
        HEADER.encode() + b"|" * 250_000,
        HEADER.encode() + b"\rNTE" * 20_000,
    ],
)
def test_what_is_no_message_is_refused_with_a_sentence(raw: bytes) -> None:
    with pytest.raises(CannotUnderstand) as refused:
        parse(raw)
    assert refused.value.message.endswith(".")


def test_names_keep_their_parts_in_the_order_of_dicom() -> None:
    segment = read("PID|1||12||WIBOWO&de^BUDI^AGUS^Jr^Dr^MD~李^明^^^^^L^I").first("PID")
    assert values.person_name(segment.repetitions(5)) == "WIBOWO^BUDI^AGUS^Dr^Jr MD=李^明"
    doctor = read("PV1|1||||||||X").first("PV1")
    assert values.person_name(doctor.repetitions(8), first=2) == ""
    doctor = read("PV1|1|I||||||1234^SARI^DEWI^^Sp.Rad^dr").first("PV1")
    assert values.person_name(doctor.repetitions(8), first=2) == "SARI^DEWI^^dr^Sp.Rad"
    doctor = read("PV1|1|I||||||1234^SARI^DEWI^^^^^^I").first("PV1")  # XCN-9 is who gave the number
    assert values.person_name(doctor.repetitions(8), first=2) == "SARI^DEWI"
    technician = read("OBR|1||||||||||||||||||||||||||||||||||7&NUGROHO&ADI").first("OBR")
    assert values.person_of_subcomponents(technician.value(35)) == "NUGROHO^ADI"


def test_a_name_that_is_no_longer_to_be_used_is_passed_over() -> None:
    """HL7 table 0200; where it is the only one, it is the name."""
    segment = read("PID|1||12||Smith^John^^^^^NOUSE~Smith^Janet^^^^^L").first("PID")
    assert values.person_name(segment.repetitions(5)) == "Smith^Janet"
    assert values.person_name(segment.repetitions(5)[:1]) == "Smith^John"


def test_an_acceptance_echoes_the_id_and_swaps_the_applications() -> None:
    code, raw = acknowledge(read("PID|1||12"))
    answer = Answer(raw)
    header = answer.segment("MSH")
    assert code == "AA" == answer.code
    assert answer.control_id == "17"
    assert header[2:6] == ["SINAR", "RAD", "SIMRS", "RSUD"]
    assert header[8] == "ACK^A08^ACK" and header[10:12] == ["P", "2.5.1"]
    assert header[9] and header[9] != "17"


def test_a_refusal_says_where_and_why_and_nothing_in_it_is_markup() -> None:
    fault = Fault("102", "PID-7: 31|02 & ^more\nof it", "PID^1^7")
    answer = Answer(acknowledge(read("PID|1||12"), fault=fault)[1])
    assert answer.code == "AE"
    assert answer.location == "PID^1^7"
    assert answer.segment("ERR")[3:5] == ["102^Data type error^HL70357", "E"]
    assert escapes.decode(answer.error, escapes.STANDARD) == fault.text
    assert escapes.decode(answer.segment("MSA")[3], escapes.STANDARD) == fault.text


def test_what_cannot_be_read_is_rejected_without_an_id() -> None:
    answer = Answer(acknowledge(None, fault=Fault("100", "No.", is_rejection=True))[1])
    assert (answer.code, answer.segment("MSA")[2:3]) == ("AR", [""])


def test_an_order_response_names_both_numbers() -> None:
    order = read("PID|1||12", header=HEADER.replace("ADT^A08^ADT_A01", "ORM^O01"))
    answer = Answer(acknowledge(order, orders=[OrderReply("OK", "P1", "2601250001")], responds=True)[1])
    assert answer.segment("MSH")[8] == "ORR^O02^ORR_O02"
    assert answer.segment("ORC") == ["ORC", "OK", "P1", "2601250001"]


def test_an_answer_is_written_in_the_character_set_of_the_question() -> None:
    message = parse(f"{HEADER}||||||8859/1\rPID|1||12".encode("latin-1"))
    raw = acknowledge(message, fault=Fault("102", "größer 李"))[1]
    assert "größer ?".encode("latin-1") in raw
    assert b"|8859/1\r" in raw


def test_a_doubled_escape_character_in_the_header_is_one() -> None:
    message = parse(b"MSH|^~\\\\&|A|F|||2026||ADT^A01|1|P|2.6\rPID|1||7^^^H&1.2&ISO~8||DOE\\T\\CO^J")
    assert message.first("PID").text(3, 4, 2) == "1.2"
    assert message.first("PID").text(5) == "DOE&CO"
    assert message.message_control_id == "1"


def test_a_header_that_names_fewer_separators_has_the_usual_ones() -> None:
    message = parse(b"MSH|^|A|F|||2026||ADT^A01|1|P|2.6\rPID|1||7~8||DOE^J")
    assert [each.text() for each in message.first("PID").repetitions(3)] == ["7", "8"]
