"""DIMSE-N messages (PS3.7 10): their command sets against those of pynetdicom, and a service of all of them."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, dimse_messages, dimse_primitives, evt

from pacs.dimse import data_sets, message
from pacs.dimse.acceptor import Acceptor
from pacs.dimse.connection import Connection
from pacs.dimse.message import CommandField, Status, normalized_request, response_to
from pacs.dimse.requestor import associate as request_association
from pacs.dimse.services import Answer, Operation, Request, Service
from pacs.models import ApplicationEntity
from radiology.errors import CannotUnderstand, Conflict, InvalidValue, NotAllowed, NotFound, OutOfResources, TooLarge
from tests.factories import make_node
from tests.pacs.dimse_client import associate

MPPS = "1.2.840.10008.3.1.2.3.3"
COMMITMENT = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.3.4.5"
PATIENT_NAME, PATIENT_ID = 0x00100010, 0x00100020

REQUESTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("N_EVENT_REPORT", {"EventTypeID": 2}, {"EventInformation": True}),
    ("N_GET", {"AttributeIdentifierList": [PATIENT_NAME, PATIENT_ID]}, {}),
    ("N_SET", {}, {"ModificationList": True}),
    ("N_ACTION", {"ActionTypeID": 1}, {"ActionInformation": True}),
    ("N_CREATE", {}, {"AttributeList": True}),
    ("N_DELETE", {}, {}),
]


def command_set(primitive: Any, kind: str) -> bytes:
    """The command set that pynetdicom makes of one of its primitives."""
    encoder = getattr(dimse_messages, kind)()
    encoder.primitive_to_message(primitive)
    first = next(iter(encoder.encode_msg(1, 16384)))
    return bytes(first.presentation_data_value_list[0][1][1:])


@pytest.mark.parametrize(("name", "fields", "data"), REQUESTS, ids=[name for name, _, _ in REQUESTS])
def test_requests_read_the_same_here_and_in_pynetdicom(name, fields, data):
    primitive = getattr(dimse_primitives, name)()
    primitive.MessageID = 7
    affected = name in ("N_EVENT_REPORT", "N_CREATE")
    for keyword, value in (("SOPClassUID", MPPS), ("SOPInstanceUID", INSTANCE)):
        setattr(primitive, ("Affected" if affected else "Requested") + keyword, value)
    for keyword, value in fields.items():
        setattr(primitive, keyword, value)
    for keyword in data:
        setattr(primitive, keyword, BytesIO(b"12"))
    raw = command_set(primitive, f"{name}_RQ")
    command = normalized_request(CommandField[f"{name}_RQ"], sop_class_uid=MPPS, sop_instance_uid=INSTANCE, **fields)
    kind = message.HAS_DATA_SET if data else message.NO_DATA_SET
    assert message.encode({**command, "MessageID": 7, "CommandDataSetType": kind}) == raw
    assert message.encode(message.decode(raw)) == raw


@pytest.mark.parametrize(("name", "fields", "data"), REQUESTS, ids=[name for name, _, _ in REQUESTS])
def test_responses_read_the_same_in_pynetdicom(name, fields, data):
    request = normalized_request(CommandField[f"{name}_RQ"], sop_class_uid=MPPS, sop_instance_uid=INSTANCE, **fields)
    response = response_to(
        {**request, "MessageID": 9}, Status.PROCESSING_FAILURE, {"ErrorID": 0xA710}, has_data_set=False
    )
    decoder = getattr(dimse_messages, f"{name}_RSP")()
    decoder.command_set = data_sets.decode(message.encode(response)[12:], ImplicitVRLittleEndian)
    decoder.data_set = BytesIO()
    primitive = decoder.message_to_primitive()
    assert primitive.MessageIDBeingRespondedTo == 9 and primitive.Status == 0x0110 and primitive.ErrorID == 0xA710
    assert primitive.AffectedSOPClassUID == MPPS and primitive.AffectedSOPInstanceUID == INSTANCE
    for keyword in ("ActionTypeID", "EventTypeID"):
        assert getattr(primitive, keyword, None) == fields.get(keyword)


# A service that answers every DIMSE-N operation, over a socket.

ERRORS: dict[str, Exception] = {
    "invalid": InvalidValue("No."),
    "forbidden": NotAllowed("No."),
    "unknown": NotFound("No."),
    "taken": Conflict("No."),
    "large": TooLarge("No."),
    "full": OutOfResources("No."),
    "nonsense": CannotUnderstand("No."),
    "broken": RuntimeError("No."),
}


class Echoing:
    """Answers with what it was asked; or fails as the data set's PatientID says."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Iterator[Answer]:
        self.asked.append(request)
        answer = Dataset()
        if request.command["CommandDataSetType"] != message.NO_DATA_SET:
            answer = request.data_set()
            if error := ERRORS.get(answer.get("PatientID", "")):
                raise error
        for tag in request.command.get("AttributeIdentifierList", []):
            answer.add_new(tag, "LO", "asked for")
        yield Answer(Status.SUCCESS, answer, {} if request.sop_instance_uid else {"AffectedSOPInstanceUID": "1.2.9"})


