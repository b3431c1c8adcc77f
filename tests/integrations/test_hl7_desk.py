"""The message desk: what is shown of messages and peers, doing messages again, alarms."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from integrations.hl7 import alarms
from integrations.hl7.outgoing import patients as outgoing_patients
from integrations.hl7.outgoing import queue
from integrations.models import Direction, Hl7Alarm, Hl7Message, Hl7Peer, MessageState, UnknownPatient
from radiology.models import AuditEvent, Job, Order, Patient
from radiology.services import jobs
from tests.factories import make_patient, make_site, make_user
from tests.integrations.mllp_client import hand_in, last_message, make_peer, message, pid

pytestmark = pytest.mark.django_db


def signed_in(name: str = "admin", role: str = "administrator", **fields: Any) -> Client:
    client = Client()
    client.force_login(make_user(name, role=role, **fields), backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def chief() -> Client:
    return signed_in()


def take_in(*segments: str, kind: str = "ADT^A08", own_id: str = "") -> Hl7Message:
    hand_in(message(kind, *segments, own_id=own_id).encode())
    return last_message()


def order(number: str = "P1") -> Hl7Message:
    return take_in(pid(), f"ORC|NW|{number}", f"OBR|1|{number}||CT1^CT^L" + "|" * 20 + "CT", kind="ORM^O01")


def send(peer: Hl7Peer, patient: Patient) -> Hl7Message:
    """A message about a patient in the peer's queue."""
    return queue.put(peer, outgoing_patients.registered(peer, patient), patient=patient)


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().replace("&#x27;", "'").replace("&amp;", "&").split())


def address(row: Hl7Message, beneath: str = "") -> str:
    return f"/interfaces/messages/{row.public_id}{beneath}"


def listed(client: Client, **asked: str) -> set[str]:
    response = client.get("/interfaces", asked)
    return {row.message_control_id for row in response.context["page"].rows}


class TestTheList:
    def test_it_says_what_to_do_before_the_first_message(self, chief: Client) -> None:
        assert "No message has come yet." in text_of(chief.get("/interfaces"))

    def test_whoever_configures_the_peers_is_shown_them_and_the_way_there(self) -> None:
        chief = signed_in("root", is_superuser=True, is_staff=True)
        assert "/admin/integrations/hl7peer/" in text_of(chief.get("/interfaces"))
        make_peer("SIMRS")
        page = text_of(chief.get("/interfaces"))
        assert "/admin/integrations/hl7peer/" in page and ">SIMRS</a>" in page

    def test_messages_are_found_by_what_is_known_of_them(self, chief: Client) -> None:
        simrs, lab = make_peer(), make_peer("LAB", sending_application="LAB")
        take_in(pid("A1", "AMIR^A"), own_id="M1")
        take_in(pid("B1", "BUDI^B", born="wrong"), own_id="M2")
        order("P9")
        placed = last_message().message_control_id
        accession = Order.objects.get().accession_number
        hand_in(message("ADT^A31", pid("A1", "AMIR^A"), own_id="M4", application="LAB").encode())
        send(simrs, Patient.objects.get(patient_id="A1"))
        sent = last_message().message_control_id
        assert listed(chief) == {"M1", "M2", placed, "M4", sent}
        assert listed(chief, text="M2") == {"M2"}
        assert listed(chief, text="A1") == {"M1", "M4", sent}
        assert listed(chief, text=accession) == listed(chief, text="P9") == {placed}
        assert listed(chief, state="open") == listed(chief, state="failed") == {"M2"}
        assert listed(chief, peer=str(lab.pk)) == {"M4"}
        assert listed(chief, direction="out") == listed(chief, state="waiting") == {sent}
        assert listed(chief, code="ADT", direction="in") == {"M1", "M2", "M4"}
        assert listed(chief, code="ADT^A31") == {"M4"}
        later = f"{timezone.now() + timedelta(hours=1):%Y-%m-%dT%H:%M}Z"
        assert listed(chief, until=later) and not listed(chief, since=later)
        assert listed(chief, state="nonsense", peer="x", since="soon", before="-1") == listed(chief)

    def test_a_part_that_asks_again_is_told_when_nothing_happened(self, chief: Client) -> None:
        make_peer()
        take_in(pid())
        first = chief.get("/interfaces", headers={"HX-Request": "true"})
        etag = first.context["etag"]
        again = {"HX-Request": "true", "If-None-Match": etag}
        assert chief.get("/interfaces", headers=again).status_code == 304
        take_in(pid("N2", "X^Y"))
        assert chief.get("/interfaces", headers=again).status_code == 200

    def test_it_costs_the_same_however_many_messages(self, chief: Client, django_assert_max_num_queries: Any) -> None:
        for number in range(3):
            make_peer(f"P{number}", sending_application=f"P{number}")
        for _ in range(60):
            take_in(pid(f"N{Hl7Message.objects.count()}", "X^Y"))
        chief.get("/interfaces")
        with django_assert_max_num_queries(14):
            page = chief.get("/interfaces")
        assert len(page.context["page"].rows) == 50
        older = page.context["older"]
        assert len(chief.get(f"/interfaces?{older}").context["page"].rows) == 10

    def test_peers_show_what_passed_and_what_waits(self, chief: Client) -> None:
        peer = make_peer(destination_host="127.0.0.1", destination_port=9)
        take_in(pid())
        take_in(pid("N2", born="wrong"))
        for _ in range(3):
            send(peer, Patient.objects.get())
        (figures,) = chief.get("/interfaces").context["peers"]
        assert (figures.received, figures.sent, figures.failed) == (2, 0, 1)
        assert (figures.to_do, figures.to_send) == (0, 3) and figures.oldest is not None


