"""A DICOM peer made of bytes, for what no honest library would send."""

import socket
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.dimse import message, pdu
from pacs.dimse.pdu import AssociateRequest, PduType, ProposedContext, Role

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
DEFLATED = "1.2.840.10008.1.2.1.99"
ECHO, STORE, FIND, FIND_DEFLATED, STORE_DEFLATED, GET = 1, 3, 5, 7, 9, 11
CONTEXTS = (
    ProposedContext(ECHO, VERIFICATION, (ImplicitVRLittleEndian,)),
    ProposedContext(STORE, CTImageStorage, (ExplicitVRLittleEndian,)),
    ProposedContext(FIND, STUDY_ROOT_FIND, (ImplicitVRLittleEndian,)),
    ProposedContext(FIND_DEFLATED, STUDY_ROOT_FIND, (DEFLATED,)),
    ProposedContext(STORE_DEFLATED, CTImageStorage, (DEFLATED,)),
    ProposedContext(GET, STUDY_ROOT_GET, (ImplicitVRLittleEndian,)),
)


def request(calling: str = "RAW", called: str = "MINIPACS", *, provides: tuple[str, ...] = ()) -> bytes:
    """An association request that the daemon accepts; the caller will be provider of some SOP classes."""
    return AssociateRequest(
        called_ae_title=called,
        calling_ae_title=calling,
        maximum_length=16384,
        implementation_class_uid="1.2.3",
        contexts=CONTEXTS,
        roles={uid: Role(scu=True, scp=True) for uid in provides},
    ).encode()


def p_data(context_id: int, control: int, data: bytes) -> bytes:
    """A P-DATA PDU of one value; `control` 1 is a command, 2 the last fragment."""
    value = pdu.PDV_HEADER.pack(len(data) + 2, context_id, control) + data
    return pdu.HEADER.pack(PduType.P_DATA, len(value)) + value


def fragments(context_id: int, data: bytes, size: int = 100_000) -> bytes:
    """A data set as P-DATA PDUs."""
    parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    return b"".join(p_data(context_id, 2 * (number == len(parts)), part) for number, part in enumerate(parts, 1))


def command(field: int, sop_class: str, *, has_data: bool = True, **elements: Any) -> bytes:
    """An encoded command set."""
    return message.encode(
        {
            "AffectedSOPClassUID": sop_class,
            "CommandField": field,
            "MessageID": 1,
            "Priority": 0,
            "CommandDataSetType": 1 if has_data else 0x0101,
            **elements,
        }
    )


def store_request(sop_instance_uid: str, context_id: int = STORE) -> bytes:
    return p_data(context_id, 3, command(1, CTImageStorage, AffectedSOPInstanceUID=sop_instance_uid))


def find_request(context_id: int = FIND) -> bytes:
    return p_data(context_id, 3, command(0x20, STUDY_ROOT_FIND))


def data_set(elements: Mapping[int, bytes]) -> bytes:
    """Elements by tag in Implicit VR Little Endian."""
    encoded = b""
    for tag, value in sorted(elements.items()):
        padded = value + b" " * (len(value) % 2)
        encoded += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(padded)) + padded
    return encoded


class Peer:
    """A connected socket."""

    def __init__(self, port: int, *, seconds: float = 10.0) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def associate(self, **options: Any) -> Self:
        self.sock.sendall(request(**options))
        kind, _ = self.receive()
        assert kind == PduType.ASSOCIATE_AC
        return self

    def receive(self) -> tuple[int, bytes]:
        """The next PDU. ConnectionError when there is none."""
        kind, length = pdu.HEADER.unpack(self._exactly(6))
        return kind, self._exactly(length)

    def receive_command(self) -> dict[str, Any]:
        """The command set of the next message, which must be whole in one PDU."""
        kind, body = self.receive()
        assert kind == PduType.P_DATA, f"PDU type {kind}"
        assert body[5] & 1, "a data set"
        return message.decode(body[6:])

    def final_status(self) -> int:
        """The status of the first response that is not pending; data sets are passed over."""
        while True:
            kind, body = self.receive()
            assert kind == PduType.P_DATA, f"PDU type {kind}"
            if body[5] & 1 and not message.is_pending(status := message.decode(body[6:])["Status"]):
                return status

    def is_over(self, *, seconds: float) -> bool:
        """Whether the daemon ends this connection in time: rejected, aborted or just closed."""
        self.sock.settimeout(seconds)
        try:
            kind, _ = self.receive()
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return kind in (PduType.ABORT, PduType.ASSOCIATE_RJ)

    def echo(self) -> int:
        self.sock.sendall(p_data(ECHO, 3, command(0x30, VERIFICATION, has_data=False)))
        return self.receive_command()["Status"]

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            received = self.sock.recv(length - len(data))
            if not received:
                raise ConnectionError("the daemon closed the connection")
            data += received
        return data


def seconds_of_echo(port: int, calling: str = "CT1") -> float:
    """How long a modality waits for association and C-ECHO together."""
    begun = time.monotonic()
    with Peer(port) as peer:
        assert peer.associate(calling=calling).echo() == 0
    return time.monotonic() - begun


def memory(pids: Iterable[int]) -> int:
    """The largest resident size that any of the processes has had, in bytes."""
    peaks = []
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                peaks.append(int(line.split()[1]) * 1024)
    return max(peaks)
