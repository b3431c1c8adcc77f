"""Associations: who is let in, what is negotiated, C-ECHO (PS3.8 9.3, PS3.7 D.3, PS3.4 Annex A)."""

import json
import re
import subprocess
from typing import Any

import pytest
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from pynetdicom import build_context, build_role
from pynetdicom.dimse_primitives import N_GET
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from pacs.models import ApplicationEntity
from radiology.models import AuditEvent
from tests.daemons import dimse_daemon, wait_until
from tests.factories import make_node
from tests.pacs.dimse_client import STUDY_ROOT_GET, associate, of_data_set, store, store_over
from tests.pacs.objects import ct

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STRICT: dict[str, Any] = {
    "DJANGO_SETTINGS_MODULE": "radiology.settings.base",
    "SINAR_SECRET_KEY": "for-this-test-alone-0123456789-abcdefghijklmnopqrstuvwxyz",
}


@pytest.fixture(autouse=True)
def _committed(committed_db):
    """Daemons see what tests write."""


@pytest.fixture(scope="module")
def strict_server(django_db_setup):
    """The daemon with the settings of a hospital: unknown callers are refused."""
    daemon = dimse_daemon(**STRICT).start()
    yield daemon
    daemon.stop()


def echo(port: int, **options) -> int | None:
    association = associate(port, [build_context(VERIFICATION)], **options)
    if not association.is_established:
        return None
    status = association.send_c_echo().Status
    association.release()
    return status


def rejection(port: int, **options) -> tuple[int, int, int] | None:
    return associate(port, [build_context(VERIFICATION)], **options).rejection


def test_echoscu_as_it_comes_is_answered(dimse_server, tool):
    subprocess.run([tool("echoscu"), "127.0.0.1", str(dimse_server.port)], check=True, timeout=20)


def test_two_processes_answer(dimse_server):
    assert len(dimse_server.pids) == 2

    def answered() -> set[int]:
        associations = []
        for _ in range(6):  # at the same time: a process that is busy leaves the next caller to the other
            associations.append(associate(dimse_server.port, [build_context(VERIFICATION)], calling="TWO"))
        for association in associations:
            assert association.send_c_echo().Status == 0
            association.release()
        lines = [json.loads(line) for line in dimse_server.output.splitlines() if "association_accepted" in line]
        return {line["process"] for line in lines if line["calling"] == "TWO"}

    wait_until(lambda: answered() == set(dimse_server.pids), seconds=20)


@pytest.mark.parametrize("called", ["MINIPACS", "MINIPACS_MWL", "ANY-SCP", "MINIPACS  "])
def test_every_title_of_ours_is_answered(dimse_server, called):
    assert echo(dimse_server.port, called=called) == 0


@pytest.mark.parametrize("called", ["minipacs", "OTHER"])
def test_a_title_that_is_not_ours_is_refused(dimse_server, called):
    assert rejection(dimse_server.port, called=called) == (1, 1, 7)


def test_any_scp_is_refused_unless_allowed(strict_server):
    make_node("CT1")
    assert rejection(strict_server.port, calling="CT1", called="ANY-SCP") == (1, 1, 7)


def test_an_unknown_caller_is_refused(strict_server):
    make_node("CT1")
    assert rejection(strict_server.port, calling="CT2") == (1, 1, 3)
    assert rejection(strict_server.port, calling="ct1") == (1, 1, 3)
    assert echo(strict_server.port, calling="CT1") == 0


def test_a_registered_title_from_another_address_is_refused_where_the_address_is_checked(dimse_server):
    make_node("CT1", host="192.0.2.7", check_address=True)
    assert rejection(dimse_server.port, calling="CT1") == (1, 1, 3)


def test_an_inactive_node_is_refused_even_where_unknown_callers_are_welcome(dimse_server):
    make_node("CT1", is_active=False)
    assert rejection(dimse_server.port, calling="CT1") == (1, 1, 3)


def test_devices_that_share_a_title_are_told_apart_by_address(dimse_server):
    make_node("CT1", host="192.0.2.7", may_store=True)
    make_node("CT1", host="localhost", may_store=False)
    sent = of_data_set(ct())
    assert store(dimse_server.port, [sent], calling="CT1") == {sent.sop_instance_uid: 0x0124}
    ApplicationEntity.objects.update(may_store=True)
    assert store(dimse_server.port, [sent], calling="CT1") == {sent.sop_instance_uid: 0x0000}


def test_what_a_node_may_not_do_is_not_authorised(dimse_server):
    make_node("CT1", may_store=False, may_query=False, may_retrieve=False)
    sent = of_data_set(ct())
    contexts = [build_context(uid) for uid in (STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_GET[:-1] + "2")]
    association = associate(
        dimse_server.port, [*contexts, build_context(CTImageStorage, ExplicitVRLittleEndian)], calling="CT1"
    )
    identifier = ct()[0x0020000D:0x0020000E]
    identifier.QueryRetrieveLevel = "STUDY"
    assert store_over(association, sent).Status == 0x0124
    assert [s.Status for s, _ in association.send_c_find(identifier, STUDY_ROOT_FIND)] == [0x0124]
    assert [s.Status for s, _ in association.send_c_get(identifier, STUDY_ROOT_GET)] == [0x0124]
    assert [s.Status for s, _ in association.send_c_move(identifier, "X", STUDY_ROOT_GET[:-1] + "2")] == [0x0124]
    association.release()
    assert AuditEvent.objects.filter(event="dicom.find", succeeded=False, address="127.0.0.1").count() == 1