class TestOneMessage:
    def test_raw_and_decoded_stand_side_by_side_with_what_it_changed(self, chief: Client) -> None:
        make_peer()
        row = order()
        page = text_of(chief.get(address(row)))
        placed = Order.objects.get()
        for said in ("PID-5", "Patient Name", "WIBOWO · BUDI", "OBR-4", "Universal Service Identifier", "AA"):
            assert said in page, said
        for way in (f"/orders/{placed.public_id}", f"/patients/{placed.patient_ref.public_id}", "/examinations/"):
            assert f'href="{way}' in page, way
        assert AuditEvent.objects.filter(event="hl7.opened", patient_ref=placed.patient_ref).exists()

    def test_a_message_that_nobody_can_read_is_shown_as_it_came(self, chief: Client) -> None:
        make_peer()
        hand_in(b"<script>alert(1)</script>\x07")
        page = text_of(chief.get(address(last_message())))
        assert "This cannot be read as an HL7 message." in page
        assert "&lt;script&gt;" in page and "<script>alert" not in page

    def test_those_of_another_site_are_not_there(self) -> None:
        other = make_site()
        make_peer(site=other)
        row = take_in(pid())
        client = signed_in("elsewhere")
        assert client.get(address(row)).status_code == 404
        assert not client.get("/interfaces").context["page"].rows
        assert client.post(address(row, "/replay")).status_code == 404

    @pytest.mark.parametrize("role", ["radiographer", "radiologist", "doctor", "desk"])
    def test_it_is_for_administrators(self, role: str) -> None:
        make_peer()
        row = take_in(pid())
        client = signed_in("other", role)
        assert client.get("/interfaces").status_code == 403
        assert client.get("/interfaces/count").status_code == 204
        assert client.get("/interfaces/replays").status_code == client.post("/interfaces/replays").status_code == 403
        for beneath in ("", "/edit"):
            assert client.get(address(row, beneath)).status_code == 404
        for beneath in ("/replay", "/close"):
            assert client.post(address(row, beneath)).status_code == 404
        assert "/interfaces" not in text_of(client.get("/"))


