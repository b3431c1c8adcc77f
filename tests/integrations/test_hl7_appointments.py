"""SIU over MLLP: appointments made, moved, called off and missed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from integrations.models import Hl7Peer
from radiology.models import Order
from tests.daemons import Daemon
from tests.factories import let_it_be_noon, make_device, make_procedure, make_room
from tests.integrations.mllp_client import MllpClient, last_message, message, pid
from tests.worklist.worklist_client import findscu
from worklist.models import Room, ScheduledProcedureStep

DAY = datetime(2031, 5, 12, tzinfo=UTC)


def sch(number: str = "APPT1", *, order: str = "", start: str = "20310512090000+0000", until: str = "") -> str:
    fields = {1: number, 11: f"^^^{start}^{until}", 26: order}
    return "|".join(["SCH", *(fields.get(each, "") for each in range(1, 27))])


def ais(code: str = "CTHEAD^CT Head^L", start: str = "", duration: str = "") -> str:
    return f"AIS|1||{code}|{start}|||{duration}|{'min' if duration else ''}"


def order(number: str = "P1", *codes: str) -> str:
    groups = [
        part
        for code in codes or ("CTHEAD^CT Head^L",)
        for part in (f"ORC|NW|{number}", f"OBR|1|{number}||{code}" + "|" * 20 + "CT")
    ]
    return message("ORM^O01", pid(), *groups)


@pytest.fixture
def room(peer: Hl7Peer) -> Room:
    let_it_be_noon()
    room = make_room("CT1", name="CT room")
    make_device("CT_AE", room=room, modality="CT", station_name="CTONE")
    return room


def step() -> ScheduledProcedureStep:
    return ScheduledProcedureStep.objects.select_related("room", "device").get()


PLACES = ["AIL|1||CT1", "AIL|1||RAD^CT room", "AIG|1||CT_AE", "AIG|1||CTONE^Scanner"]


@pytest.mark.parametrize("place", PLACES)
def test_an_appointment_puts_its_order_on_the_calendar(mllp: MllpClient, room: Room, place: str) -> None:
    assert mllp.ask(order("P1")).code == "AA"
    assert mllp.ask(message("SIU^S12", sch(order="P1"), pid(), "RGS|1", ais(duration="45"), place)).code == "AA"
    assert Order.objects.count() == 1
    assert (step().room, step().scheduled_start) == (room, DAY + timedelta(hours=9))
    assert step().scheduled_end == DAY + timedelta(hours=9, minutes=45)
    assert step().scheduled_station_ae_titles == ["CT_AE"]
    # The same again changes nothing.
    version = step().version
    assert mllp.ask(message("SIU^S12", sch(order="P1"), pid(), "RGS|1", ais(duration="45"), place)).code == "AA"
    assert step().version == version and "Nothing was changed" in last_message().note


DURATIONS = [("45", "min", 45), ("2700.000", "s", 45), ("1.5", "H", 90), ("0.000", "s", 30), ("half an hour", "", 30)]


def test_a_duration_may_have_decimals(mllp: MllpClient, room: Room) -> None:
    """What is no duration leaves the one of SCH-11."""
    mllp.ask(order("P1"))
    times = sch(order="P1", start="20310512090000+0000", until="20310512093000+0000")
    for number, unit, minutes in DURATIONS:
        service = f"AIS|1||CTHEAD^CT Head^L|20310512090000+0000|||{number}|{unit}"
        answer = mllp.ask(message("SIU^S12", times, pid(), service, "AIL|1||CT1"))
        assert answer.code == "AA", answer.text
        assert step().scheduled_end == DAY + timedelta(hours=9, minutes=minutes), number


def test_it_is_moved_called_off_and_given_another_time(mllp: MllpClient, room: Room) -> None:
    mllp.ask(order("P1"))
    mllp.ask(message("SIU^S12", sch(order="P1"), pid(), ais(), "AIL|1||CT1"))
    later = sch(order="P1", start="20310513100000+0000", until="20310513103000+0000")
    for event in ("S13", "S14"):
        assert mllp.ask(message(f"SIU^{event}", later, pid())).code == "AA"
    assert (step().room, step().scheduled_start) == (room, DAY + timedelta(days=1, hours=10))
    assert step().scheduled_end == DAY + timedelta(days=1, hours=10, minutes=30)
    for event in ("S15", "S17"):
        assert mllp.ask(message(f"SIU^{event}", later, pid())).code == "AA"
        assert (step().room, step().scheduled_start, step().status) == (None, None, "SCHEDULED")
    assert (Order.objects.get().status, Order.objects.get().requested_start) == ("active", None)
    assert mllp.ask(message("SIU^S12", sch(order="P1"), pid(), ais(), "AIL|1||CT1")).code == "AA"
    assert mllp.ask(message("SIU^S26", sch(order="P1"), pid())).code == "AA"
    assert step().status == "NO SHOW"
    assert mllp.ask(message("SIU^S13", later, pid(), ais(), "AIL|1||CT1")).code == "AA"
    assert (step().status, step().scheduled_start) == ("SCHEDULED", DAY + timedelta(days=1, hours=10))


def test_an_appointment_without_order_is_one_and_reaches_the_device(
    mllp: MllpClient, room: Room, dimse_server: Daemon, tool: Callable[[str], str], tmp_path: Path
) -> None:
    make_procedure("CTHEAD", "CT Head", modality="CT", duration=20)
    raw = message("SIU^S12", sch("APPT7"), pid(), ais(), "AIL|1||CT1")
    assert mllp.ask(raw).code == "AA"
    assert mllp.ask(message("SIU^S12", sch("APPT7"), pid(), ais(), "AIL|1||CT1")).code == "AA"
    made = Order.objects.get()
    assert made.patient_ref.patient_id == "001234" and made.origin == "hl7"
    (answer,) = findscu(tool("findscu"), dimse_server.port, tmp_path, "PatientID=001234", "AccessionNumber")
    assert answer.AccessionNumber == made.accession_number
    assert mllp.ask(message("SIU^S15", sch("APPT7"), pid())).code == "AA"
    assert step().scheduled_start is None


def test_without_a_room_it_waits_for_one_at_that_time(mllp: MllpClient, peer: Hl7Peer) -> None:
    codes = ("CTHEAD^CT Head^L", "CTNECK^CT Neck^L")
    mllp.ask(order("P1", *codes))
    raw = message("SIU^S12", sch(order="P1"), pid(), *(ais(code) for code in codes))
    assert mllp.ask(raw).code == "AA"
    first, second = ScheduledProcedureStep.objects.order_by("pk")
    assert (first.room, first.scheduled_start) == (None, DAY + timedelta(hours=9))
    assert second.scheduled_start == first.scheduled_end


def test_each_service_has_its_own_time(mllp: MllpClient, room: Room) -> None:
    codes = ("CTHEAD^CT Head^L", "CTNECK^CT Neck^L")
    mllp.ask(order("P1", *codes))
    services = [
        part
        for code, start in zip(codes, ("20310512090000+0000", "20310512110000+0000"), strict=True)
        for part in (ais(code, start=start, duration="30"), "AIL|1||CT1")
    ]
    assert mllp.ask(message("SIU^S12", sch(order="P1"), pid(), *services)).code == "AA"
    starts = list(ScheduledProcedureStep.objects.order_by("pk").values_list("scheduled_start", flat=True))
    assert starts == [DAY + timedelta(hours=9), DAY + timedelta(hours=11)]


def test_what_cannot_be_is_refused_with_its_place_and_leaves_nothing(mllp: MllpClient, room: Room) -> None:
    mllp.ask(order("P1"))
    mllp.ask(order("P2", "CTNECK^CT Neck^L", "CTARM^CT Arm^L"))
    mllp.ask(message("SIU^S12", sch(order="P1"), pid(), ais(), "AIL|1||CT1"))
    yesterday = f"{timezone.now() - timedelta(days=1):%Y%m%d%H%M}+0000"
    for segments, location in (
        ((sch("A2"), pid("X", "X^Y"), ais("CTABD^CT Abdomen^L"), "AIL|1||CT1"), "AIL^1^3"),  # no CT order: OT
        ((sch(order="P1"), pid(), ais(), "AIL|1||NOWHERE"), "AIL^1^3"),
        ((sch(order="P1", start=yesterday), pid(), ais(), "AIL|1||CT1"), "SCH^1^11"),
        ((sch(order="P1", start="SOON"), pid(), ais(), "AIL|1||CT1"), "SCH^1^11"),
        ((sch(order="P1", start=""), pid(), ais(), "AIL|1||CT1"), "SCH^1^11"),
        ((sch(order="P2"), pid(), ais("MRHEAD^MR Head^L"), "AIL|1||CT1"), "AIS^1^3"),  # two, and neither is meant
        ((sch(order="P1"), pid("OTHER", "OTHER^X"), ais(), "AIL|1||CT1"), "SCH^1^26"),
        ((sch("NONE"), pid()), "SCH^1^26"),
        ((sch(""), pid(), ais()), "SCH^1^1"),
        ((pid(), ais()), "SCH^1"),
        ((sch("A3"), ais()), "PID^1"),
    ):
        answer = mllp.ask(message("SIU^S12", *segments))
        assert answer.code == "AE" and answer.location == location, (segments, answer.text)
    assert mllp.ask(message("SIU^S15", sch("NONE"), pid())).location == "SCH^1^1"
    assert mllp.ask(message("SIU^S21", sch("NONE"), pid())).code == "AR"
    assert Order.objects.count() == 2
    assert ScheduledProcedureStep.objects.get(room=room).scheduled_start == DAY + timedelta(hours=9)


def test_the_only_procedure_is_meant_whatever_the_scheduling_system_calls_it(mllp: MllpClient, room: Room) -> None:
    mllp.ask(order("P1"))
    assert mllp.ask(message("SIU^S12", sch(order="P1"), pid(), ais("77^Head scan^SCHED"), "AIL|1||CT1")).code == "AA"
    assert step().room == room


def test_a_room_is_not_given_twice(mllp: MllpClient, room: Room) -> None:
    for number in ("P1", "P2"):
        mllp.ask(order(number))
    assert mllp.ask(message("SIU^S12", sch(order="P1"), pid(), ais(), "AIL|1||CT1")).code == "AA"
    answer = mllp.ask(message("SIU^S12", sch("A2", order="P2"), pid(), ais(), "AIL|1||CT1"))
    assert answer.code == "AE" and answer.error, answer.text
    assert ScheduledProcedureStep.objects.filter(room=room).count() == 1