def test_a_storage_context_gets_the_first_syntax_that_the_node_may_use(dimse_server):
    proposed = [ExplicitVRBigEndian, "1.2.3.4", JPEG2000Lossless, ExplicitVRLittleEndian]

    def accepted() -> list[str]:
        association = associate(dimse_server.port, [build_context(CTImageStorage, proposed)], calling="CT1")
        syntaxes = [str(context.transfer_syntax[0]) for context in association.accepted_contexts]
        association.release()
        return syntaxes

    node = make_node("CT1")
    assert accepted() == [JPEG2000Lossless]
    node.transfer_syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    node.save()
    assert accepted() == [ExplicitVRLittleEndian]
    node.transfer_syntaxes = [RLELossless]
    node.save()
    assert accepted() == []


def test_contexts_that_cannot_be_had_say_why(dimse_server):
    association = associate(
        dimse_server.port,
        [
            build_context(VERIFICATION),
            build_context("1.2.840.10008.5.1.4.34.6.1"),  # Unified Procedure Step, which is not ours
            build_context("1.2.840.10008.5.1.4.38.1"),  # Hanging Protocol Storage: of no study
            build_context("1.2.3.999", ["1.2.3.4.5"]),  # a private transfer syntax
            build_context("1.2.3.999", [JPEGBaseline8Bit]),
            build_context(STUDY_ROOT_FIND, [JPEGBaseline8Bit]),
        ],
    )
    results = {context.context_id: context.result for context in association.rejected_contexts}
    assert results == {3: 3, 5: 3, 7: 4, 11: 4}
    assert [context.context_id for context in association.accepted_contexts] == [1, 9]
    association.release()


def test_the_role_of_storage_provider_is_granted_for_storage_alone(dimse_server):
    roles = [build_role(uid, scp_role=True, scu_role=True) for uid in (CTImageStorage, VERIFICATION)]
    association = associate(
        dimse_server.port,
        [build_context(CTImageStorage, [ImplicitVRLittleEndian, ExplicitVRLittleEndian]), build_context(VERIFICATION)],
        ext_neg=roles,
    )
    granted = {context.abstract_syntax: context for context in association.accepted_contexts}
    assert granted[CTImageStorage].as_scp and granted[CTImageStorage].as_scu
    assert granted[CTImageStorage].transfer_syntax == [ExplicitVRLittleEndian]  # whatever is stored can be sent so
    assert not granted[VERIFICATION].as_scp
    association.release()


def test_relational_queries_and_combined_times_are_granted_and_nothing_else(dimse_server):
    wanted = SOPClassExtendedNegotiation()
    wanted.sop_class_uid = STUDY_ROOT_FIND
    wanted.service_class_application_information = b"\x01\x01\x01\x01\x01"
    association = associate(dimse_server.port, [build_context(STUDY_ROOT_FIND)], ext_neg=[wanted])
    assert association.acceptor.sop_class_extended[STUDY_ROOT_FIND] == b"\x01\x01\x00\x00\x00"
    association.release()


def test_an_operation_that_a_service_lacks_is_unrecognized(dimse_server):
    association = associate(dimse_server.port, [build_context(VERIFICATION)])
    request = N_GET()
    request.MessageID, request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = 1, VERIFICATION, "1.2.3"
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, 1)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert response.Status == 0x0211
    assert association.send_c_echo().Status == 0
    association.release()


def test_a_class_that_is_not_the_contexts_is_not_supported(dimse_server):
    association = associate(dimse_server.port, [build_context(CTImageStorage, ExplicitVRLittleEndian)])
    sent = of_data_set(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.4"))
    association.accepted_contexts[0].abstract_syntax = sent.sop_class_uid  # the client believes so
    assert store_over(association, sent).Status == 0x0122
    association.release()


def test_the_log_names_each_association_and_no_patient(dimse_server):
    before = len(dimse_server.output)
    sent = of_data_set(ct(PatientName="RAHASIA^NAMA", PatientID="MRN-RAHASIA"))
    store(dimse_server.port, [sent], calling="LOGTEST")
    wait_until(lambda: re.search("LOGTEST.*association_ended", dimse_server.output[before:]))
    said = dimse_server.output[before:]
    accepted = next(json.loads(line) for line in said.splitlines() if re.search("LOGTEST.*association_accepted", line))
    assert (accepted["calling"], accepted["called"], accepted["address"]) == ("LOGTEST", "MINIPACS", "127.0.0.1")
    assert accepted["process"] in dimse_server.pids
    assert "RAHASIA" not in said