@contextmanager
def served(*services: Service) -> Iterator[int]:
    """A port where one association is served with these services."""
    reader, writer = os.pipe()

    def serve(listener: socket.socket) -> None:
        sock, address = listener.accept()
        header = sock.recv(6, socket.MSG_WAITALL)
        body = sock.recv(int.from_bytes(header[2:], "big"), socket.MSG_WAITALL)
        connection = Connection(sock, pdu_seconds=60)
        Acceptor(
            connection,
            address=address[0],
            services=services,
            stop=reader,
            idle_seconds=(60, 60),
            enter=lambda acceptor: True,
        ).serve(body)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        os.close(writer)
        thread.join(60)
        os.close(reader)


@pytest.fixture
def echoing(committed_db: None) -> Iterator[tuple[Echoing, Any]]:
    """That service, and pynetdicom's association with it."""
    handler = Echoing()
    fields = [field for field in CommandField if field.name.startswith("N_")]
    make_node("TEST")
    service = Service(sop_classes=frozenset({MPPS}), operations={field: Operation(handler) for field in fields})
    with served(service) as port:
        association = associate(port, [build_context(MPPS, ExplicitVRLittleEndian)])
        assert association.is_established
        yield handler, association
        association.release()


def attributes(**values: str) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


def test_every_operation_reaches_its_handler_and_its_answer_the_peer(echoing):
    handler, association = echoing
    sent = attributes(PatientName="SANTOSO^BUDI")
    answers = [
        association.send_n_create(sent, MPPS, INSTANCE),
        association.send_n_set(sent, MPPS, INSTANCE),
        association.send_n_action(sent, 3, MPPS, INSTANCE),
        association.send_n_event_report(sent, 4, MPPS, INSTANCE),
    ]
    for status, answer in answers:
        assert status.Status == 0 and answer.PatientName == "SANTOSO^BUDI"
    status, answer = association.send_n_get([PATIENT_NAME, PATIENT_ID], MPPS, INSTANCE)
    assert status.Status == 0 and answer.PatientID == "asked for"
    assert association.send_n_delete(MPPS, INSTANCE).Status == 0
    assert [request.sop_instance_uid for request in handler.asked] == [INSTANCE] * 6
    assert handler.asked[2].command["ActionTypeID"] == 3 and handler.asked[3].command["EventTypeID"] == 4


def test_whoever_creates_without_a_uid_is_told_the_uid(echoing):
    _, association = echoing
    commands: list[Dataset] = []
    association.bind(evt.EVT_DIMSE_RECV, lambda event: commands.append(event.message.command_set))
    status, _ = association.send_n_create(attributes(PatientName="A"), MPPS, None)
    assert status.Status == 0 and commands[0].AffectedSOPInstanceUID == "1.2.9"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("invalid", 0x0106),
        ("forbidden", 0x0124),
        ("unknown", 0x0112),
        ("taken", 0x0111),
        ("large", 0x0213),
        ("full", 0x0213),
        ("nonsense", 0x0110),
        ("broken", 0x0110),
    ],
)
def test_errors_become_statuses_that_dimse_n_knows(echoing, kind, expected):
    _, association = echoing
    assert association.send_n_set(attributes(PatientID=kind), MPPS, INSTANCE)[0].Status == expected
    if kind == "invalid":
        assert association.send_n_action(attributes(PatientID=kind), 1, MPPS, INSTANCE)[0].Status == 0x0115


def test_our_requests_carry_data_sets_both_ways(committed_db):
    """N-CREATE and N-GET that we ask of pynetdicom."""
    seen: list[Any] = []

    def on_create(event: Any) -> tuple[int, Dataset]:
        seen.append(event.attribute_list)
        return 0x0000, attributes(PatientID="made")

    def on_get(event: Any) -> tuple[int, Dataset]:
        return 0x0000, attributes(PatientID="kept")

    ae = AE(ae_title="PEER")
    ae.add_supported_context(MPPS)
    server: Any = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_CREATE, on_create), (evt.EVT_N_GET, on_get)]
    )
    node = ApplicationEntity(title="PEER", host="127.0.0.1", port=server.server_address[1])
    try:
        with request_association(node, [(MPPS, ExplicitVRLittleEndian)]) as association:
            context = association.contexts[1]
            sent = data_sets.encode(attributes(PatientName="SANTOSO^BUDI"), context.transfer_syntax)
            create = normalized_request(CommandField.N_CREATE_RQ, sop_class_uid=MPPS, sop_instance_uid=INSTANCE)
            assert association.call(context, create, sent)["Status"] == 0
            [(response, made)] = association.exchange(context, create, sent)
            assert data_sets.decode(made or b"", context.transfer_syntax).PatientID == "made"
            get = normalized_request(
                CommandField.N_GET_RQ,
                sop_class_uid=MPPS,
                sop_instance_uid=INSTANCE,
                AttributeIdentifierList=[PATIENT_ID],
            )
            [(response, kept)] = association.exchange(context, get, None)
            assert response["Status"] == 0
            assert data_sets.decode(kept or b"", context.transfer_syntax).PatientID == "kept"
    finally:
        server.shutdown()
    assert [each.PatientName for each in seen] == ["SANTOSO^BUDI"] * 2
