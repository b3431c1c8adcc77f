"""Who is told what: orders made here, their state, patients; and who is not, since it said so itself."""

from typing import Any

import hl7
import pytest
from django.db import transaction
from django.utils import timezone

from integrations.models import Direction, Hl7Message, Hl7Peer, MessageState
from radiology.models import Order, OrderOrigin, Patient, ProcedureStatus, User
from radiology.services.merges import merge_patients, undo_merge
from radiology.services.order_moves import cancel_order, hold_order, release_order
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.orders import add_procedures, change_order, place_order
from radiology.services.patients import save_patient
from radiology.services.registration import change_patient, register_patient
from tests.factories import default_site, make_node, make_patient, make_site, make_study, make_user, uid
from tests.integrations.mllp_client import hand_in, make_peer
from tests.integrations.mllp_client import message as hl7_message
from tests.integrations.receiver import field, kind
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.reconciliation_decisions import unscheduled_order
from worklist.services.scheduling import unschedule_step
from worklist.services.steps import move_step
from worklist.services.unscheduled import unscheduled_step

pytestmark = pytest.mark.django_db

CT = ProcedureRequest(code="CTTHX", description="CT Thorax", modality="CT")
MR = ProcedureRequest(code="MRBRN", description="MR Brain", modality="MR")
PATIENT = "PID|1||001234||WIBOWO^BUDI||19700131|M"
ORDER = ("PV1|1|I|W3", "ORC|NW|P1", "OBR|1|P1||CTTHX^CT Thorax^L|||||||||||||||||||||||^^^202701301030^^R")


@pytest.fixture
def simrs() -> Hl7Peer:
    """A system that wants everything, and may send too."""
    wants = {"sends_orders": True, "sends_order_status": True, "sends_patients": True}
    return make_peer("SIMRS", destination_host="simrs", **wants)


@pytest.fixture
def dewi() -> User:
    return make_user("dewi", is_superuser=True)


def told(peer: Hl7Peer) -> list[hl7.Message]:
    """What was written for the peer so far, in order."""
    rows = Hl7Message.objects.filter(peer=peer, direction=Direction.OUT).order_by("pk")
    assert all(row.state == MessageState.WAITING and row.raw for row in rows)
    return [hl7.parse(bytes(row.raw).decode()) for row in rows]


def states(peer: Hl7Peer) -> list[tuple[str, str]]:
    """ORC-1 and ORC-5 of each message."""
    return [(field(each, "ORC", 1), field(each, "ORC", 5)) for each in told(peer) if kind(each).startswith("O")]


def events(peer: Hl7Peer) -> list[str]:
    return [kind(each).split("^")[1] for each in told(peer) if kind(each).startswith("ADT")]


def place(patient: Patient | None = None, **fields: Any) -> Order:
    asked = {"accept_warnings": True, "asks_safety": False, "procedures": [CT], **fields}
    return place_order(site=default_site(), patient=patient or make_patient("001234"), **asked)


def the_step(order: Order) -> ScheduledProcedureStep:
    return ScheduledProcedureStep.objects.get(requested_procedure_ref__order_ref=order)


def take_in(*segments: str, kind: str = "ORM^O01") -> str:
    answer = hand_in(hl7_message(kind, *segments).encode())
    assert answer is not None
    return answer.decode()


