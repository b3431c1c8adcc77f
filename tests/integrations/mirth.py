"""Mirth Connect and Open Integration Engine on the wire, as their source has it; nothing of it runs here.

Read of nextgenhealthcare/connect: connectors/tcp/TcpDispatcher.java and TcpReceiver.java,
plugins/datatypes/hl7v2/HL7v2ResponseValidator.java, HL7v2AutoResponder.java, HL7v2ACKGenerator.java.
"""

import re
import socket
from collections import deque
from pathlib import Path
from xml.etree import ElementTree

from tests.integrations.mllp_client import MllpClient, framed


class Channel:
    """A channel as exported. `source` and `destination` are the settings of its connectors, by name."""

    def __init__(self, file: Path) -> None:
        self.root = ElementTree.parse(file).getroot()
        source, destination = self.root.find("sourceConnector"), self.root.find("destinationConnectors/connector")
        assert source is not None and destination is not None
        self.connectors = (source, destination)
        self.transports = tuple(each.findtext("transportName") for each in self.connectors)
        self.source, self.destination = (_settings(each) for each in self.connectors)

    def scripts(self) -> str:
        return "\n".join(each.text or "" for each in self.root.iter("script"))

    def words(self, name: str) -> set[str]:
        """The words of the list that a script gives a name, or asks with indexOf."""
        found = re.search(rf"{name}\[([^\]]*)\]", self.scripts())
        assert found is not None
        return set(re.findall(r"'(\w+)'", found[1]))


def _settings(connector: ElementTree.Element) -> dict[str, str]:
    properties = connector.find("properties")
    assert properties is not None
    return {each.tag: each.text or "" for each in properties.iter() if not len(each)}


class TcpSender:
    """A destination with a queue: one connection kept open, one message after the other.

    `sent` and `failed` are the control IDs with that status; a message without an answer stays first in the queue.
    """

    def __init__(self, port: int, *, response_timeout: float = 30.0) -> None:
        self.port = port
        self.response_timeout = response_timeout
        self.queue: deque[bytes] = deque()
        self.sent: list[str] = []
        self.failed: dict[str, str] = {}
        self.connections = 0
        self._client: MllpClient | None = None

    def work(self, *, attempts: int = 1) -> None:
        """Send what is queued; a message may be tried so many times."""
        while self.queue and attempts:
            status, why = self._send(self.queue[0])
            if status == "QUEUED":
                attempts -= 1
                continue
            message = self.queue.popleft()
            if status == "SENT":
                self.sent.append(control_id(message))
            else:
                self.failed[control_id(message)] = why

    def close(self) -> None:
        if self._client is not None:
            self._client.socket.close()
            self._client = None

    def _send(self, message: bytes) -> tuple[str, str]:
        if self._client is not None and self._remote_side_has_closed(self._client):
            self.close()
        if self._client is None:
            self._client = MllpClient(self.port)
            self.connections += 1
        self._client.socket.settimeout(self.response_timeout)
        try:
            self._client.send(framed(message))
            answer = self._client.receive().raw.decode()
        except OSError as error:
            self.close()
            return "QUEUED", str(error)
        return validated(answer, control_id(message))

    @staticmethod
    def _remote_side_has_closed(client: MllpClient) -> bool:
        client.socket.setblocking(False)
        try:
            return client.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            client.socket.setblocking(True)


def validated(answer: str, original: str) -> tuple[str, str]:
    """What becomes of a message by its answer, with the standard codes of a channel."""
    at = answer.find("\rMSA")
    if at < 0:
        return "QUEUED", "Invalid HL7 v2.x acknowledgement received."
    msa = answer[at + 5 :].split("\r")[0].split(answer[at + 4])
    if msa[0][:2] in {"AR", "CR", "AE", "CE"}:
        return "ERROR", msa[2] if len(msa) > 2 else ""
    if msa[0][:2] not in {"AA", "CA"}:
        return "QUEUED", "Invalid HL7 v2.x acknowledgement received."
    said = msa[1] if len(msa) > 1 else ""
    return ("SENT", "") if said == original else ("ERROR", f"Message control Ids do not match. {original} {said}")


def control_id(message: bytes) -> str:
    return message.split(b"\r")[0].split(b"|")[9].decode()


def generated_ack(message: str, code: str = "AA", text: str = "", at: str = "20260125083000.123") -> str:
    """The answer that a listener generates; its own control ID is the time."""
    field = [each.split("^")[0] for each in message.split("\r")[0].split("|")]
    kind, version = message.split("|")[8].split("^"), field[11] or "2.4"
    event = f"^{kind[1] if len(kind) > 1 else ''}^ACK" if int(version.split(".")[1]) > 3 else ""
    first = f"MSH|^~\\&|{field[4] or 'MIRTH'}|{field[5]}|{field[2]}|{field[3]}|{at}||ACK{event}|{at}|P|{version}"
    return f"{first}\rMSA|{code}|{field[9] or '1'}{'|' + text if text else ''}\r"