class TestDoingItAgain:
    def test_what_failed_is_processed_when_the_reason_is_gone(self, chief: Client) -> None:
        peer = make_peer(unknown_patient=UnknownPatient.HOLD)
        row = take_in(pid())
        assert row.is_open
        assert "failed" in text_of(chief.post(address(row, "/replay"), follow=True))
        Hl7Peer.objects.filter(pk=peer.pk).update(unknown_patient=UnknownPatient.CREATE)
        assert "it was accepted" in text_of(chief.post(address(row, "/replay"), follow=True))
        row.refresh_from_db()
        assert (row.state, Hl7Message.objects.count()) == (MessageState.PROCESSED, 1)
        assert Patient.objects.get().patient_id == "001234"
        assert AuditEvent.objects.filter(event="hl7.replayed", user__username="admin").count() == 2

    def test_what_was_done_changes_nothing_when_it_is_done_again(self, chief: Client) -> None:
        make_peer()
        row = order()
        before = (Order.objects.get().version, Patient.objects.get().version)
        chief.post(address(row, "/replay"))
        again = last_message()
        assert (again.replay_of, again.replayed_by, again.state) == (row, "admin", MessageState.PROCESSED)
        assert (Order.objects.get().version, Patient.objects.get().version) == before
        page = text_of(chief.get(address(row)))
        assert f"/interfaces/messages/{again.public_id}" in page

    def test_it_is_edited_and_the_first_stays_as_it_came(self, chief: Client) -> None:
        make_peer()
        row = take_in(pid("N1", "GRÖNÉ^X", born="19701301"))
        editor = chief.get(address(row, "/edit"))
        assert "GRÖNÉ^X" in text_of(editor)
        corrected = editor.context["text"].replace("19701301", "19701201")
        response = chief.post(address(row, "/replay"), {"text": corrected.replace("\n", "\r\n")}, follow=True)
        assert "it was accepted" in text_of(response)
        row.refresh_from_db()
        assert row.state == MessageState.FAILED and b"19701301" in bytes(row.raw)
        assert not row.is_open and row.closed_by == "admin"
        assert Patient.objects.get().patient_name == "GRÖNÉ^X"
        assert last_message().replay_of == row

    def test_what_is_edited_here_is_no_message_of_its_sender(self, chief: Client) -> None:
        """Which sends the first again: it is that one, under a control ID that it used for nothing else."""
        make_peer()
        raw = message("ADT^A08", pid("N1"), own_id="M1").encode()
        hand_in(raw)
        row = last_message()
        text = chief.get(address(row, "/edit")).context["text"].replace("WIBOWO", "HARTONO")
        chief.post(address(row, "/replay"), {"text": text})
        hand_in(raw)
        again = last_message()
        assert (again.duplicate_of, again.reuses_control_id) == (row, False)
        assert Patient.objects.get().patient_name == "HARTONO^BUDI"

    @pytest.mark.parametrize("text", ["", "no message", "PID|1", "MSH|^~\\&|A|B|C|D|1||ADT^A08||P|2.5"])
    def test_what_is_no_message_is_refused_and_kept_in_the_editor(self, chief: Client, text: str) -> None:
        make_peer()
        row = take_in(pid(born="wrong"))
        response = chief.post(address(row, "/replay"), {"text": text})
        assert response.status_code == 400 and response.context["text"] == text
        assert Hl7Message.objects.count() == 1

    def test_what_was_given_up_is_sent_again_and_what_was_sent_once_more(self, chief: Client) -> None:
        peer = make_peer(destination_host="127.0.0.1", destination_port=9)
        patient = make_patient("N1")
        send(peer, patient)
        row = last_message()
        Hl7Message.objects.update(state=MessageState.DEAD, error="AR: no")
        chief.post(address(row, "/replay"))
        row.refresh_from_db()
        assert row.state == MessageState.WAITING
        Hl7Message.objects.update(state=MessageState.PROCESSED)
        chief.post(address(row, "/replay"))
        again = last_message()
        assert again.direction == Direction.OUT and again.state == MessageState.WAITING
        assert again.message_control_id != row.message_control_id
        assert again.message_control_id.encode() in bytes(again.raw)
        assert bytes(again.raw).split(b"\r")[1:] == bytes(row.raw).split(b"\r")[1:]
        assert again.patients == [patient.pk]

    def test_what_needs_nobody_is_put_aside_and_taken_up_again(self, chief: Client) -> None:
        make_peer()
        row = take_in(pid(born="wrong"))
        assert "1" in text_of(chief.get("/interfaces/count"))
        chief.post(address(row, "/close"))
        assert not listed(chief, state="open")
        assert text_of(chief.get("/interfaces/count")) == ""
        chief.post(address(row, "/close"), {"again": "1"})
        assert listed(chief, state="open") == {row.message_control_id}

    def test_all_that_a_search_finds_are_done_again_in_order(self, chief: Client) -> None:
        peer = make_peer(unknown_patient=UnknownPatient.HOLD)
        for number in range(5):
            take_in(pid("N1", f"NAME{number}^X"), own_id=f"M{number}")
        take_in(pid("N2", born="wrong"), own_id="LATER")
        Hl7Peer.objects.filter(pk=peer.pk).update(unknown_patient=UnknownPatient.CREATE)
        assert "This search finds 6 messages." in text_of(chief.get("/interfaces/replays?state=open"))
        form = {"state": "open", "key": "once"}
        for _ in range(2):  # pressed twice
            chief.post("/interfaces/replays", form)
        job = Job.objects.get(kind="hl7.replay")
        assert "wait to be done again" in text_of(chief.get("/interfaces"))
        jobs.run_due()
        job.refresh_from_db()
        assert (job.state, job.progress) == ("done", 6)
        assert Patient.objects.get(patient_id="N1").patient_name == "NAME4^X"
        assert listed(chief, state="open") == {"LATER"}

    def test_a_replay_that_was_broken_off_goes_on_where_it_was(self, chief: Client, monkeypatch: Any) -> None:
        make_peer()
        for number in range(3):
            take_in(pid(f"N{number}", "X^Y"))
        chief.post("/interfaces/replays", {"code": "ADT"})
        job = Job.objects.get(kind="hl7.replay")
        first = Hl7Message.objects.order_by("pk")[0]
        Job.objects.filter(pk=job.pk).update(
            arguments={**job.arguments, "last": first.pk, "newest": last_message().pk}, progress=1
        )
        jobs.run_due()
        job.refresh_from_db()
        assert (job.state, job.progress) == ("done", 3)
        assert not first.replays.exists() and Hl7Message.objects.exclude(replay_of=None).count() == 2


