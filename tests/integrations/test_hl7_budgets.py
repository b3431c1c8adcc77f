"""How many statements the messages cost that a hospital sends most, so that it stays so."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.hl7.inbox import Arrival, keep
from integrations.models import Hl7Message, Hl7Peer
from radiology.models import Order, Patient, PatientIdentifier
from tests.factories import make_device, make_procedure
from tests.integrations.mllp_client import hand_in, make_peer, message, pid
from tests.integrations.test_hl7_orders import obr, orc

pytestmark = pytest.mark.django_db

PV1 = "PV1|1|I|ICU^1^2"
NIK = "001234^^^^MR~3171010101700001^^^KEMENDAGRI^NI"


@pytest.fixture(autouse=True)
def hospital() -> Hl7Peer:
    """A peer of whom nothing is to be noted, with a patient and a procedure that are known."""
    peer = make_peer(last_message_at=timezone.now() + timedelta(days=1))
    make_device(modality="CT")
    make_procedure(code="CTTHX", modality="CT")
    for _ in range(2):
        assert done(message("ADT^A04", pid(), PV1))
    return peer


def done(text: str) -> bool:
    answer = hand_in(text.encode())
    return answer is not None and b"MSA|AA" in answer


def cost(text: str) -> int:
    """Statements from the bytes to the answer: to keep it, six or seven; to process it, the rest."""
    with CaptureQueriesContext(connection) as queries:
        assert done(text)
    return len(queries)


def order(placer: str, *codes: str, control: str = "NW", **fields: str) -> str:
    groups = [part for code in codes or ("CTTHX^CT Thorax^L",) for part in (orc(control, placer, **fields), obr(code))]
    return message("ORM^O01", pid(), PV1, *groups)


VISIT, NEW, RENAMED, ORDER, STATUS, CALLED_OFF = 13, 22, 24, 32, 16, 33


@pytest.mark.parametrize(
    ("text", "most"),
    [
        (lambda: message("ADT^A08", pid(), PV1), VISIT),
        (lambda: message("ADT^A01", pid(), PV1), VISIT),
        (lambda: message("ADT^A03", pid(), PV1), VISIT + 1),
        (lambda: message("ADT^A04", pid("009999", "BARU^ORANG"), PV1), NEW),
        (lambda: message("ADT^A08", pid(name="WIBOWO^BUDI^S"), PV1), RENAMED),
        (lambda: order("P1"), ORDER),
        (lambda: order("P2", "XYZ^Not in the catalogue^L"), ORDER - 1),
    ],
    ids=["A08 unchanged", "A01 visit", "A03 left", "A04 new patient", "A08 another name", "ORM new", "ORM ad hoc"],
)
def test_a_message_costs_no_more_statements(text: Callable[[], str], most: int) -> None:
    assert cost(text()) <= most


def test_messages_about_an_order_cost_no_more_statements() -> None:
    assert done(order("P1"))
    assert cost(order("P1", control="SC", f5="IP")) <= STATUS
    assert cost(order("P1")) <= STATUS + 2, "the same order again"
    assert cost(order("P1", control="CA")) <= CALLED_OFF
    assert Order.objects.get().status == "revoked"


def test_each_further_procedure_costs_one_statement_for_its_protocols_and_one_for_who_hears_of_it() -> None:
    make_procedure(code="CTABD", modality="CT")
    make_procedure(code="CTHEAD", modality="CT")
    one = cost(order("P1"))
    three = cost(order("P2", "CTTHX^CT^L", "CTABD^CT^L", "CTHEAD^CT^L"))
    assert three - one <= 2 * 3


def test_other_numbers_of_a_patient_cost_one_look() -> None:
    assert done(message("ADT^A08", pid(NIK), PV1))
    assert PatientIdentifier.objects.count() == 1
    assert cost(message("ADT^A08", pid(NIK), PV1)) <= VISIT + 1


def test_the_same_message_again_is_not_done_again() -> None:
    text = message("ADT^A04", pid("009999", "BARU^ORANG"), PV1, own_id="SAME")
    assert done(text)
    assert cost(text) <= 7
    assert Patient.objects.filter(patient_id="009999").count() == 1


def test_many_messages_of_a_moment_are_kept_with_as_many_statements_as_one() -> None:

    arrivals = [Arrival(message("ADT^A08", pid(), PV1).encode(), "127.0.0.1") for _ in range(40)]
    before = Hl7Message.objects.count()
    with CaptureQueriesContext(connection) as queries:
        keep(arrivals)
    assert len(queries) <= 6
    assert Hl7Message.objects.count() == before + 40
