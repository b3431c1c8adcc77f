"""Messages over several connections at once, and settings that change between two of them."""

from concurrent.futures import ThreadPoolExecutor

from integrations.models import Hl7FieldMapping, Hl7Peer, UnknownPatient
from radiology.models import Patient, PatientIdentifier, PatientVersion
from tests.daemons import Daemon
from tests.integrations.mllp_client import MllpClient, message, pid

CONNECTIONS = 8


def test_numbers_that_several_messages_bring_at_once_are_all_kept(peer: Hl7Peer, hl7_server: Daemon) -> None:
    def bring(number: int) -> list[str]:
        with MllpClient(hl7_server.port) as client:
            texts = [f"001234^^^^MR~{number}-{each}^^^ELSEWHERE^XX" for each in range(2)]
            return [client.ask(message("ADT^A08", pid(text))).code for text in texts]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        codes = [code for both in pool.map(bring, range(CONNECTIONS)) for code in both]
    assert codes == ["AA"] * 2 * CONNECTIONS
    wanted = {f"{number}-{each}" for number in range(CONNECTIONS) for each in range(2)}
    assert set(PatientIdentifier.objects.values_list("value", flat=True)) == wanted
    patient = Patient.objects.get()
    assert patient.version == PatientVersion.objects.count() == 2 * CONNECTIONS


def test_what_is_changed_about_a_peer_holds_for_the_next_message(mllp: MllpClient, peer: Hl7Peer) -> None:
    def register(number: str) -> str:
        return mllp.ask(message("ADT^A04", pid(number, sex="1"))).code

    mapping = Hl7FieldMapping(peer=peer, source="PID-8", target="PID-8", values={"1": "M"})
    assert register("1") == "AE", "1 is no sex"
    mapping.save()
    assert register("2") == "AA"
    Hl7Peer.objects.update(unknown_patient=UnknownPatient.HOLD)
    assert register("3") == "AE"
    Hl7Peer.objects.update(unknown_patient=UnknownPatient.CREATE, assigning_authority="RSUD")
    assert register("4") == "AA"
    Hl7FieldMapping.objects.update(values={"1": "F"})
    assert register("5") == "AA"
    Hl7FieldMapping.objects.all().delete()
    assert register("6") == "AE"
    found = Patient.objects.order_by("patient_id").values_list("patient_id", "patient_sex", "issuer_of_patient_id")
    assert list(found) == [("2", "M", ""), ("4", "M", "RSUD"), ("5", "F", "RSUD")]
