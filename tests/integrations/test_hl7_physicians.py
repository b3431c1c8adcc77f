"""Numbers of physicians in orders (XCN.1), by which their results find them."""

import pytest

from radiology.models import Order, PersonalResult, Role
from tests.factories import make_device, make_procedure, make_user
from tests.integrations.mllp_client import hand_in, make_peer, message, pid
from tests.integrations.receiver import field
from tests.integrations.test_hl7_orders import obr, orc
from tests.integrations.test_hl7_reports import sent, signed
from tests.worklist.results import doctor, tie

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def hospital() -> None:
    make_peer()
    make_device(modality="CT")
    make_procedure(code="CTTHX", modality="CT")


def told(*segments: str, visit: str = "PV1|1|I|W3^12^1|||||7^SARI^DEWI^^^dr") -> Order:
    answer = hand_in(message("ORM^O01", pid(), visit, *segments).encode())
    assert answer is not None and b"MSA|AA" in answer, answer
    return Order.objects.get()


def numbers(order: Order) -> tuple[str, str]:
    return order.referring_physician_identifier, order.requesting_physician_identifier


def test_they_are_kept_and_go_with_the_name_that_they_are_of() -> None:
    assert numbers(told(orc(), obr(f16="8^LIM^BUDI^^^Dr"))) == ("7", "8")
    assert numbers(told(orc("XO"), obr(f16="^LIM^BUDI^^^Dr"))) == ("7", "8"), "the same person has the same number"
    assert numbers(told(orc("XO"), obr(f16="^TAN^ANI"))) == ("7", "")
    assert numbers(told(orc("XO"), obr(f16="9"))) == ("7", "9"), "a number without a name is one too"


def test_that_of_who_ordered_stands_in_for_one_that_is_missing() -> None:
    assert numbers(told(orc(f12="9^TAN^ANI"), obr(), visit="PV1|1|I")) == ("", "9")


def test_a_number_that_is_too_long_or_odd_does_not_hold_the_order_up() -> None:
    assert numbers(told(orc(), obr(f16=f"{'9' * 80}^LIM^BUDI")))[1] == "9" * 64


def test_they_go_out_with_the_name_or_without_one() -> None:
    peer = make_peer("EMR", destination_host="emr", addresses=[], sends_order_status=True, sends_reports="signed",
                     report_pdf=False)  # fmt: skip
    order = told(orc(), obr(f16="8"))
    signed(order.requested_procedures.get(), make_user("rahmat", role=Role.RADIOLOGIST))
    told(orc("CA"), obr(f16="8"))
    report, status = sent(peer)
    for each in (report, status):
        assert (field(each, "PV1", 8), field(each, "OBR", 16), field(each, "ORC", 12)) == ("7^SARI^DEWI^^^dr", "8", "8")


def test_the_doctor_and_the_ward_await_what_came(django_capture_on_commit_callbacks) -> None:
    tie(sari := doctor(), "identifier", "7")
    tie(ward := doctor("ward"), "place", "W3")
    with django_capture_on_commit_callbacks(execute=True):
        told(orc(), obr())
    rows = PersonalResult.objects.order_by("user__username")
    assert [(row.user, row.by_order, row.by_place) for row in rows] == [(sari, True, False), (ward, False, True)]
