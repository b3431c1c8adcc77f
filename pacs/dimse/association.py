"""An association once it stands, whichever side asked for it (PS3.7 7.4, PS3.8)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from pacs.dimse.connection import Connection, ProtocolError
from pacs.dimse.message import HAS_DATA_SET, NO_DATA_SET, RESPONSE, Command, CommandField, encode
from pacs.dimse.pdu import AbortReason, Role

if TYPE_CHECKING:
    from pacs.dimse.services import Service

DEFAULT_ROLE = Role(scu=True, scp=False)


@dataclass(frozen=True)
class Context:
    """An accepted presentation context. `role` is what the association's requestor may be."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    role: Role = DEFAULT_ROLE
    service: "Service | None" = None


class Association:
    """Messages over the accepted contexts. One thread serves it; of our own requests one is under way at a
    time, and of the peer's one (PS3.7 D.3.3.3).
    """

    def __init__(self, connection: Connection, contexts: Mapping[int, Context]) -> None:
        self.connection = connection
        self.contexts = contexts
        self._message_id = 0
        self._cancelled: set[int] = set()
        self._awaited: dict[int, tuple[int, Callable[[Command], object]]] = {}

    def call(
        self,
        context: Context,
        command: Command,
        data_set: bytes | BinaryIO | None = None,
        *,
        meanwhile: Callable[[], object] | None = None,
    ) -> Command:
        """Send a request, wait for its response and return that. A data set of the response is passed over.

        `meanwhile` is called between the two, while the peer works. It must not raise.
        """
        request = self._send(context, command, data_set)
        if meanwhile is not None:
            meanwhile()
        while True:
            received = self.receive()
            if received is None:
                continue
            context_id, response = received
            if response["CommandField"] == CommandField.C_CANCEL_RQ:
                self._cancelled.add(response.get("MessageIDBeingRespondedTo", 0))
                continue
            if (
                response["CommandField"] != command["CommandField"] | RESPONSE
                or response.get("MessageIDBeingRespondedTo") != request["MessageID"]
                or "Status" not in response
            ):
                raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "no response to the request in hand")
            self._pass_over(context_id, response)
            return response

    def begin(
        self,
        context: Context,
        command: Command,
        data_set: bytes | None,
        *,
        answered: Callable[[Command], object],
    ) -> None:
        """Send a request without waiting: `answered` gets the response, whenever the peer's messages are read.

        For what we ask of a peer between its own requests, which it may go on making meanwhile.
        """
        request = self._send(context, command, data_set)
        self._awaited[request["MessageID"]] = (command["CommandField"] | RESPONSE, answered)

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has sent C-CANCEL for the request in hand (PS3.7 9.3.2.3). Does not wait for it."""
        while message_id not in self._cancelled and self.connection.has_input():
            received = self.receive()
            if received is None:
                continue
            _, command = received
            if command["CommandField"] != CommandField.C_CANCEL_RQ:
                raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "a request while another is in hand")
            self._cancelled.add(command.get("MessageIDBeingRespondedTo", 0))
        return message_id in self._cancelled

    def _send(self, context: Context, command: Command, data_set: bytes | BinaryIO | None) -> Command:
        self._message_id = self._message_id % 0xFFFF + 1
        kind = NO_DATA_SET if data_set is None else HAS_DATA_SET
        request = {**command, "MessageID": self._message_id, "CommandDataSetType": kind}
        self.connection.send_message(context.context_id, encode(request), data_set)
        return request

    def receive(self) -> tuple[int, Command] | None:
        """The next command of the peer's, and its context; None when it was the response to what we began."""
        context_id, command = self.connection.receive_command()
        number = command.get("MessageIDBeingRespondedTo", 0)
        if number not in self._awaited or self._awaited[number][0] != command["CommandField"]:
            return context_id, command
        if "Status" not in command:
            raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "a response without status")
        self._pass_over(context_id, command)
        _, answered = self._awaited.pop(number)
        answered(command)
        return None

    def _pass_over(self, context_id: int, command: Command) -> None:
        if command.get("CommandDataSetType", NO_DATA_SET) != NO_DATA_SET:
            for _ in self.connection.data_set(context_id):
                pass
