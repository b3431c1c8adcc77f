"""ADT over MLLP: patients registered, changed, merged, given another number."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.utils import timezone

from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import AuditEvent, Patient, PatientMerge, PatientVersion, Site
from radiology.services.links import linked_patients
from tests.daemons import Daemon
from tests.factories import let_it_be_noon, make_order, make_patient, make_requested_procedure, make_site, make_step
from tests.integrations.mllp_client import MllpClient, last_message, message, pid

CREATES = ["A01", "A04", "A05", "A08", "A28", "A31"]


def by_number(number: str) -> Patient:
    return Patient.objects.get(patient_id=number)


@pytest.mark.parametrize("event", CREATES)
def test_a_patient_is_registered_and_brought_up_to_date(mllp: MllpClient, event: str) -> None:
    """IHE RAD-1; RAD-12 for an update that comes first."""
    full = (
        "PID|1||001234^^^RSUD^MR~3171234567890123^^^NIK^NI~0001234567890^^^BPJS~X1^^^IMM^PPN||WIBOWO^BUDI^AGUS^Jr^Dr"
        "|SARI^DEWI|19700131|M|||Jl. Merdeka 1^RT 2^Jakarta^DKI^10110^ID||081234^^^^62~021555|022777"
    )
    assert mllp.ask(message(f"ADT^{event}", f"EVN|{event}", full)).code == "AA"
    patient = by_number("001234")
    assert patient.issuer_of_patient_id == "RSUD"
    assert patient.patient_name == "WIBOWO^BUDI^AGUS^Dr^Jr"
    assert patient.patient_mother_birth_name == "SARI^DEWI"
    assert (patient.patient_birth_date, patient.patient_sex) == ("19700131", "M")
    assert patient.patient_address == "Jl. Merdeka 1, RT 2, Jakarta 10110, DKI, ID"
    assert patient.patient_telephone_numbers == "081234; 021555; 022777"
    assert {(each.kind, each.value, each.issuer) for each in patient.identifiers.all()} == {
        ("NIK", "3171234567890123", "NIK"),
        ("BPJS", "0001234567890", "BPJS"),
        ("PPN", "X1", "IMM"),
    }
    changed = 'PID|1||001234^^^RSUD^MR~99^^^LAB^U||WIBOWO^BUDI^AGUNG||""|F|||""||'
    assert mllp.ask(message(f"ADT^{event}", f"EVN|{event}", changed)).code == "AA"
    patient.refresh_from_db()
    assert patient.patient_name == "WIBOWO^BUDI^AGUNG"
    assert (patient.patient_birth_date, patient.birth_date, patient.patient_sex) == ("", None, "F")
    assert patient.patient_address == ""
    assert patient.patient_telephone_numbers == "081234; 021555; 022777"
    assert patient.identifiers.count() == 4
    assert last_message().changed == [{"model": "radiology.Patient", "id": patient.pk, "did": "changed"}]
    assert PatientVersion.objects.filter(patient_ref=patient, agent="SIMRS").count() == 2
    assert AuditEvent.objects.filter(event="patient.changed", agent="SIMRS", patient_ref=patient).exists()


def test_an_update_that_says_nothing_new_changes_nothing(mllp: MllpClient) -> None:
    mllp.ask(message("ADT^A08", pid()))
    before = by_number("001234").version
    assert mllp.ask(message("ADT^A08", pid())).code == "AA"
    assert by_number("001234").version == before
    assert last_message().changed == []


@pytest.mark.parametrize(
    ("said", "kept"),
    [*(("M", "M"), ("F", "F"), ("U", ""), ("A", "O"), ("N", "O"), ("O", "O"), ("m", "M"), ("L", "M")), ("female", "F")],
)
def test_sexes_of_hl7_become_those_of_dicom(mllp: MllpClient, said: str, kept: str) -> None:
    assert mllp.ask(message("ADT^A04", pid(sex=said))).code == "AA"
    assert by_number("001234").patient_sex == kept


def test_identifiers_are_texts(mllp: MllpClient) -> None:
    mllp.ask(message("ADT^A04", pid("001234")))
    mllp.ask(message("ADT^A04", pid("1234", "OTHER^ONE")))
    assert by_number("001234").patient_name == "WIBOWO^BUDI"
    assert by_number("1234").patient_name == "OTHER^ONE"


def test_a_number_without_issuer_has_the_peers_or_the_sites(mllp: MllpClient, peer: Hl7Peer) -> None:
    Site.objects.update(issuer_of_patient_id="RSUD")
    mllp.ask(message("ADT^A04", pid("N1")))
    assert by_number("N1").issuer_of_patient_id == "RSUD"
    Hl7Peer.objects.update(assigning_authority="HIS")
    mllp.ask(message("ADT^A04", pid("N2")))
    assert by_number("N2").issuer_of_patient_id == "HIS"
    mllp.ask(message("ADT^A04", pid("N3^^^&1.2.3&ISO")))
    assert by_number("N3").issuer_of_patient_id == "1.2.3"


def test_the_peers_own_number_is_the_mrn_wherever_it_stands(mllp: MllpClient, peer: Hl7Peer) -> None:
    Hl7Peer.objects.update(assigning_authority="HIS")
    mllp.ask(message("ADT^A04", pid("77^^^EMPI^PI~N1^^^HIS^MR~5^^^HIS^AN")))
    patient = Patient.objects.get()
    assert (patient.patient_id, patient.issuer_of_patient_id) == ("N1", "HIS")
    assert {each.value for each in patient.identifiers.all()} == {"77", "5"}


def test_two_issuers_are_two_patients_and_a_number_without_one_asks_which(mllp: MllpClient) -> None:
    mllp.ask(message("ADT^A04", pid("N1^^^A", "ONE^FIRST")))
    mllp.ask(message("ADT^A04", pid("N1^^^B", "TWO^SECOND")))
    assert Patient.objects.filter(patient_id="N1").count() == 2
    answer = mllp.ask(message("ADT^A08", pid("N1", "WHO^EVER")))
    assert (answer.code, answer.location) == ("AE", "PID^1^3")


def test_a_message_acts_on_the_site_of_its_peer(mllp: MllpClient, peer: Hl7Peer) -> None:
    other = make_site()
    make_patient("001234", "SOMEBODY^ELSE", site=other)
    assert mllp.ask(message("ADT^A08", pid())).code == "AA"
    assert Patient.objects.get(site=other).patient_name == "SOMEBODY^ELSE"
    assert Patient.objects.get(site=peer.site).patient_name == "WIBOWO^BUDI"


def test_a_held_message_is_processed_when_the_patient_is_registered(mllp: MllpClient, peer: Hl7Peer) -> None:
    Hl7Peer.objects.update(unknown_patient="hold")
    answer = mllp.ask(message("ADT^A08", pid()))
    assert answer.code == "AE" and answer.location == "PID^1^3"
    assert "register the patient" in last_message().error
    make_patient("001234", "WIBOWO^BUDI")
    assert mllp.ask(message("ADT^A08", pid(f13="0812"))).code == "AA"
    assert by_number("001234").patient_telephone_numbers == "0812"


def test_foreign_text_and_markup_are_values(mllp: MllpClient) -> None:
    name = "<script>alert(1)</script>^李"
    assert mllp.ask(message("ADT^A08", pid(name=name, f11="a\\F\\b\\T\\c"))).code == "AA"
    assert by_number("001234").patient_name == name
    assert by_number("001234").patient_address == "a|b&c"


# Merges


def both(mllp: MllpClient) -> tuple[Patient, Patient]:
    mllp.ask(message("ADT^A04", pid("KEEP")))
    mllp.ask(message("ADT^A04", pid("GONE", "WIBOWO^B")))
    return by_number("KEEP"), by_number("GONE")


@pytest.mark.parametrize("event", ["A40", "A18", "A34"])
def test_a_merge_moves_everything_to_the_survivor(mllp: MllpClient, event: str) -> None:
    """IHE RAD-12; HL7 MRG-1 is merged into PID-3."""
    survivor, merged = both(mllp)
    order = make_order(merged)
    assert mllp.ask(message(f"ADT^{event}", f"EVN|{event}", pid("KEEP"), "MRG|GONE")).code == "AA"
    merged.refresh_from_db()
    order.refresh_from_db()
    assert merged.merged_into == survivor and order.patient_ref == survivor
    kept = last_message()
    assert kept.patient_ref == survivor
    assert {(each["id"], each["did"]) for each in kept.changed} == {(merged.pk, "merged"), (survivor.pk, "changed")}
    assert PatientMerge.objects.get().agent == "SIMRS"


def test_a_merge_again_changes_nothing(mllp: MllpClient) -> None:
    both(mllp)
    for _ in range(2):
        assert mllp.ask(message("ADT^A40", pid("KEEP"), "MRG|GONE")).code == "AA"
    assert PatientMerge.objects.count() == 1
    assert "merged already" in last_message().note


@pytest.mark.parametrize("mrg", ["KEEP", "KEEP^^^"])
def test_a_merge_into_itself_is_refused(mllp: MllpClient, mrg: str) -> None:
    both(mllp)
    answer = mllp.ask(message("ADT^A40", pid("KEEP"), f"MRG|{mrg}"))
    assert (answer.code, answer.location) == ("AE", "MRG^1^1")
    assert not PatientMerge.objects.exists()


def test_a_merge_the_other_way_round_afterwards_is_refused(mllp: MllpClient) -> None:
    both(mllp)
    assert mllp.ask(message("ADT^A40", pid("KEEP"), "MRG|GONE")).code == "AA"
    answer = mllp.ask(message("ADT^A40", pid("GONE"), "MRG|KEEP"))
    assert answer.code == "AE" and "one patient already" in answer.error
    assert PatientMerge.objects.count() == 1


def test_a_patient_who_was_merged_is_not_merged_into_a_third(mllp: MllpClient) -> None:
    both(mllp)
    mllp.ask(message("ADT^A04", pid("THIRD", "OTHER^ONE")))
    assert mllp.ask(message("ADT^A40", pid("KEEP"), "MRG|GONE")).code == "AA"
    answer = mllp.ask(message("ADT^A40", pid("THIRD"), "MRG|GONE"))
    assert answer.code == "AE" and "already merged" in answer.error


def test_merges_in_a_chain_lead_to_the_last(mllp: MllpClient) -> None:
    both(mllp)
    mllp.ask(message("ADT^A40", pid("KEEP"), "MRG|GONE"))
    mllp.ask(message("ADT^A40", pid("LAST"), "MRG|KEEP"))
    assert mllp.ask(message("ADT^A40", pid("LAST"), "MRG|GONE")).code == "AA"
    assert "merged already" in last_message().note
    assert mllp.ask(message("ADT^A08", pid("GONE", "WIBOWO^BUDI^A"))).code == "AA"
    assert by_number("LAST").patient_name == "WIBOWO^BUDI^A"


def test_several_merges_in_one_message_are_all_done_or_none(mllp: MllpClient) -> None:
    both(mllp)
    mllp.ask(message("ADT^A04", pid("MORE")))
    good, bad = [pid("KEEP"), "MRG|GONE"], [pid("KEEP"), "MRG|KEEP"]
    assert mllp.ask(message("ADT^A40", *good, *bad)).code == "AE"
    assert not PatientMerge.objects.exists()
    assert mllp.ask(message("ADT^A40", *good, pid("KEEP"), "MRG|MORE")).code == "AA"
    assert PatientMerge.objects.count() == 2


def test_a_merge_of_a_number_that_nobody_had_catches_what_comes_late(mllp: MllpClient) -> None:
    assert mllp.ask(message("ADT^A40", pid("KEEP"), "MRG|GONE")).code == "AA"
    assert mllp.ask(message("ADT^A08", pid("GONE", "WIBOWO^BUDI^LATE"))).code == "AA"
    assert by_number("KEEP").patient_name == "WIBOWO^BUDI^LATE"
    assert Patient.objects.current().count() == 1


def test_without_mrg_nothing_can_be_merged(mllp: MllpClient) -> None:
    answer = mllp.ask(message("ADT^A40", pid("KEEP")))
    assert (answer.code, answer.location) == ("AE", "MRG^1")


def test_merges_from_many_sides_at_once_are_one(peer: Hl7Peer, hl7_server: Daemon) -> None:
    def send(number: int) -> str:
        with MllpClient(hl7_server.port) as client:
            return client.ask(message("ADT^A40", pid("KEEP"), "MRG|GONE", own_id=f"M{number}")).code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(24))) == {"AA"}
    assert PatientMerge.objects.count() == 1
    assert Patient.objects.count() == 2


# Another number


def test_another_number_replaces_the_old_one(mllp: MllpClient) -> None:
    mllp.ask(message("ADT^A04", pid("OLD")))
    patient = by_number("OLD")
    assert mllp.ask(message("ADT^A47", pid("NEW"), "MRG|OLD")).code == "AA"
    patient.refresh_from_db()
    assert patient.patient_id == "NEW"
    assert mllp.ask(message("ADT^A47", pid("NEW"), "MRG|OLD")).code == "AA"
    assert "already" in last_message().note


def test_a_number_that_is_somebody_elses_is_refused(mllp: MllpClient) -> None:
    both(mllp)
    answer = mllp.ask(message("ADT^A47", pid("KEEP"), "MRG|GONE"))
    assert (answer.code, answer.location) == ("AE", "PID^1^3")
    assert mllp.ask(message("ADT^A47", pid("X"), "MRG|Y")).code == "AE"


# Visits


@pytest.mark.parametrize("event", ["A02", "A06", "A07", "A12"])
def test_a_transfer_tells_the_orders_that_wait(mllp: MllpClient, event: str) -> None:
    mllp.ask(message("ADT^A04", pid()))
    waiting = make_order(by_number("001234"), procedures=1)
    done = make_order(by_number("001234"), procedures=1, status="completed")
    assert mllp.ask(message(f"ADT^{event}", pid(), "PV1|1|I|ICU^2^1^RSUD")).code == "AA"
    waiting.refresh_from_db()
    done.refresh_from_db()
    assert waiting.current_patient_location == "ICU 2 1 RSUD"
    assert done.current_patient_location == ""
    assert mllp.ask(message(f"ADT^{event}", pid("NOBODY"), "PV1|1|I|ICU")).code == "AA"
    assert "Nothing was changed" in last_message().note


def test_an_arrival_marks_the_examinations_of_today(mllp: MllpClient) -> None:
    let_it_be_noon()
    mllp.ask(message("ADT^A04", pid()))
    patient, now = by_number("001234"), timezone.now()
    today, later = (
        make_step(make_requested_procedure(make_order(patient)), scheduled_start=start)
        for start in (now + timedelta(hours=1), now + timedelta(days=2))
    )
    assert mllp.ask(message("ADT^A10", pid())).code == "AA"
    today.refresh_from_db()
    later.refresh_from_db()
    assert (today.status, later.status) == ("ARRIVED", "SCHEDULED")
    assert last_message().changed == [{"model": "worklist.ScheduledProcedureStep", "id": today.pk, "did": "arrived"}]


def test_ten_times_out_of_order_gives_one_patient_and_a_reason_for_each_refusal(mllp: MllpClient) -> None:
    messages = [
        message("ADT^A08", pid("N1", "WIBOWO^BUDI")),
        message("ADT^A40", pid("N1"), "MRG|N0"),
        message("ADT^A01", pid("N0", "WIBOWO^BUDI")),
        message("ADT^A04", pid("N1", "WIBOWO^BUDI")),
    ]
    for _ in range(10):
        for each in messages:
            assert mllp.ask(each).code == "AA"
    assert Patient.objects.current().get().patient_id == "N1"
    assert Hl7Message.objects.filter(state=MessageState.DUPLICATE).count() == 36


def test_who_left_lies_nowhere_until_the_discharge_is_cancelled(mllp: MllpClient) -> None:
    mllp.ask(message("ADT^A04", pid()))
    waiting = make_order(by_number("001234"), procedures=1, current_patient_location="ICU")
    assert mllp.ask(message("ADT^A03", pid(), "PV1|1|I|ICU")).code == "AA"
    waiting.refresh_from_db()
    assert waiting.current_patient_location == ""
    assert mllp.ask(message("ADT^A13", pid(), "PV1|1|I|ICU^3")).code == "AA"
    waiting.refresh_from_db()
    assert waiting.current_patient_location == "ICU 3"


@pytest.mark.parametrize("event", ["A11", "A23", "A38"])
def test_a_visit_that_is_cancelled_leaves_its_orders_without_place_and_number(mllp: MllpClient, event: str) -> None:
    mllp.ask(message("ADT^A01", pid()))
    its, other = (
        make_order(by_number("001234"), procedures=1, current_patient_location="ICU", admission_id=number)
        for number in ("V1", "V2")
    )
    assert mllp.ask(message(f"ADT^{event}", pid(), "PV1|1|I|ICU" + "|" * 16 + "V1")).code == "AA"
    for order in (its, other):
        order.refresh_from_db()
    assert (its.current_patient_location, its.admission_id, its.status) == ("", "", "active")
    assert (other.current_patient_location, other.admission_id) == ("ICU", "V2")
    assert [each["id"] for each in last_message().changed] == [its.pk]
    assert mllp.ask(message(f"ADT^{event}", pid(), "PV1|1|I|ICU" + "|" * 16 + "V1")).code == "AA"
    assert "Nothing was changed" in last_message().note
    assert mllp.ask(message(f"ADT^{event}", pid("NOBODY"))).code == "AA"
    assert not Patient.objects.filter(patient_id="NOBODY").exists()


def test_an_arrival_is_taken_back(mllp: MllpClient) -> None:
    let_it_be_noon()
    mllp.ask(message("ADT^A04", pid()))
    order = make_order(by_number("001234"))
    step = make_step(make_requested_procedure(order), scheduled_start=timezone.now() + timedelta(hours=1))
    for event, status in (("A10", "ARRIVED"), ("A32", "SCHEDULED"), ("A32", "SCHEDULED")):
        assert mllp.ask(message(f"ADT^{event}", pid())).code == "AA"
        step.refresh_from_db()
        assert step.status == status
    assert "Nothing was changed" in last_message().note


def test_two_numbers_are_linked_and_unlinked_without_being_merged(mllp: MllpClient) -> None:
    both = (pid("A1", "WIBOWO^BUDI"), "PV1|1|O", pid("B1", "WIBOWO^BUDI"))
    for note in ("", "The two were linked already."):
        assert mllp.ask(message("ADT^A24", *both)).code == "AA"
        assert last_message().note == note
    one, other = by_number("A1"), by_number("B1")
    assert linked_patients(who=Hl7Peer.objects.get(), patient=one) == [other]
    assert linked_patients(who=Hl7Peer.objects.get(), patient=other) == [one]
    assert not PatientMerge.objects.exists()
    assert AuditEvent.objects.filter(event="patient.linked", agent="SIMRS").count() == 2
    # Whoever was merged is found where it went.
    assert mllp.ask(message("ADT^A40", pid("C1", "WIBOWO^BUDI"), "MRG|B1")).code == "AA"
    assert linked_patients(who=Hl7Peer.objects.get(), patient=one) == [by_number("C1")]
    for _ in range(2):
        assert mllp.ask(message("ADT^A37", pid("A1"), pid("D1"))).code == "AA"
        assert "Nothing was changed" in last_message().note
    assert mllp.ask(message("ADT^A24", pid("D1", "X^Y"), pid("A1"))).code == "AA"
    assert mllp.ask(message("ADT^A37", pid("A1"), pid("D1"))).code == "AA"
    assert last_message().note == "" and len(last_message().changed) == 2


@pytest.mark.parametrize(
    ("segments", "location"),
    [((pid("A1"),), "PID^1"), ((pid("A1"), pid("A1")), "PID^1^3"), ((pid("A1"), "PV1|1"), "PID^1")],
)
def test_a_link_names_two(mllp: MllpClient, segments: tuple[str, ...], location: str) -> None:
    answer = mllp.ask(message("ADT^A24", *segments))
    assert (answer.code, answer.location) == ("AE", location)
    assert not Patient.objects.exists()
