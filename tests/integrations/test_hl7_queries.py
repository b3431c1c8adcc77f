"""Questions about patients over MLLP, their answers read by python-hl7 and judged by hl7apy."""

from collections.abc import Iterator

import hl7
import pytest
from hl7apy.parser import parse_message

from integrations.models import Hl7Peer
from radiology.models import AuditEvent
from tests.factories import make_patient, make_site
from tests.integrations.mllp_client import Answer, MllpClient, message, pid

PDQ = "QPD|Q22^Find Candidates^HL7|TAG1|"


@pytest.fixture
def people(peer: Hl7Peer) -> None:
    make_patient("A1", "WIBOWO^BUDI^^Dr^Jr", patient_birth_date="19700131", patient_sex="M",
                 identifiers=[("NIK", "3171234567890123"), ("BPJS", "0001234567890")])  # fmt: skip
    make_patient("A2", "WIBOWO^SITI", patient_birth_date="19800131", patient_sex="F")
    make_patient("B1", "HARTONO^SITI|~\\&", patient_birth_date="19900131", patient_sex="F")
    make_patient("X1", "WIBOWO^ELSEWHERE", site=make_site())
    make_patient("", "WIBOWO^PROVISIONAL", provisional_for="1.2.3")


def pids(answer: Answer) -> Iterator[hl7.Segment]:
    parsed: hl7.Message = hl7.parse(answer.text)
    return (segment for segment in parsed if str(segment[0]) == "PID")


def numbers(answer: Answer) -> list[str]:
    return [str(segment[3]).partition("^")[0] for segment in pids(answer)]


QUESTIONS = [
    ("@PID.5.1^WIBOWO", ["A1", "A2"]),
    ("@PID.5.1^wib*", ["A1", "A2"]),
    ("@PID.5.1^WIB", []),
    ("@PID.5.1^WIBOWO~@PID.8^F", ["A2"]),
    ("@PID.5.1.1^WIBOWO~@PID.5.2^BUDI", ["A1"]),
    ("@PID.7^19900131", ["B1"]),
    ("@PID.3.1^A1", ["A1"]),
    ("@PID.3.1^3171234567890123", ["A1"]),
    ("@PID.3.1^A1~@PID.3.4^NOBODY", []),
    ("@PID.3^X1", []),
]


@pytest.mark.parametrize(("asked", "expected"), QUESTIONS)
def test_candidates_are_found_by_what_is_known(mllp: MllpClient, people: None, asked: str, expected: list[str]) -> None:
    answer = mllp.ask(message("QBP^Q22^QBP_Q21", PDQ + asked, "RCP|I"))
    assert answer.code == "AA", answer.text
    assert answer.segment("MSH")[8] == "RSP^K22^RSP_K21"
    assert answer.segment("QAK")[1:3] == ["TAG1", "OK" if expected else "NF"]
    assert answer.segment("QPD")[2] == "TAG1" and answer.segment("QPD")[3] == asked
    assert numbers(answer) == expected
    assert AuditEvent.objects.filter(event="patient.queried", agent="SIMRS").count() == 1


def test_an_answer_is_valid_and_nothing_in_it_breaks_out(mllp: MllpClient, people: None) -> None:
    answer = mllp.ask(message("QBP^Q22^QBP_Q21", PDQ + "@PID.5.2^SITI", "RCP|I"))
    parsed = parse_message(answer.text, find_groups=False)
    assert {segment.name for segment in parsed.children} == {"MSH", "MSA", "QAK", "QPD", "PID"}
    second = list(pids(answer))[1]
    assert str(second[1]) == "2"
    assert hl7.parse(answer.text).unescape(str(second[5]).split("^")[1]) == "SITI|~\\&"


def test_more_than_asked_for_come_page_by_page(mllp: MllpClient, people: None) -> None:
    found: list[str] = []
    pointer: list[str] = []
    for _ in range(3):
        answer = mllp.ask(message("QBP^Q22^QBP_Q21", PDQ + "@PID.5^WIBOWO*", "RCP|I|1^RD", *pointer))
        found += numbers(answer)
        following = [fields for fields in answer.segments if fields[0] == "DSC"]
        if not following:
            break
        pointer = ["|".join(following[0])]
    assert found == ["A1", "A2"]


def test_who_has_a_number_is_told_also_by_a_former_one(mllp: MllpClient, people: None) -> None:
    assert mllp.ask(message("ADT^A40", pid("A1"), "MRG|A2")).code == "AA"
    for number in ("A1", "A2", "0001234567890"):
        answer = mllp.ask(message("QBP^Q21^QBP_Q21", f"QPD|Q21^Get Person Demographics^HL7|T|{number}", "RCP|I"))
        assert numbers(answer) == ["A1"], number
        assert "WIBOWO^BUDI^^Jr^Dr" in answer.text
    answer = mllp.ask(message("QBP^Q21^QBP_Q21", "QPD|Q21|T|NOBODY", "RCP|I"))
    assert (answer.code, answer.segment("QAK")[2]) == ("AA", "NF")


def test_the_other_numbers_of_a_patient_are_told(mllp: MllpClient, people: None) -> None:
    answer = mllp.ask(message("QBP^Q23^QBP_Q21", "QPD|Q23^Get Corresponding IDs^HL7|T|A1", "RCP|I"))
    assert answer.segment("MSH")[8] == "RSP^K23^RSP_K23"
    (segment,) = pids(answer)
    assert {str(each).partition("^")[0] for each in segment[3]} == {"3171234567890123", "0001234567890"}
    answer = mllp.ask(message("QBP^Q23^QBP_Q21", "QPD|Q23|T|NOBODY", "RCP|I"))
    assert (answer.code, answer.location) == ("AE", "QPD^1^3")


@pytest.mark.parametrize(
    ("who", "expected"), [("A1", ["A1"]), ("^WIBOWO^SITI", ["A2"]), ("^HARTONO", ["B1"]), ("NOBODY", []), ("X1", [])]
)
def test_the_old_query_is_answered(mllp: MllpClient, people: None, who: str, expected: list[str]) -> None:
    answer = mllp.ask(message("QRY^A19", f"QRD|20260125083000|R|I|Q1|||25^RD|{who}|DEM", version="2.3"))
    assert answer.code == "AA", answer.text
    assert answer.segment("MSH")[8] == "ADR^A19^ADR_A19"
    assert answer.segment("QRD")[4] == "Q1"
    assert numbers(answer) == expected


@pytest.mark.parametrize(
    ("segment", "location"),
    [
        ("RCP|I", "QPD^1"),
        ("QPD|Q22|T", "QPD^1^3"),
        ("QPD|Q22|T|@PID.8^F", "QPD^1^3"),
        ("QPD|Q22|T|@PV1.3^ICU", "QPD^1^3"),
        ("QPD|Q22|T|@PID.x^F", "QPD^1^3"),
        ("QPD|Q22|T|@PID.²^F", "QPD^1^3"),
        ("QPD|Q22|T|@PID.5.1", "QPD^1^3"),
        ("QPD|Q22|T|@PID.30^Y", "QPD^1^3"),
        ("QPD|Q22|T|@PID.5.1^*", "QPD^1^3"),
    ],
)
def test_a_question_that_asks_nothing_is_refused(mllp: MllpClient, people: None, segment: str, location: str) -> None:
    answer = mllp.ask(message("QBP^Q22^QBP_Q21", segment))
    assert (answer.code, answer.location) == ("AE", location)
    assert not numbers(answer)
