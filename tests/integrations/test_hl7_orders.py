"""Orders over MLLP: from the socket to the rows and to the modality's worklist (IHE RAD-2, RAD-4, RAD-5)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pydicom import Dataset

from integrations.models import Hl7Peer, MessageState
from radiology.models import Order, Patient, ProcedureCode, RequestedProcedure
from tests.daemons import Daemon
from tests.factories import make_device, make_node, make_patient, make_procedure
from tests.integrations.mllp_client import Answer, MllpClient, last_message, message, pid
from tests.worklist.worklist_client import SPS, findscu
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.steps import move_step

PV1 = "PV1|1|I|W3^12^1|||||7^SARI^DEWI^^^dr|||||||||||V-100"


def orc(control: str = "NW", placer: str = "P1", **fields: str) -> str:
    told = {1: control, 2: placer} | {int(key.removeprefix("f")): value for key, value in fields.items()}
    return "|".join(["ORC", *(told.get(number, "") for number in range(1, max(told) + 1))])


def obr(code: str = "CTTHX^CT Thorax^L", **fields: str) -> str:
    told = {1: "1", 4: code} | {int(key.removeprefix("f")): value for key, value in fields.items()}
    return "|".join(["OBR", *(told.get(number, "") for number in range(1, max(told) + 1))])


def order_message(*segments: str, kind: str = "ORM^O01", who: str = "", own_id: str = "") -> str:
    return message(kind, who or pid(), PV1, *segments, own_id=own_id)


def the_order() -> Order:
    return Order.objects.get()


def steps() -> list[ScheduledProcedureStep]:
    return list(ScheduledProcedureStep.objects.order_by("pk"))


def statuses() -> list[str]:
    return [each.status for each in steps()]


def refused(answer: Answer, location: str) -> bool:
    return (answer.code, answer.location) == ("AE", location)


FULL = (
    orc(f3="F9", f7="^^^202611301030+0700^^S", f12="9^TAN^ANI^^^Dr", f17="ICU^Intensive Care"),
    obr(
        "CTTHX^CT Thorax^L^CHEST1^Chest routine^99HOSP", f12="D1^Isolation", f13="^Pacemaker", f16="8^LIM^BUDI^^^Dr",
        f18="2601250001", f19="RP1", f20="SPS-77", f24="CT", f30="WHLC", f31="R05^Cough^I10~^Fever",
        f34="5&NUGROHO&ADI",
    ),
    "NTE|1||Bring the old films",
    "ZDS|1.2.840.99.1^SIMRS^Application^DICOM",
)  # fmt: skip


def test_every_field_of_an_order_finds_its_place(mllp: MllpClient) -> None:
    assert mllp.ask(order_message(*FULL)).code == "AA"
    order = the_order()
    assert (order.placer_order_number, order.filler_order_number) == ("P1", "F9")
    assert (order.accession_number, order.priority, order.origin) == ("2601250001", "STAT", "hl7")
    assert order.requested_start == datetime(2026, 11, 30, 3, 30, tzinfo=UTC)
    assert order.referring_physician_name == "SARI^DEWI^^dr"
    assert order.requesting_physician == "LIM^BUDI^^Dr"
    assert order.requesting_service == "Intensive Care"
    assert order.reason_for_the_requested_procedure == "Cough; Fever"
    assert (order.current_patient_location, order.admission_id) == ("W3 12 1", "V-100")
    assert (order.patient_transport_arrangements, order.patient_state) == ("WHLC", "Isolation")
    assert order.patient_ref.medical_alerts == order.clinical_history == "Pacemaker"
    procedure = RequestedProcedure.objects.get()
    assert procedure.requested_procedure_id == "RP1"
    assert (procedure.procedure_code_value, procedure.requested_procedure_description) == ("CTTHX", "CT Thorax")
    assert (procedure.modality, procedure.study_instance_uid) == ("CT", "1.2.840.99.1")
    assert procedure.requested_procedure_comments == "Bring the old films"
    (step,) = steps()
    assert step.scheduled_procedure_step_id == "SPS-77"
    assert step.scheduled_protocol_codes == [["CHEST1", "99HOSP", "Chest routine"]]
    assert step.scheduled_procedure_step_description == "Chest routine"
    assert step.scheduled_performing_physician_name == "NUGROHO^ADI"
    assert step.scheduled_start == order.requested_start
    kept = last_message()
    assert (kept.order_ref, kept.patient_ref, kept.state) == (order, order.patient_ref, MessageState.PROCESSED)
    assert {each["model"] for each in kept.changed} == {
        "radiology.Patient",
        "radiology.Order",
        "worklist.ScheduledProcedureStep",
    }


def test_findscu_sees_the_order_its_change_and_that_it_was_called_off(
    mllp: MllpClient, dimse_server: Daemon, tool: Callable[[str], str], tmp_path: Path
) -> None:
    make_device("CT1", node=make_node("CT1"))

    def ask(*keys: str) -> list[Dataset]:
        return findscu(tool("findscu"), dimse_server.port, tmp_path, "PatientName", "AccessionNumber", *keys)

    keys = (f"{SPS}.Modality=CT", f"{SPS}.ScheduledProcedureStepStartDate", f"{SPS}.ScheduledProcedureStepID")
    start = timezone.now() + timedelta(hours=1)
    assert ask(*keys) == []
    told = obr(f18="ACC1", f20="SPS-1", f24="CT", f36=f"{start:%Y%m%d%H%M}+0000")
    assert mllp.ask(order_message(orc(), told)).code == "AA"
    (answer,) = ask(*keys, "RequestedProcedureDescription", "StudyInstanceUID", "PatientID")
    assert (str(answer.PatientName), answer.PatientID, answer.AccessionNumber) == ("WIBOWO^BUDI", "001234", "ACC1")
    assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID == "SPS-1"
    assert answer.RequestedProcedureDescription == "CT Thorax"
    assert answer.StudyInstanceUID == RequestedProcedure.objects.get().study_instance_uid
    changed = obr("CTABD^CT Abdomen^L", f18="ACC1", f24="CT", f36=f"{start:%Y%m%d%H%M}+0000")
    assert mllp.ask(order_message(orc("XO"), changed)).code == "AA"
    (answer,) = ask(*keys, "RequestedProcedureDescription")
    assert answer.RequestedProcedureDescription == "CT Abdomen"
    assert mllp.ask(order_message(orc("CA"), changed)).code == "AA"
    assert ask(*keys) == []


@pytest.mark.parametrize(
    ("said", "priority"),
    [("S", "STAT"), ("A", "HIGH"), ("P", "HIGH"), ("C", "HIGH"), ("R", "ROUTINE"), ("T", "MEDIUM"), ("", "ROUTINE")],
)
def test_priorities_become_those_of_dicom(mllp: MllpClient, said: str, priority: str) -> None:
    mllp.ask(order_message(orc(f7=f"^^^^^{said}"), obr()))
    assert the_order().priority == priority


def test_tq1_comes_before_orc_before_obr(mllp: MllpClient) -> None:
    tq1 = "TQ1|1||||||20261201080000||S^Stat"
    later = {"f36": "20261203080000", "f27": "^^^20261204080000^^R"}
    mllp.ask(order_message(orc(f7="^^^20261202080000^^A"), tq1, obr(**later), kind="OMG^O19^OMG_O19"))
    order = the_order()
    assert (order.priority, order.requested_start) == ("STAT", datetime(2026, 12, 1, 1, 0, tzinfo=UTC))
    mllp.ask(order_message(orc(placer="P2", f7="^^^20261202080000^^A"), obr(**later)))
    mllp.ask(order_message(orc(placer="P3"), obr(**later)))
    mllp.ask(order_message(orc(placer="P4"), obr(f27=later["f27"])))
    days = [each.requested_start.day for each in Order.objects.order_by("pk") if each.requested_start]
    assert days == [1, 2, 3, 4]


def test_a_procedure_is_looked_up_in_the_catalogue(mllp: MllpClient) -> None:
    entry = make_procedure(code="CTTHX", name="CT of the Thorax", duration=25)
    ProcedureCode.objects.create(procedure_ref=entry, coding_scheme_designator="LN", code_value="24627-2")
    for placer, code in (("P1", "CTTHX^x^L"), ("P2", "24627-2^x^LN"), ("P3", "CTTHX^x^SIMRS"), ("P4", "CTTHX")):
        assert mllp.ask(order_message(orc(placer=placer), obr(code))).code == "AA"
    made = RequestedProcedure.objects.all()
    assert {(each.procedure_ref, each.requested_procedure_description, each.duration) for each in made} == {
        (entry, "CT of the Thorax", 25)
    }
    assert mllp.ask(order_message(orc(placer="P5"), obr("X^x^L", f44="CTTHX^x^L"))).code == "AA"
    assert RequestedProcedure.objects.order_by("-pk")[0].procedure_ref == entry


def test_an_unknown_procedure_is_ordered_as_it_is_said_or_held(mllp: MllpClient, peer: Hl7Peer) -> None:
    assert mllp.ask(order_message(orc(), obr("NEW1^Something new^99X", f24="MR"))).code == "AA"
    made = RequestedProcedure.objects.get()
    assert (made.procedure_ref, made.modality, made.procedure_coding_scheme) == (None, "MR", "99X")
    Hl7Peer.objects.update(unknown_procedure="hold")
    answer = mllp.ask(order_message(orc(placer="P2"), obr("NEW2^Something new^99X")))
    assert refused(answer, "OBR^1^4") and answer.segment("ERR")[3].startswith("204^")
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"f18": "A" * 17}, "OBR^1^18"),
        ({"f19": "R" * 17}, "OBR^1^19"),
        ({"f20": "S" * 17}, "OBR^1^20"),
        ({"f24": "M" * 17}, "OBR^1^24"),
        ({"f36": "tomorrow"}, "OBR^1^36"),
        ({"code": ""}, "OBR^1^4"),
        ({"code": "X" * 65 + "^long^L"}, "OBR^1^4"),
        ({"f12": "D" * 65}, "OBR^1^12"),
    ],
)
def test_what_does_not_fit_is_never_cut_but_refused_with_its_field(
    mllp: MllpClient, fields: dict[str, str], location: str
) -> None:
    assert refused(mllp.ask(order_message(orc(), obr(**fields))), location)
    assert not Order.objects.exists() and not Patient.objects.exists()


def test_several_procedures_under_one_accession_number_are_one_order(mllp: MllpClient) -> None:
    shared = {"f18": "ACC1", "f24": "CT"}
    answer = mllp.ask(
        order_message(
            orc(placer="P1"), obr("A^First^L", **shared), obr("B^Second^L", **shared),
            orc(placer="P2"), obr("C^Third^L", **shared),
            orc(placer="P3"), obr("D^Elsewhere^L", f18="ACC2", f24="CT"),
        )
    )  # fmt: skip
    assert answer.code == "AA"
    first, second = Order.objects.order_by("pk")
    codes = [each.procedure_code_value for each in first.requested_procedures.order_by("pk")]
    assert (codes, second.accession_number) == (["A", "B", "C"], "ACC2")
    uids = set(RequestedProcedure.objects.values_list("study_instance_uid", flat=True))
    assert len(uids) == 4 and all(uid.startswith("2.25.") for uid in uids)


def test_orders_of_one_message_are_placed_all_or_none(mllp: MllpClient) -> None:
    answer = mllp.ask(order_message(orc(), obr("A^First^L"), orc(placer="P2"), obr("B^Second^L", f20="S" * 17)))
    assert answer.code == "AE"
    assert not Order.objects.exists() and not steps()


def test_an_order_sent_again_under_another_message_id_is_there_once(mllp: MllpClient) -> None:
    for _ in range(3):
        assert mllp.ask(order_message(*FULL)).code == "AA"
    assert "already" in last_message().note
    assert (Order.objects.count(), len(steps())) == (1, 1)


def test_the_same_order_from_many_sides_at_once_is_there_once(peer: Hl7Peer, hl7_server: Daemon) -> None:
    def send(number: int) -> str:
        with MllpClient(hl7_server.port) as client:
            return client.ask(order_message(orc(), obr(f18="ACC1"), own_id=f"M{number}")).code

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(send, range(30))) == {"AA"}
    assert (Order.objects.count(), len(steps()), Patient.objects.count()) == (1, 1, 1)


def test_more_procedures_of_an_accession_number_may_come_later(mllp: MllpClient) -> None:
    mllp.ask(order_message(orc(placer="P1"), obr("A^First^L", f18="ACC1")))
    assert mllp.ask(order_message(orc(placer="P2"), obr("B^Second^L", f18="ACC1"))).code == "AA"
    assert the_order().requested_procedures.count() == 2
    answer = mllp.ask(order_message(orc(placer="P3"), obr("A^First^L", f18="ACC1")))
    assert refused(answer, "OBR^1^18")


def test_an_accession_number_of_another_patient_is_refused(mllp: MllpClient) -> None:
    mllp.ask(order_message(orc(), obr(f18="ACC1")))
    answer = mllp.ask(order_message(orc(placer="P2"), obr(f18="ACC1"), who=pid("999", "OTHER^ONE")))
    assert answer.code == "AE" and "another patient" in answer.error
    assert not Patient.objects.filter(patient_id="999").exists()


def test_a_known_number_with_another_name_and_birth_date_is_refused(mllp: MllpClient) -> None:
    make_patient("001234", "SOMEBODY^ELSE", patient_birth_date="19500101")
    assert refused(mllp.ask(order_message(orc(), obr())), "PID^1^3")
    assert not Order.objects.exists()


def test_an_order_for_a_merged_patient_is_the_survivors(mllp: MllpClient) -> None:
    mllp.ask(message("ADT^A40", pid("KEEP"), "MRG|GONE"))
    assert mllp.ask(order_message(orc(), obr(), who=pid("GONE"))).code == "AA"
    assert the_order().patient_ref.patient_id == "KEEP"
    assert last_message().patient_ref.patient_id == "KEEP"


def test_an_order_of_a_held_patient_is_placed_when_it_comes_again(mllp: MllpClient, peer: Hl7Peer) -> None:
    Hl7Peer.objects.update(unknown_patient="hold")
    raw = order_message(orc(), obr())
    assert refused(mllp.ask(raw), "PID^1^3")
    make_patient("001234", "WIBOWO^BUDI", patient_birth_date="19700131")
    assert mllp.ask(raw).code == "AA"
    assert the_order().patient_ref.patient_id == "001234"


def test_without_a_birth_date_or_name_a_known_number_is_enough(mllp: MllpClient) -> None:
    patient = make_patient("001234", "WIBOWO^BUDI")
    assert mllp.ask(order_message(orc(), obr(), who="PID|1||001234")).code == "AA"
    assert the_order().patient_ref == patient


# Changes


def test_a_change_changes_what_it_names_and_leaves_the_rest(mllp: MllpClient) -> None:
    mllp.ask(order_message(*FULL))
    changed = obr(f18="2601250001", f19="RP1", f24="CT", f31="^Chest pain", f20="SPS-77")
    assert mllp.ask(order_message(orc("XO", f7="^^^202612011000+0700^^R"), changed)).code == "AA"
    order = the_order()
    assert order.reason_for_the_requested_procedure == "Chest pain"
    assert (order.priority, order.requested_start) == ("ROUTINE", datetime(2026, 12, 1, 3, 0, tzinfo=UTC))
    assert (order.requesting_physician, order.patient_transport_arrangements) == ("LIM^BUDI^^Dr", "WHLC")
    assert steps()[0].scheduled_start == order.requested_start
    assert order.versions.count() == 1 and order.versions.get().agent == "SIMRS"


def test_a_change_that_asks_about_safety_needs_nobody_at_a_screen(mllp: MllpClient) -> None:
    make_procedure(code="CTTHX", is_ionising=True)
    who = pid(sex="F", born="19900101")
    mllp.ask(order_message(orc(), obr(), who=who))
    assert mllp.ask(order_message(orc("XO"), obr(f31="^Chest pain"), who=who)).code == "AA"


def test_a_change_before_the_order_is_the_order(mllp: MllpClient) -> None:
    assert mllp.ask(order_message(orc("XO"), obr(f18="ACC1"))).code == "AA"
    assert mllp.ask(order_message(orc("NW"), obr(f18="ACC1"))).code == "AA"
    assert (the_order().accession_number, len(steps())) == ("ACC1", 1)


def test_another_procedure_takes_the_place_of_the_only_one(mllp: MllpClient) -> None:
    mllp.ask(order_message(orc(), obr("A^First^L", f18="ACC1")))
    assert mllp.ask(order_message(orc("XO"), obr("B^Second^L", f18="ACC1"))).code == "AA"
    made = list(RequestedProcedure.objects.order_by("pk").values_list("procedure_code_value", "status"))
    assert made == [("A", "cancelled"), ("B", "requested")]
    assert statuses() == [StepStatus.CANCELLED, StepStatus.SCHEDULED]
    assert the_order().status == "active"


@pytest.mark.parametrize("control", ["CA", "DC"])
def test_an_order_is_called_off_once(mllp: MllpClient, control: str) -> None:
    mllp.ask(order_message(orc(), obr(f18="ACC1")))
    assert mllp.ask(order_message(orc(control), obr(f18="ACC1"))).code == "AA"
    assert (the_order().status, statuses()) == ("revoked", [StepStatus.CANCELLED])
    assert mllp.ask(order_message(orc(control))).code == "AA"
    assert "already" in last_message().note
    answer = mllp.ask(order_message(orc("NW"), obr(f18="ACC1")))
    assert refused(answer, "ORC^1^2")


def test_what_has_begun_is_discontinued_not_cancelled(mllp: MllpClient) -> None:
    mllp.ask(order_message(orc(), obr()))
    move_step(step=steps()[0], to=StepStatus.STARTED)
    answer = mllp.ask(order_message(orc("CA"), obr()))
    assert answer.code == "AE" and "has begun" in answer.error
    assert mllp.ask(order_message(orc("DC"), obr())).code == "AA"
    assert statuses() == [StepStatus.DISCONTINUED]


def test_one_procedure_of_several_is_called_off(mllp: MllpClient) -> None:
    mllp.ask(order_message(orc(), obr("A^First^L", f18="ACC1"), obr("B^Second^L", f18="ACC1")))
    assert mllp.ask(order_message(orc("CA"), obr("A^First^L", f18="ACC1"))).code == "AA"
    assert (the_order().status, statuses()) == ("active", [StepStatus.CANCELLED, StepStatus.SCHEDULED])
    assert mllp.ask(order_message(orc("CA"), obr("B^Second^L", f18="ACC1"))).code == "AA"
    assert (the_order().status, statuses()) == ("revoked", [StepStatus.CANCELLED, StepStatus.CANCELLED])


def test_an_order_is_found_by_any_of_its_numbers(mllp: MllpClient) -> None:
    for number, segments in enumerate(
        ([orc("CA", "P1")], [orc("CA", "", f3="F9")], [orc("CA", "", f3="2601250001")], [orc("CA", ""), FULL[1]])
    ):
        Order.objects.all().delete()
        assert mllp.ask(order_message(*FULL, own_id=f"N{number}")).code == "AA"
        assert mllp.ask(order_message(*segments)).code == "AA"
        assert the_order().status == "revoked"


def test_calling_off_what_never_was_is_an_error(mllp: MllpClient) -> None:
    answer = mllp.ask(order_message(orc("CA"), obr()))
    assert refused(answer, "ORC^1^2") and answer.segment("ERR")[3].startswith("204^")
    assert last_message().patient_ref is None and not Patient.objects.exists()


def test_status_messages_do_what_the_placer_may_decide(mllp: MllpClient) -> None:
    mllp.ask(order_message(orc(), obr()))
    assert mllp.ask(order_message(orc("SC", f5="IP"))).code == "AA"
    assert "Nothing was changed" in last_message().note
    assert mllp.ask(order_message(orc("SC", f5="HD"))).code == "AA"
    assert the_order().status == "on-hold"
    assert mllp.ask(order_message(orc("RL"))).code == "AA"
    assert the_order().status == "active"
    assert mllp.ask(order_message(orc("SC", f5="CA"))).code == "AA"
    assert the_order().status == "revoked"


@pytest.mark.parametrize("control", ["", "ZZ", "PA", "nonsense"])
def test_other_order_controls_are_refused(mllp: MllpClient, control: str) -> None:
    assert refused(mllp.ask(order_message(orc(control), obr())), "ORC^1^1")


@pytest.mark.parametrize(
    ("segments", "location"),
    [([obr()], "ORC^1"), ([], "ORC^1"), ([orc()], "OBR^1"), ([orc(placer=""), obr()], "ORC^1^2")],
)
def test_an_order_that_lacks_a_segment_or_a_number_is_refused(
    mllp: MllpClient, segments: list[str], location: str
) -> None:
    assert refused(mllp.ask(order_message(*segments)), location)


def test_imaging_orders_say_their_steps_in_ipc(mllp: MllpClient) -> None:
    """HL7 2.5.1 OMI^O23: IPC goes before OBR."""
    ipc = "IPC|ACC9|RP9|1.2.3.9|SPS9|CT|HEAD^Head routine^99X|CTROOM||CT1"
    segments = [orc(), "TQ1|1||||||20261201080000", obr(f18="ACC1", f24="MR"), ipc]
    assert mllp.ask(order_message(*segments, kind="OMI^O23^OMI_O23")).code == "AA"
    procedure, step = RequestedProcedure.objects.get(), steps()[0]
    assert (the_order().accession_number, procedure.requested_procedure_id) == ("ACC9", "RP9")
    assert (procedure.study_instance_uid, procedure.modality) == ("1.2.3.9", "CT")
    assert step.scheduled_procedure_step_id == "SPS9"
    assert step.scheduled_protocol_codes == [["HEAD", "99X", "Head routine"]]
    assert (step.scheduled_station_name, step.scheduled_station_ae_titles) == ("CTROOM", ["CT1"])
    answer = mllp.ask(order_message(orc(placer="P2"), obr(), ipc, ipc, kind="OMI^O23^OMI_O23"))
    assert refused(answer, "IPC^1")


@pytest.mark.parametrize(
    ("kind", "response"),
    [("ORM^O01", "ORR^O02^ORR_O02"), ("OMG^O19^OMG_O19", "ORG^O20^ORG_O20"), ("OMI^O23^OMI_O23", "ORI^O24^ORI_O24")],
)
def test_a_peer_may_expect_an_order_response(mllp: MllpClient, peer: Hl7Peer, kind: str, response: str) -> None:
    assert mllp.ask(order_message(orc(), obr(f18="ACC0"), kind=kind)).segment("MSH")[8].startswith("ACK^")
    Hl7Peer.objects.update(reply_type="orr")
    answer = mllp.ask(order_message(orc(placer="P2"), obr(f18="ACC1"), kind=kind))
    assert answer.segment("MSH")[8] == response
    assert answer.segment("ORC") == ["ORC", "OK", "P2", "ACC1"]
    answer = mllp.ask(order_message(orc("CA", "P2"), kind=kind))
    assert answer.segment("ORC") == ["ORC", "CR", "P2", "ACC1"]
    answer = mllp.ask(order_message(orc("CA", "P3"), kind=kind))
    assert (answer.code, answer.segment("MSH")[8]) == ("AE", response)
    assert mllp.ask(message("ADT^A08", pid())).segment("MSH")[8] == "ACK^A08^ACK"


def test_a_pregnant_patient_is_known_to_the_order(mllp: MllpClient) -> None:
    segments = message("ORM^O01", pid(sex="F"), "PV1|1|O|||||||||||||B6", orc(), obr())
    assert mllp.ask(segments).code == "AA"
    assert the_order().pregnancy_status == "3"


def test_a_side_is_read_and_a_missing_one_is_asked_for(mllp: MllpClient) -> None:
    make_procedure(code="XHAND", asks_laterality=True)
    assert refused(mllp.ask(order_message(orc(), obr("XHAND"))), "OBR^1^46")
    assert mllp.ask(order_message(orc(), obr("XHAND", f46="LT^Left"))).code == "AA"
    assert mllp.ask(order_message(orc(placer="P2"), obr("XHAND", f15="^^^HAND^R"))).code == "AA"
    assert list(RequestedProcedure.objects.order_by("pk").values_list("laterality", flat=True)) == ["L", "R"]


def test_a_nul_in_a_text_is_left_out_and_in_a_number_refused(mllp: MllpClient) -> None:
    assert mllp.ask(order_message(orc(), obr(f31="^Co\\X00\\ugh"), "NTE|1||No\\X00\\te")).code == "AA"
    assert RequestedProcedure.objects.get().requested_procedure_comments == "Note"
    assert the_order().reason_for_the_requested_procedure == "Cough"
    assert refused(mllp.ask(order_message(orc(), obr(), who=pid("00\\X00\\1234"))), "PID^1^3")