class TestOrders:
    def test_an_order_of_the_desk_is_sent_whole_to_whoever_wants_it(self, simrs: Hl7Peer) -> None:
        other = make_peer("Elsewhere", site=make_site(), destination_host="x", sends_orders=True, addresses=[])
        idle = make_peer("Idle", destination_host="x", sends_orders=True, is_active=False, addresses=[])
        deaf = make_peer("Deaf", sends_orders=True, sending_application="D")
        order = place(values={"requested_start": "2027-01-30T10:30:00+07:00", "priority": "STAT"})
        (sent,) = told(simrs)
        assert kind(sent) == "ORM^O01^ORM_O01"
        assert field(sent, "ORC", 1) == "SN" and field(sent, "ORC", 2) == ""
        assert field(sent, "ORC", 3) == f"{order.accession_number}^SINAR"
        assert field(sent, "ORC", 7) == "^^^20270130103000+0700^^S"
        assert field(sent, "OBR", 18) == order.accession_number
        procedure = order.requested_procedures.get()
        assert field(sent, "ZDS", 1) == f"{procedure.study_instance_uid}^SINAR^Application^DICOM"
        assert field(sent, "PID", 3).startswith("001234^")
        assert [told(each) for each in (other, idle, deaf)] == [[], [], []]
        row = Hl7Message.objects.get()
        assert (row.order_ref, row.patient_ref, row.patients) == (order, order.patient_ref, [order.patient_ref_id])

    def test_an_order_that_has_a_placer_is_not_placed_again(self, simrs: Hl7Peer) -> None:
        place(values={"placer_order_number": "P-77"}, origin=OrderOrigin.REST)
        assert told(simrs) == []

    def test_images_that_nobody_ordered_are_an_order(self, simrs: Hl7Peer) -> None:
        patient = make_patient("55")
        unscheduled_step(
            site=patient.site, patient=patient, study_instance_uid=uid(7), modality="CT", at=timezone.now()
        )
        assert field(told(simrs)[0], "ORC", 1) == "SN"
        assert field(told(simrs)[0], "ORC", 3).startswith(str(Order.objects.get().public_id))

    def test_images_that_are_declared_to_have_no_order_get_one_that_is_done(self, simrs: Hl7Peer, dewi: User) -> None:
        study = make_study(make_patient("56"), accession_number="OLD-1", study_description="CT Kepala")
        unscheduled_order(study=study, who=dewi)
        (sent,) = told(simrs)
        assert [field(sent, "ORC", number) for number in (1, 3, 5)] == ["SN", "OLD-1^SINAR", "CM"]
        assert field(sent, "OBR", 4) == "^CT Kepala"
        assert field(sent, "ZDS", 1).startswith(study.study_instance_uid)

    def test_what_somebody_wrote_into_the_rows_by_hand_is_no_reason_to_fail(self, simrs: Hl7Peer) -> None:
        order = place()
        ScheduledProcedureStep.objects.update(scheduled_protocol_codes=["x", ["a", "b"], ["P", "99X", "Protocol"]])
        Order.objects.update(priority="SOON")
        move_step(step=the_step(order), to=StepStatus.STARTED)
        assert field(told(simrs)[1], "OBR", 4).endswith("^P^Protocol^99X")

    def test_an_order_of_nobody_known_waits_until_it_is_known_whose_it_is(self, simrs: Hl7Peer, dewi: User) -> None:
        unknown = make_patient("", "SOMEBODY", provisional_for=uid(8))
        unscheduled_step(
            site=unknown.site, patient=unknown, study_instance_uid=uid(8), modality="CT", at=timezone.now()
        )
        assert told(simrs) == []
        merge_patients(who=dewi, survivor=make_patient("77"), merged=unknown)
        (sent,) = told(simrs)
        assert field(sent, "ORC", 1) == "SN" and field(sent, "PID", 3).startswith("77^")

    def test_an_order_goes_by_the_profile_of_its_peer(self) -> None:
        peer = make_peer(
            "New", destination_host="x", sends_orders=True, order_message="OMI^O23", filler_order="NW",
            sent_application="RIS", receiving_application="HIS", receiving_facility="RSUD", expected_answer="commit",
        )  # fmt: skip
        place()
        (sent,) = told(peer)
        assert kind(sent) == "OMI^O23^OMI_O23" and field(sent, "ORC", 1) == "NW"
        header = [field(sent, "MSH", number) for number in (3, 4, 5, 6, 15, 16)]
        assert header == ["RIS", default_site().code.upper(), "HIS", "RSUD", "AL", "NE"]

    def test_what_is_added_to_an_order_is_sent_as_an_order(self, simrs: Hl7Peer) -> None:
        order = place()
        add_procedures(order=order, version=None, procedures=[MR], accept_warnings=True, asks_safety=False)
        assert states(simrs) == [("SN", "SC"), ("SN", "SC")]
        assert field(told(simrs)[1], "OBR", 4).startswith("MRBRN")

    def test_what_is_added_here_to_an_order_of_the_peers_names_that_order(self, simrs: Hl7Peer) -> None:
        take_in(PATIENT, *ORDER)
        add_procedures(
            order=Order.objects.get(), version=None, procedures=[MR], accept_warnings=True, asks_safety=False
        )
        (sent,) = [each for each in told(simrs) if kind(each).startswith("ORM")]
        assert [field(sent, "ORC", number) for number in (1, 2, 4)] == ["SN", "", "P1"]


