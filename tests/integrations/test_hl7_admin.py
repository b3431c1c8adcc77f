"""The admin's pages for whoever runs the interfaces: who may send, what came, what became of it, doing it again."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from integrations.hl7.outgoing import patients, queue
from integrations.models import Hl7Message, Hl7Peer, MessageState
from radiology.models import AuditEvent, Patient, Role
from radiology.services import configuration
from tests.factories import make_patient, make_site, make_user
from tests.integrations.mllp_client import hand_in, last_message, make_peer, message, pid
from tests.radiology.admin_client import post, signed_in, superuser, texts

pytestmark = pytest.mark.django_db


@pytest.fixture
def chief() -> Client:
    return signed_in(superuser())


def take_in(*segments: str, kind: str = "ADT^A08") -> Hl7Message:
    hand_in(message(kind, *segments).encode())
    return last_message()


def form(**fields: str) -> dict[str, str]:
    return {
        "name": "SIMRS",
        "site": "1",
        "addresses": "10.1.2.3, 10.2.0.0/16",
        "is_active": "on",
        "sending_application": "SIMRS",
        "sending_facility": "",
        "assigning_authority": "",
        "character_set": "",
        "unknown_patient": "create",
        "unknown_procedure": "create",
        "reply_type": "ack",
        "acknowledgment_mode": "message",
        "silent_after_minutes": "0",
        "queue_alarm": "100",
        "mappings-TOTAL_FORMS": "0",
        "mappings-INITIAL_FORMS": "0",
        **destination(),
        **fields,
    }


def destination(**fields: str) -> dict[str, str]:
    """The part of the form about what is sent."""
    return {
        "destination_host": "",
        "destination_port": "2575",
        "sent_version": "2.5.1",
        "report_text": "FT",
        "sent_character_set": "UNICODE UTF-8",
        "order_message": "ORM^O01",
        "filler_order": "SN",
        "patient_events": "A28 A31",
        "expected_answer": "original",
        **fields,
    }


def test_a_peer_is_entered_with_its_addresses(chief: Client) -> None:
    response = post(chief, "integrations_hl7peer_add", form())
    assert response.status_code == 200
    peer = Hl7Peer.objects.get()
    assert peer.admits("10.1.2.3") and peer.admits("10.2.200.1")
    assert not peer.admits("10.1.2.4") and not peer.admits("nonsense")
    assert AuditEvent.objects.filter(event="admin", detail__model="integrations.Hl7Peer").exists()


@pytest.mark.parametrize("addresses", ["", "everywhere", "10.1.2.3, 10.1.2.300"])
def test_what_is_no_address_is_refused(chief: Client, addresses: str) -> None:
    post(chief, "integrations_hl7peer_add", form(addresses=addresses))
    assert not Hl7Peer.objects.exists()


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(ValidationError, match=r"10\.1\.2\.300 is no address"):
        Hl7Peer(name="x", addresses=["10.1.2.300"]).clean()


def test_the_page_of_a_message_shows_what_it_said_what_was_answered_and_what_it_changed(chief: Client) -> None:
    make_peer()
    row = take_in(pid("N1", "<b>GRÖNÉ</b>^X"))
    page = chief.get(reverse("admin:integrations_hl7message_change", args=[row.pk]))
    text = page.content.decode()
    assert "&lt;b&gt;GRÖNÉ&lt;/b&gt;" in text and "<b>GRÖNÉ" not in text
    assert "MSA|AA|" in text
    address = reverse("admin:radiology_patient_change", args=[Patient.objects.get().pk])
    assert f'href="{address}"' in text


def test_the_list_shows_the_state_and_the_reason(chief: Client) -> None:
    make_peer()
    row = take_in(pid("N1", ""))
    page = chief.get(reverse("admin:integrations_hl7message_changelist"), {"q": row.message_control_id})
    assert list(page.context["cl"].result_list) == [row]
    assert "PID-5" in page.content.decode()


def test_failed_messages_are_processed_again_in_their_order(chief: Client) -> None:
    peer = make_peer(unknown_patient="hold")
    first, second = take_in(pid("N1", "OLD^NAME")), take_in(pid("N1", "NEW^NAME"))
    rejected = take_in(pid("N1"), kind="ZZZ^Z01")
    assert first.state == second.state == MessageState.FAILED
    chosen = {"action": "process_again", "_selected_action": [str(each.pk) for each in (second, first, rejected)]}
    again = post(chief, "integrations_hl7message_changelist", chosen)
    assert any("2 messages failed again" in text for text in texts(again))
    peer.unknown_patient = "create"
    peer.save()
    done = post(chief, "integrations_hl7message_changelist", chosen)
    assert any("2 messages were processed" in text for text in texts(done))
    assert Patient.objects.get().patient_name == "NEW^NAME"
    first.refresh_from_db()
    assert (first.state, first.attempts, first.error) == (MessageState.PROCESSED, 3, "")
    rejected.refresh_from_db()
    assert rejected.state == MessageState.REJECTED


def test_messages_are_seen_by_administrators_of_their_own_site_only() -> None:
    make_peer()
    row = take_in(pid("N1"))
    page = reverse("admin:integrations_hl7message_change", args=[row.pk])
    here, there, desk = (
        make_user(name, site=site, is_staff=True) for name, site in (("a", None), ("b", make_site()), ("c", None))
    )
    for user in (here, there):
        user.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
    desk.groups.add(Group.objects.get(name=Role.DESK))
    assert signed_in(here).get(page).status_code == 200
    assert signed_in(there).get(page).status_code == 302
    assert signed_in(desk).get(page).status_code == 403


def test_messages_cannot_be_edited_or_deleted(chief: Client) -> None:
    make_peer()
    row = take_in(pid("N1"))
    assert chief.post(reverse("admin:integrations_hl7message_delete", args=[row.pk])).status_code == 403
    assert chief.post(reverse("admin:integrations_hl7message_change", args=[row.pk]), {}).status_code == 403


def test_peers_are_part_of_the_configuration_file() -> None:
    make_peer(addresses=["10.0.0.0/8"], sending_application="SIMRS")
    text = configuration.export(who=None)
    assert json.loads(text)["hl7_peers"][0]["addresses"] == ["10.0.0.0/8"]
    assert configuration.plan(text=text) == []
    Hl7Peer.objects.all().delete()
    configuration.apply(who=None, text=text)
    assert Hl7Peer.objects.get().admits("10.9.9.9")


def test_a_message_of_a_merged_patient_stays_with_whom_it_named() -> None:
    make_peer()
    kept, gone = take_in(pid("KEEP")), take_in(pid("GONE"))
    take_in(pid("KEEP"), "MRG|GONE", kind="ADT^A40")
    gone.refresh_from_db()
    assert gone.patient_ref is not None and gone.patient_ref.patient_id == "GONE"
    assert gone.patient_ref.merged_into == kept.patient_ref


def test_where_a_peer_receives_is_entered_and_what_cannot_be_is_refused(chief: Client) -> None:
    wants = {"sends_orders": "on", "sends_patients": "on"}
    post(chief, "integrations_hl7peer_add", form(**wants))
    post(chief, "integrations_hl7peer_add", form(**wants, destination_host="a host"))
    post(chief, "integrations_hl7peer_add", form(destination_host="simrs", destination_port="70000"))
    post(
        chief,
        "integrations_hl7peer_add",
        form(destination_host="simrs", sent_version="2.3", order_message="OMG^O19"),
    )
    assert not Hl7Peer.objects.exists()
    post(chief, "integrations_hl7peer_add", form(**wants, addresses="", destination_host="simrs"))
    post(chief, "integrations_hl7peer_add", form(**wants, name="2", addresses="", destination_host="other"))
    assert Hl7Peer.objects.count() == 2
    assert not Hl7Peer.objects.get(destination_host="simrs").admits("127.0.0.1")


def outgoing(peer: Hl7Peer, state: MessageState = MessageState.WAITING) -> Hl7Message:
    patient = make_patient()
    sent = queue.put(peer, patients.registered(peer, patient), patient=patient)
    Hl7Message.objects.filter(pk=sent.pk).update(state=state)
    return sent


def test_the_list_of_peers_says_how_much_waits_and_costs_the_same_however_much(
    chief: Client, django_assert_num_queries: Callable[[int], Any]
) -> None:
    peers = [
        make_peer(f"P{number}", addresses=[], destination_host="127.0.0.1", destination_port=1) for number in range(3)
    ]
    for state in (MessageState.WAITING, MessageState.FAILED, MessageState.DEAD, MessageState.PROCESSED):
        outgoing(peers[0], state)
    Hl7Peer.objects.filter(pk=peers[0].pk).update(
        unreachable_since=timezone.now(), destination_error="P0 does not answer.", next_try_at=timezone.now()
    )
    with django_assert_num_queries(6):
        page = chief.get(reverse("admin:integrations_hl7peer_changelist"))
    assert [peer.queue for peer in page.context["cl"].result_list] == [2, 0, 0]
    text = chief.get(reverse("admin:integrations_hl7peer_change", args=[peers[0].pk])).content.decode()
    assert "P0 does not answer." in text
    page = chief.get(reverse("admin:integrations_hl7message_changelist"), {"direction__exact": "out"})
    assert len(page.context["cl"].result_list) == 4


def test_a_peer_that_is_changed_or_chosen_is_tried_at_once(chief: Client) -> None:
    later = timezone.now() + timedelta(hours=1)
    fields = {"addresses": [], "destination_host": "127.0.0.1", "destination_port": 1, "sends_patients": True}
    peer = make_peer(**fields, next_try_at=later, unreachable_since=timezone.now())
    outgoing(peer)
    chosen = {"action": "try_now", "_selected_action": [str(peer.pk)]}
    assert any("are being sent" in text for text in texts(post(chief, "integrations_hl7peer_changelist", chosen)))
    peer.refresh_from_db()
    assert peer.next_try_at is None and peer.unreachable_since is None
    Hl7Peer.objects.update(next_try_at=later)
    changes = form(addresses="", destination_host="127.0.0.1", destination_port="2", sends_patients="on")
    post(chief, "integrations_hl7peer_change", changes, peer.pk)
    peer.refresh_from_db()
    assert (peer.destination_port, peer.next_try_at) == (2, None)


def test_what_was_given_up_is_sent_again_and_what_came_is_not(chief: Client) -> None:
    peer = make_peer(destination_host="127.0.0.1", unknown_patient="hold")
    came = take_in(pid("N1"))
    dead, waiting = outgoing(peer, MessageState.DEAD), outgoing(peer)
    chosen = {"_selected_action": [str(each.pk) for each in (came, dead, waiting)]}
    again = post(chief, "integrations_hl7message_changelist", {"action": "send_again", **chosen})
    assert any("1 message is being sent" in text for text in texts(again))
    post(chief, "integrations_hl7message_changelist", {"action": "give_up", **chosen})
    done = post(chief, "integrations_hl7message_changelist", {"action": "process_again", **chosen})
    assert any("1 message failed again" in text for text in texts(done))
    for message_, state in ((came, MessageState.FAILED), (dead, MessageState.DEAD), (waiting, MessageState.DEAD)):
        message_.refresh_from_db()
        assert message_.state == state
    page = chief.get(reverse("admin:integrations_hl7message_change", args=[dead.pk]))
    assert dead.message_control_id in page.content.decode()


def test_the_configuration_file_says_what_is_sent() -> None:
    make_peer(addresses=[], destination_host="simrs", sends_orders=True, sent_version="2.4", receiving_facility="RSUD")
    text = configuration.export(who=None)
    Hl7Peer.objects.all().delete()
    configuration.apply(who=None, text=text)
    peer = Hl7Peer.objects.get()
    assert (peer.destination_host, peer.sends_orders, peer.sent_version) == ("simrs", True, "2.4")
    assert configuration.plan(text=text) == []
