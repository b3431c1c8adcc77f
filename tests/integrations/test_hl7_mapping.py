"""Field mapping: messages of a peer that says things elsewhere, or in other words, than the standard."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from integrations.models import Hl7FieldMapping, Hl7Peer, MessageState
from radiology.models import Order, Patient
from tests.factories import make_site, make_user
from tests.integrations.mllp_client import hand_in, last_message, make_peer, message, pid

pytestmark = pytest.mark.django_db


@pytest.fixture
def peer() -> Hl7Peer:
    return make_peer()


def map_field(peer: Hl7Peer, target: str, source: str = "", **fields: Any) -> Hl7FieldMapping:
    made = Hl7FieldMapping(peer=peer, target=target, source=source, **fields)
    made.full_clean()
    made.save()
    return made


def take_in(*segments: str, kind: str = "ADT^A08") -> str:
    answer = hand_in(message(kind, *segments).encode())
    assert answer is not None
    return answer.decode().split("\r")[1].split("|")[1]


def test_a_value_is_taken_from_elsewhere_and_in_other_words(peer: Hl7Peer) -> None:
    map_field(peer, "PID-8", "ZPI-3", values={"1": "M", "2": "F"})
    map_field(peer, "PID-3", "PID-4")
    map_field(peer, "PID-3.5", constant="MR", position=1)
    assert take_in("PID|1|||001234|WIBOWO^BUDI||19700131|9", "ZPI|1|x|2^y") == "AA"
    patient = Patient.objects.get()
    assert (patient.patient_id, patient.patient_sex) == ("001234", "F")


def test_a_word_that_is_not_in_the_table_leaves_what_is_there(peer: Hl7Peer) -> None:
    map_field(peer, "PID-8", "PID-8", values={"L": "M", "P": "F"})
    for said, becomes in (("L", "M"), ("P", "F"), ("F", "F")):
        assert take_in(pid(f"N{said}", sex=said)) == "AA"
        assert Patient.objects.get(patient_id=f"N{said}").patient_sex == becomes
    map_field(peer, "PID-8", "PID-8", values={"*": "O"}, position=1)
    assert take_in(pid("NX", sex="X")) == "AA"
    assert Patient.objects.get(patient_id="NX").patient_sex == "O"


def test_each_procedure_has_its_own_and_only_the_messages_that_are_meant(peer: Hl7Peer) -> None:
    map_field(peer, "OBR-24", "OBR-4.3", message_code="ORM^O01")
    map_field(peer, "PID-8", constant="O", message_code="ADT")
    segments = [
        part
        for number, modality in enumerate(("CT", "MR"))
        for part in (f"ORC|NW|P{number}", f"OBR|1|P{number}||C{number}^Procedure^{modality}")
    ]
    assert take_in(pid(), *segments, kind="ORM^O01") == "AA"
    assert [order.requested_procedures.get().modality for order in Order.objects.order_by("pk")] == ["CT", "MR"]
    assert Patient.objects.get().patient_sex == "M"


def test_what_a_message_is_may_be_read_differently_and_who_sent_it_may_not(peer: Hl7Peer) -> None:
    map_field(peer, "MSH-9.2", "MSH-9.2", values={"Z08": "A08"})
    assert take_in(pid(), kind="ADT^Z08") == "AA"
    assert last_message().state == MessageState.PROCESSED
    for target, source in (("MSH-10", "PID-3"), ("PID", "PID-3"), ("PID-8", "sex"), ("pid-8", "PID-3")):
        with pytest.raises(ValidationError):
            map_field(peer, target, source)
    with pytest.raises(ValidationError):
        map_field(peer, "PID-8", "PID-8", values=["M"])


def test_it_is_tried_on_a_message_that_is_pasted(peer: Hl7Peer) -> None:
    map_field(peer, "PID-8", "PID-8", values={"L": "M"})
    client = Client()
    client.force_login(make_user("admin", role="administrator"), "django.contrib.auth.backends.ModelBackend")
    address = f"/interfaces/peers/{peer.pk}/mapping"
    assert "PID-8" in client.get(address).content.decode()
    text = message("ADT^A08", pid(sex="L")).replace("\r", "\r\n")
    rows = {row["place"]: row for row in client.post(address, {"text": text}).context["rows"]}
    assert (rows["PID-8"]["before"], rows["PID-8"]["after"], rows["PID-8"]["differs"]) == ("L", "M", True)
    assert not rows["PID-3"]["differs"]
    assert client.post(address, {"text": "nothing"}).status_code == 400
    assert not Patient.objects.exists()
    other = make_peer("OTHER", sending_application="OTHER", site=make_site())
    assert client.get(f"/interfaces/peers/{other.pk}/mapping").status_code == 404
    doctor = Client()
    doctor.force_login(make_user("doctor", role="doctor"), "django.contrib.auth.backends.ModelBackend")
    assert doctor.get(address).status_code == 403