class TestOrderStatus:
    def test_each_change_is_told_once(self, simrs: Hl7Peer) -> None:
        order = place()
        move_step(step=the_step(order), to=StepStatus.ARRIVED)
        move_step(step=the_step(order), to=StepStatus.STARTED)
        move_step(step=the_step(order), to=StepStatus.COMPLETED)
        assert states(simrs) == [("SN", "SC"), ("SC", "IP"), ("SC", "CM")]

    def test_a_new_time_is_told_and_what_is_no_news_is_not(self, simrs: Hl7Peer) -> None:
        order = place()
        changed = change_order(
            order=order,
            version=order.version,
            changes={"requested_start": "2027-01-30T10:30:00+07:00"},
            accept_warnings=True,
            asks_safety=False,
        )
        assert field(told(simrs)[1], "OBR", 36) == "20270130103000+0700"
        change_order(
            order=order,
            version=changed.version,
            changes={"clinical_history": "Batuk"},
            accept_warnings=True,
            asks_safety=False,
        )
        unschedule_step(step=the_step(order))
        assert states(simrs) == [("SN", "SC"), ("SC", "SC"), ("SC", "SC")]
        assert field(told(simrs)[2], "OBR", 36) == ""

    def test_held_released_called_off_and_stopped(self, simrs: Hl7Peer) -> None:
        order = place()
        hold_order(order=order, reason="x")
        release_order(order=order)
        cancel_order(order=order, reason="Pasien pulang")
        assert states(simrs) == [("SN", "SC"), ("SC", "HD"), ("SC", "SC"), ("SC", "CA")]
        assert "Pasien pulang" in field(told(simrs)[3], "ORC", 16)
        other = place(make_patient("2"))
        move_step(step=the_step(other), to=StepStatus.STARTED)
        move_step(step=the_step(other), to=StepStatus.DISCONTINUED)
        assert states(simrs)[-1] == ("SC", "DC")

    def test_two_procedures_called_off_together_are_one_message(self, simrs: Hl7Peer) -> None:
        order = place(procedures=[CT, MR])
        cancel_order(order=order, reason="x")
        assert len(told(simrs)) == 2
        assert [str(each[5]) for each in told(simrs)[1].segments("ORC")] == ["CA", "CA"]

    def test_a_peer_is_not_told_what_it_asked_for_itself_and_others_are(self, simrs: Hl7Peer) -> None:
        other = make_peer("Other", destination_host="x", addresses=[], sends_order_status=True)
        assert "MSA|AA" in take_in(PATIENT, *ORDER)
        assert "MSA|AA" in take_in(PATIENT, "ORC|CA|P1")
        assert states(simrs) == []
        assert states(other) == [("SC", "CA")]
        assert field(told(other)[0], "ORC", 2) == "P1"

    def test_a_peer_that_wants_echoes_hears_its_own(self, simrs: Hl7Peer) -> None:
        simrs.sends_echoes = True
        simrs.save()
        take_in(PATIENT, *ORDER)
        take_in(PATIENT, "ORC|CA|P1")
        assert states(simrs)[-1] == ("SC", "CA")

    def test_the_placer_hears_how_far_its_order_is(self, simrs: Hl7Peer) -> None:
        take_in(PATIENT, *ORDER)
        move_step(step=the_step(Order.objects.get()), to=StepStatus.STARTED)
        (sent,) = [each for each in told(simrs) if kind(each).startswith("ORM")]
        assert [field(sent, "ORC", number) for number in (1, 2, 5)] == ["SC", "P1", "IP"]

    def test_who_only_gets_orders_hears_that_they_are_called_off(self) -> None:
        peer = make_peer("Billing", destination_host="x", addresses=[], sends_orders=True)
        order = place()
        hold_order(order=order, reason="x")
        cancel_order(order=order, reason="x")
        assert states(peer) == [("SN", "SC"), ("SC", "CA")]

    def test_an_order_older_than_its_peer_is_told_from_its_next_change_on(self) -> None:
        order = place(origin=OrderOrigin.REST, values={"placer_order_number": "P-77"})
        peer = make_peer("Late", destination_host="x", addresses=[], sends_order_status=True)
        move_step(step=the_step(order), to=StepStatus.STARTED)
        assert states(peer) == [("SC", "IP")]

    def test_a_draft_is_nobodys_business_until_it_is_released(self, simrs: Hl7Peer) -> None:
        order = place()
        Hl7Message.objects.all().delete()
        order.hl7_states.all().delete()
        Order.objects.filter(pk=order.pk).update(status="draft")
        release_order(order=order)
        assert states(simrs) == [("SN", "SC")]

    def test_nothing_is_told_of_what_did_not_happen(self, simrs: Hl7Peer) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            place()
            raise ZeroDivisionError
        assert told(simrs) == [] and not Order.objects.exists()

    def test_the_state_is_that_of_the_moment(self, simrs: Hl7Peer, dewi: User) -> None:
        patient = make_patient("1", "FIRST^NAME")
        order = place(patient)
        change_patient(who=dewi, patient=patient, version=patient.version, values={"patient_name": "SECOND^NAME"})
        cancel_order(order=order, reason="x")
        names = [field(each, "PID", 5).partition("^")[0] for each in told(simrs)]
        assert names == ["FIRST", "SECOND", "SECOND"]
        assert order.requested_procedures.get().status == ProcedureStatus.CANCELLED