class TestAlarms:
    def test_a_peer_that_falls_silent_is_told_of_until_it_speaks(self, chief: Client) -> None:
        peer = make_peer(silent_after_minutes=10)
        take_in(pid())
        alarms.watch()
        assert not Hl7Alarm.objects.exists()
        alarms.watch(now=timezone.now() + timedelta(minutes=11))
        alarms.watch(now=timezone.now() + timedelta(minutes=12))
        (alarm,) = Hl7Alarm.objects.all()
        assert (alarm.peer, alarm.kind, alarm.ended_at) == (peer, "silent", None)
        page = text_of(chief.get("/interfaces"))
        assert "Sends nothing" in page
        assert "1" in text_of(chief.get("/interfaces/count"))
        alarms.watch()
        alarm.refresh_from_db()
        assert alarm.ended_at is not None
        assert "Sends nothing" not in text_of(chief.get("/interfaces"))

    def test_a_peer_that_cannot_be_reached_and_a_queue_that_grows_are_told_of(self, chief: Client) -> None:
        peer = make_peer(destination_host="127.0.0.1", destination_port=9, queue_alarm=2)
        patient = make_patient("N1")
        for _ in range(2):
            send(peer, patient)
        Hl7Peer.objects.update(unreachable_since=timezone.now() - timedelta(minutes=5))
        alarms.watch()
        assert {alarm.kind for alarm in Hl7Alarm.objects.ringing()} == {"unreachable", "queue"}
        Hl7Message.objects.update(state=MessageState.PROCESSED)
        Hl7Peer.objects.update(unreachable_since=None)
        alarms.watch()
        assert not Hl7Alarm.objects.ringing().exists()

    def test_what_is_switched_off_raises_nothing(self) -> None:
        make_peer(silent_after_minutes=1, is_active=False)
        make_peer("QUIET", silent_after_minutes=0, sending_application="Q")
        alarms.watch()
        assert not Hl7Alarm.objects.exists()
