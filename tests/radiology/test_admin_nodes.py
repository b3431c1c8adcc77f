"""C-ECHO from the admin, to nodes that answer, refuse, are silent or absent."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from pacs.admin.nodes import echo_all
from pacs.models import ApplicationEntity
from radiology.models import User
from tests.radiology.admin_client import PASSWORD, post, signed_in, superuser, texts

pytestmark = pytest.mark.django_db


@pytest.fixture
def answering(free_port: Callable[[], int]) -> Iterator[ApplicationEntity]:
    """A node that speaks DICOM and knows itself as CT1."""
    scp = AE(ae_title="CT1")
    scp.require_called_aet = True
    scp.add_supported_context(Verification)
    port = free_port()
    server = scp.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda event: 0)])
    assert server is not None
    yield ApplicationEntity.objects.create(title="CT1", host="127.0.0.1", port=port)
    server.shutdown()


@pytest.fixture
def silent() -> Iterator[ApplicationEntity]:
    """A node that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        yield ApplicationEntity.objects.create(title="MUTE", host="127.0.0.1", port=port)


def test_each_node_gets_a_message_with_its_answer(answering: ApplicationEntity, free_port: Callable[[], int]) -> None:
    wrong = ApplicationEntity.objects.create(title="MR1", host="127.0.0.1", port=answering.port)
    absent = ApplicationEntity.objects.create(title="GONE", host="127.0.0.1", port=free_port())
    chosen = [str(node.pk) for node in (answering, wrong, absent)]
    response = post(
        signed_in(superuser()),
        "pacs_applicationentity_changelist",
        {"action": "echo_selected", "_selected_action": chosen},
    )
    found = sorted(texts(response))
    assert found[0].startswith(f"CT1 (127.0.0.1:{answering.port}) answered in ")
    assert found[1] == f"GONE does not answer at 127.0.0.1 port {absent.port}."
    assert found[2].startswith("MR1 refuses the association")


def test_the_button_on_a_nodes_page(answering: ApplicationEntity) -> None:
    client = signed_in(superuser())
    address = f"/admin/pacs/applicationentity/{answering.pk}/"
    assert f'href="{address}echo/"' in client.get(f"{address}change/").content.decode()
    response = client.get(f"{address}echo/", follow=True)
    assert "answered in" in texts(response)[0]
    assert client.get("/admin/pacs/applicationentity/nothing/echo/").status_code == 404


def test_a_silent_node_does_not_hold_up_the_page_or_the_others(
    answering: ApplicationEntity, silent: ApplicationEntity
) -> None:
    started = time.monotonic()
    answers = echo_all([silent, answering], seconds=1.0)
    assert time.monotonic() - started < 3
    assert answers[silent.pk] == "MUTE has not answered within 1 seconds."
    assert isinstance(answers[answering.pk], float)


def test_who_may_only_look_sends_nothing(answering: ApplicationEntity) -> None:
    user = User.objects.create_user("watcher", password=PASSWORD, is_staff=True)
    client = signed_in(user)
    assert client.get(f"/admin/pacs/applicationentity/{answering.pk}/echo/").status_code == 403


def test_a_node_keeps_the_syntaxes_that_were_chosen(client: Client) -> None:
    chief = signed_in(superuser())
    post(
        chief,
        "pacs_applicationentity_add",
        {
            "title": "US1",
            "host": "10.0.0.9",
            "port": "104",
            "priority": "normal",
            "most_associations_from": "0",
            "most_associations_to": "0",
            "associations_per_transfer": "1",
            "receive_rate": "0",
            "send_rate": "2.5",
            "site": "1",
            "is_active": "on",
            "conflict_answer": "accept",
            "transfer_syntaxes": ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"],
        },
    )
    node = ApplicationEntity.objects.get()
    assert node.transfer_syntaxes == ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"]
    assert (
        "JPEG 2000 Image Compression (Lossless Only)"
        in chief.get(f"/admin/pacs/applicationentity/{node.pk}/change/").content.decode()
    )