class TestPatients:
    def test_registered_changed_renumbered(self, simrs: Hl7Peer, dewi: User) -> None:
        patient = register_patient(
            who=dewi,
            values={"patient_id": "1", "patient_name": "WIBOWO^BUDI", "patient_address": "Jl. 1"},
            identifiers=[{"kind": "NIK", "value": "3171010101700001"}],
        )
        patient = change_patient(who=dewi, patient=patient, version=patient.version, values={"patient_address": ""})
        patient = change_patient(who=dewi, patient=patient, version=patient.version, values={"patient_comments": "x"})
        change_patient(who=dewi, patient=patient, version=patient.version, values={"patient_id": "2"})
        assert events(simrs) == ["A28", "A31", "A47"]
        new, changed, renumbered = told(simrs)
        assert "3171010101700001^^^^NI" in field(new, "PID", 3)
        assert field(changed, "PID", 11) == '""'
        assert field(renumbered, "PID", 3).startswith("2^") and field(renumbered, "MRG", 1).startswith("1^")

    def test_who_gets_a_first_number_is_new_to_others(self, simrs: Hl7Peer, dewi: User) -> None:
        patient = make_patient("")
        patient = change_patient(who=dewi, patient=patient, version=patient.version, values={"patient_name": "A^B"})
        assert events(simrs) == []
        change_patient(who=dewi, patient=patient, version=patient.version, values={"patient_id": "5"})
        assert events(simrs) == ["A28"]

    def test_visits_instead_of_persons(self, dewi: User) -> None:
        peer = make_peer("V", destination_host="x", addresses=[], sends_patients=True, patient_events="A04 A08")
        patient = register_patient(who=dewi, values={"patient_id": "1", "patient_name": "X"})
        change_patient(who=dewi, patient=patient, version=patient.version, values={"patient_name": "Y"})
        assert events(peer) == ["A04", "A08"]

    def test_a_merge_is_an_A40_and_its_undoing_nothing(self, simrs: Hl7Peer, dewi: User) -> None:
        kept, gone = make_patient("KEEP"), make_patient("GONE")
        merge = merge_patients(who=dewi, survivor=kept, merged=gone)
        (sent,) = told(simrs)
        assert kind(sent) == "ADT^A40^ADT_A39"
        assert field(sent, "PID", 3).startswith("KEEP^") and field(sent, "MRG", 1).startswith("GONE^")
        assert sorted(Hl7Message.objects.get().patients) == sorted([kept.pk, gone.pk])
        undo_merge(who=dewi, merge=merge)
        assert len(told(simrs)) == 1

    def test_what_a_peer_says_of_patients_goes_to_the_others(self, simrs: Hl7Peer) -> None:
        other = make_peer("Other", destination_host="x", addresses=[], sends_patients=True)
        take_in(PATIENT, kind="ADT^A28")
        take_in(PATIENT.replace("BUDI", "AGUS"), kind="ADT^A08")
        take_in(PATIENT.replace("BUDI", "AGUS"), kind="ADT^A08")
        take_in(PATIENT.replace("001234", "9"), "MRG|001234", kind="ADT^A40")
        assert events(simrs) == []
        assert events(other) == ["A28", "A31", "A28", "A40"]

    def test_what_images_say_of_patients_is_not_told(self, simrs: Hl7Peer) -> None:
        save_patient(patient=Patient(site=default_site(), patient_id="9", patient_name="A^B"), who=make_node())
        save_patient(patient=Patient(site=default_site(), patient_id="8", patient_name="A^B"))
        assert told(simrs) == []


