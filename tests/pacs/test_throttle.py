"""Limits of nodes: associations at once, bytes a second, and who goes first. pynetdicom is the peer."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import build_context

from pacs.dimse.throttle import MEGABYTE, PURCHASE_SECONDS
from pacs.models import ApplicationEntity, Instance, Location, NodePriority
from pacs.services import store as store_service
from pacs.services.store import Source, receive_part10, store_instance
from radiology.models import AuditEvent
from tests.daemons import Daemon, dimse_daemon, wait_until
from tests.factories import make_node
from tests.flows.raw_dicom import STORE, Peer, p_data, request, store_request
from tests.pacs.dimse_client import associate, of_data_set, store
from tests.pacs.objects import ct, part10
from tests.parallel import at_once

VERIFICATION = "1.2.840.10008.1.1"
NO_PLACE = (2, 3, 2)  # transient, by the presentation service, local limit exceeded (PS3.8 Table 9-21)


@pytest.fixture(autouse=True)
def _committed(committed_db):
    """Daemons see what tests write."""


@pytest.fixture(scope="module")
def narrow_server(django_db_setup) -> Iterator[Daemon]:
    """One process with ten places, which counts a PDU as lost after a second."""
    daemon = dimse_daemon(
        SINAR_DIMSE_WORKERS="1", SINAR_DIMSE_MAX_ASSOCIATIONS="10", SINAR_DIMSE_PDU_SECONDS="1"
    ).start()
    yield daemon
    daemon.stop()


def begin(port: int, calling: str) -> Any:
    return associate(port, [build_context(VERIFICATION)], calling=calling)


@contextlib.contextmanager
def flood(port: int, calling: str) -> Iterator[list[Any]]:
    """As many associations as the daemon gives this caller."""
    held = []
    try:
        while (association := begin(port, calling)).is_established:
            held.append(association)
        assert association.rejection == NO_PLACE
        yield held
    finally:
        for each in held:
            each.abort()


# Associations


def test_one_more_than_a_node_may_have_is_refused_for_the_moment(dimse_server):
    node = make_node("MIGRATE", most_associations_from=2)
    held = [begin(dimse_server.port, "MIGRATE") for _ in range(2)]
    assert all(each.is_established for each in held)
    assert begin(dimse_server.port, "MIGRATE").rejection == NO_PLACE
    assert [each.send_c_echo().Status for each in held] == [0, 0], "the others are not harmed"
    event = AuditEvent.objects.get(event="dicom.refused")
    assert (event.detail["calling"], event.detail["source"], event.detail["reason"]) == ("MIGRATE", 3, 2)
    held[0].release()
    again = begin(dimse_server.port, "MIGRATE")
    assert again.is_established, "a place that was left is taken"
    ApplicationEntity.objects.filter(pk=node.pk).update(most_associations_from=0)
    more = [begin(dimse_server.port, "MIGRATE") for _ in range(3)]
    assert all(each.is_established for each in more), "0: no limit"
    for each in (held[1], again, *more):
        each.release()


def test_a_device_whose_associations_follow_one_another_is_never_refused(dimse_server):
    make_node("CT1", most_associations_from=1)
    for _ in range(5):
        association = begin(dimse_server.port, "CT1")
        assert association.is_established
        association.release()


def test_worker_processes_that_are_killed_give_up_the_places(dimse_server):
    make_node("MIGRATE", most_associations_from=2)
    held = [begin(dimse_server.port, "MIGRATE") for _ in range(2)]
    assert all(each.is_established for each in held)
    before = dimse_server.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(dimse_server.pids) == 2 and not set(before) & set(dimse_server.pids))
    with flood(dimse_server.port, "MIGRATE") as again:
        assert len(again) == 2


def test_a_flood_of_bulk_associations_leaves_places_to_others_and_more_to_devices(narrow_server):
    make_node("MIGRATE", priority=NodePriority.BULK)
    make_node("WS1")
    make_node("CT1", priority=NodePriority.DEVICE)
    port, emergency = narrow_server.port, of_data_set(ct())
    with flood(port, "MIGRATE") as bulk:
        with flood(port, "WS1") as normal:
            assert (len(bulk), len(normal)) == (8, 1)
            assert store(port, [emergency], calling="CT1") == {emergency.sop_instance_uid: 0}
        assert [each.send_c_echo().Status for each in bulk] == [0] * 8
    assert Instance.objects.get().sop_instance_uid == emergency.sop_instance_uid


def test_requests_that_find_no_place_do_not_stand_before_that_of_a_device(narrow_server):
    make_node("MIGRATE", priority=NodePriority.BULK)
    make_node("CT1", priority=NodePriority.DEVICE)
    port, emergency = narrow_server.port, of_data_set(ct())
    with flood(port, "MIGRATE"), contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(Peer(port)).sock.sendall(request(calling="MIGRATE"))
        assert store(port, [emergency], calling="CT1") == {emergency.sop_instance_uid: 0}


# Bytes a second


def test_what_a_node_sends_is_taken_no_faster_than_its_limit_by_all_processes_together(dimse_server):
    rate, senders = 1.0, 3
    make_node("MIGRATE", receive_rate=rate)
    objects = [of_data_set(ct(side=512)) for _ in range(2 * senders)]
    began = time.monotonic()
    at_once(lambda n: store(dimse_server.port, objects[2 * n : 2 * n + 2], calling="MIGRATE"), threads=senders)
    seconds = time.monotonic() - began
    size = sum(len(each.data) for each in objects)
    # Each process may have bought a portion, and each association is paid for when it has passed.
    burst = (2 + senders) * PURCHASE_SECONDS * rate * MEGABYTE
    assert size > 3 * MEGABYTE and size <= rate * MEGABYTE * seconds + burst
    assert Location.objects.count() == len(objects)
    assert all(bytes(each.sha256).hex() in {sent.sha256 for sent in objects} for each in Location.objects.all())


def test_a_node_that_is_slowed_down_is_not_taken_for_one_that_hangs(narrow_server):
    make_node("MIGRATE", receive_rate=0.25)
    sent = of_data_set(ct(side=512))  # two seconds, where a PDU may last one
    assert store(narrow_server.port, [sent], calling="MIGRATE") == {sent.sop_instance_uid: 0}


def test_other_nodes_are_not_slowed_down_with_it(dimse_server):
    make_node("MIGRATE", receive_rate=0.01)
    make_node("CT1")
    quick = [of_data_set(ct(side=512)) for _ in range(3)]
    with Peer(dimse_server.port) as slow:
        slow.associate(calling="MIGRATE")
        slow.sock.sendall(store_request("1.2.3") + p_data(STORE, 0, bytes(200_000)))
        assert set(store(dimse_server.port, quick, calling="CT1").values()) == {0}
    assert {each.sop_instance_uid for each in Instance.objects.all()} == {each.sop_instance_uid for each in quick}


# Who goes first


def test_an_object_of_a_device_is_in_the_next_batch_however_many_wait(monkeypatch):
    monkeypatch.setattr(store_service, "BATCH", 4)
    bulk = Source.of_node(make_node("MIGRATE", priority=NodePriority.BULK))
    device = Source.of_node(make_node("CT1", priority=NodePriority.DEVICE))

    def keep(source: Source, uid: str) -> None:
        with receive_part10(source=source) as incoming:
            incoming.write(part10(ct(side=8, SOPInstanceUID=uid)))
            store_instance(received=incoming.finish())

    uids = [f"1.2.3.{number}" for number in range(9)]
    with store_service._leading:
        threads = [threading.Thread(target=keep, args=(bulk, uid)) for uid in uids[:8]]
        for thread in threads:
            thread.start()
        wait_until(lambda: sum(map(len, store_service._line._waiting.values())) == 8)
        threads.append(threading.Thread(target=keep, args=(device, uids[8])))
        threads[-1].start()
        wait_until(lambda: sum(map(len, store_service._line._waiting.values())) == 9)
    for thread in threads:
        thread.join()
    order = list(Location.objects.order_by("id").values_list("instance_ref__sop_instance_uid", flat=True))
    assert len(order) == 9 and uids[8] in order[:4]