class TestPlacersNumber:
    def assigned(self, number: str, filler: str) -> str:
        return take_in(PATIENT, f"ORC|NA|{number}|{filler}", f"OBR|1|{number}|{filler}|CTTHX")

    def test_it_comes_in_by_a_message_of_its_own(self, simrs: Hl7Peer) -> None:
        order = place()
        assert "MSA|AA" in self.assigned("P-9", f"{order.accession_number}^SINAR")
        order.refresh_from_db()
        assert order.placer_order_number == "P-9"
        assert "MSA|AA" in self.assigned("P-9", order.accession_number)
        refused = self.assigned("P-10", order.accession_number)
        assert "MSA|AE" in refused and "P-9" in refused
        move_step(step=the_step(order), to=StepStatus.STARTED)
        assert states(simrs) == [("SN", "SC"), ("SC", "IP")]
        assert field(told(simrs)[1], "ORC", 2) == "P-9"

    def test_also_for_images_that_nobody_ordered(self, simrs: Hl7Peer) -> None:
        patient = make_patient("001234")
        unscheduled_step(
            site=patient.site, patient=patient, study_instance_uid=uid(9), modality="CT", at=timezone.now()
        )
        order = Order.objects.get()
        assert "MSA|AA" in self.assigned("P-9", str(order.public_id))
        order.refresh_from_db()
        assert order.placer_order_number == "P-9"

    def test_of_no_order_it_is_refused(self, simrs: Hl7Peer) -> None:
        make_patient("001234")
        assert "MSA|AE" in self.assigned("P-9", "NOSUCH")


def test_telling_costs_the_same_however_long_the_queue_is(simrs: Hl7Peer, django_assert_max_num_queries: Any) -> None:
    """What one move of a step costs in all."""
    for number in range(5):
        step = the_step(place(make_patient(str(number))))
        with django_assert_max_num_queries(36):
            move_step(step=step, to=StepStatus.STARTED)
