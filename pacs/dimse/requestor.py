"""Associations that we ask for: to verify a node, to search it, to send it objects or get them."""

import contextlib
import math
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import psycopg
from django.conf import settings

from pacs.dimse import pdu
from pacs.dimse.association import DEFAULT_ROLE, Association, Context
from pacs.dimse.connection import MAXIMUM_LENGTH, Closed, Connection, ProtocolError, TooSlow
from pacs.dimse.message import (
    NO_DATA_SET,
    RESPONSE,
    Command,
    CommandField,
    Status,
    encode,
    is_pending,
    response_to,
)
from pacs.dimse.pdu import AbortReason, AssociateRequest, ContextResult, Malformed, PduType, ProposedContext, Role
from pacs.dimse.places import PLACES, Place, Way, given_back, limit_of
from pacs.dimse.services import LARGEST_IDENTIFIER
from pacs.dimse.throttle import Direction, throttle_of
from pacs.models import ApplicationEntity
from pacs.services.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from radiology.errors import Busy, OutOfResources, Unreachable

CONNECT_SECONDS = 10.0
# A peer may think about a request, or about what it has been sent, for this long.
ANSWER_SECONDS = 60.0
# For a place among the associations that a node may be asked for, unless somebody has more patience.
PLACE_SECONDS = 2.0
LOOK_SECONDS = 0.25
# To end an association in order, and to call off what was asked for.
RELEASE_SECONDS = 5.0
MOST_CONTEXTS = 128
REJECTIONS = {
    (1, 7): "it does not know the AE title that we call it by",
    (1, 3): "it does not know our AE title",
    (3, 2): "it has no place for another association",
}
TRANSIENT = 2


Response = tuple[Command, bytes | None]
# Takes in the data set of a request that the peer makes meanwhile; the status and fields to answer with.
Serve = Callable[[Context, Command, Iterator[memoryview]], tuple[int, Mapping[str, object]]]


class RequestedAssociation(Association):
    """An association that we asked for. That it ends, or goes wrong, is Unreachable."""

    def __init__(self, connection: Connection, contexts: Mapping[int, Context], title: str) -> None:
        super().__init__(connection, contexts)
        self.title = title

    def call(
        self,
        context: Context,
        command: Command,
        data_set: bytes | BinaryIO | None = None,
        *,
        meanwhile: Callable[[], object] | None = None,
    ) -> Command:
        with _told(self.title):
            return super().call(context, command, data_set, meanwhile=meanwhile)

    def exchange(
        self, context: Context, command: Command, data_set: bytes | None, *, serve: Serve | None = None
    ) -> Generator[Response, None, None]:
        """Send a request; its responses and their data sets, the last one not pending.

        C-STORE requests that arrive meanwhile go to `serve`. An iterator that is closed early, or ended by
        what `serve` or the connection's beat raises, calls the operation off (C-CANCEL, PS3.7 9.3.2.3).
        """
        with _told(self.title):
            request = self._send(context, command, data_set)
        response: Response | None = None
        try:
            while response is None or is_pending(response[0]["Status"]):
                if response is not None:
                    yield response
                with _told(self.title):
                    response = self._next_response(context, request, serve)
        except Unreachable:
            raise
        except BaseException:
            self._call_off(context, request)
            raise
        yield response

    def _next_response(self, context: Context, request: Command, serve: Serve | None) -> Response | None:
        """None when what came was a request, which is answered now."""
        context_id, command = self.connection.receive_command()
        has_data_set = command.get("CommandDataSetType", NO_DATA_SET) != NO_DATA_SET
        if command["CommandField"] == CommandField.C_STORE_RQ and serve is not None:
            storage = self.contexts.get(context_id)
            if storage is None or not has_data_set:
                raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "a C-STORE request that nobody can take")
            data_set = self.connection.data_set(context_id)
            status, fields = serve(storage, command, data_set)
            for _ in data_set:
                pass
            self.connection.send_message(context_id, encode(response_to(command, status, fields, has_data_set=False)))
            return None
        if (
            context_id != context.context_id
            or command["CommandField"] != request["CommandField"] | RESPONSE
            or command.get("MessageIDBeingRespondedTo") != request["MessageID"]
            or "Status" not in command
        ):
            raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "no response to the request in hand")
        return command, self._data_set(context_id) if has_data_set else None

    def _data_set(self, context_id: int) -> bytes:
        data = bytearray()
        for block in self.connection.data_set(context_id):
            data += block
            if len(data) > LARGEST_IDENTIFIER:
                raise ProtocolError(AbortReason.INVALID_PARAMETER, "a data set that is too large")
        return bytes(data)

    def _call_off(self, context: Context, request: Command) -> None:
        """C-CANCEL, and what the peer still sends until it has understood; a few seconds of that."""
        self.connection.beat = None
        self.connection.until = time.monotonic() + RELEASE_SECONDS
        cancel: Command = {
            "CommandField": CommandField.C_CANCEL_RQ,
            "MessageIDBeingRespondedTo": request["MessageID"],
            "CommandDataSetType": NO_DATA_SET,
        }
        with contextlib.suppress(Closed, ProtocolError):
            self.connection.send_message(context.context_id, encode(cancel))
            while True:
                response = self._next_response(context, request, _refuse)
                if response is not None and not is_pending(response[0]["Status"]):
                    return


def _refuse(context: Context, command: Command, data_set: Iterator[memoryview]) -> tuple[int, Mapping[str, object]]:
    return Status.OUT_OF_RESOURCES, {}


@contextmanager
def associate(
    node: ApplicationEntity,
    contexts: Iterable[tuple[str, str | tuple[str, ...]]],
    *,
    roles: Mapping[str, Role] | None = None,
    beat: Callable[[], object] | None = None,
    seconds: float = math.inf,
    calling: str = "",
    patience: float = PLACE_SECONDS,
) -> Iterator[RequestedAssociation]:
    """An association with `node` for pairs of SOP class and transfer syntax (or several), released at the end.

    At most 128 pairs, each of which gets a context of its own. `roles` are proposed by SOP class
    (PS3.7 D.3.3.4). `beat` is called at least every half second of waiting, and may raise to end it;
    nothing waits longer than `seconds` altogether. `calling` is the title of ours that we call by.
    `patience` is how long to wait when the node has all the associations that it may have.
    Raises Unreachable when the node does not answer, refuses, or ends the association; Busy when it has
    no place for it.
    """
    proposed = tuple(
        ProposedContext(2 * number + 1, sop_class, (syntaxes,) if isinstance(syntaxes, str) else syntaxes)
        for number, (sop_class, syntaxes) in enumerate(contexts)
    )
    with given_back(_place(node, min(patience, seconds), beat)):
        yield from _associate(node, proposed, roles or {}, beat, seconds, calling)


def _place(node: ApplicationEntity, patience: float, beat: Callable[[], object] | None) -> Place | None:
    """One of the node's places, waited for; None where there is no limit. Raises Busy, OutOfResources."""
    if not limit_of(node, Way.TO):
        return None
    until = time.monotonic() + patience
    while True:
        try:
            place = PLACES.take(node, Way.TO)
        except psycopg.Error as error:
            raise OutOfResources("The database does not answer.") from error
        if place is not None:
            return place
        if time.monotonic() >= until:
            raise Busy(
                f"{node.title} has as many associations with us as it may have at once "
                f"({limit_of(node, Way.TO)}): the next one waits."
            )
        if beat is not None:
            beat()
        time.sleep(LOOK_SECONDS)


def _associate(
    node: ApplicationEntity,
    proposed: Sequence[ProposedContext],
    roles: Mapping[str, Role],
    beat: Callable[[], object] | None,
    seconds: float,
    calling: str,
) -> Iterator[RequestedAssociation]:
    until = time.monotonic() + seconds
    connection = Connection(_connect(node, min(seconds, CONNECT_SECONDS)), pdu_seconds=ANSWER_SECONDS)
    connection.beat, connection.until = beat, until
    connection.incoming = throttle_of(node, Direction.RECEIVE)
    connection.outgoing = throttle_of(node, Direction.SEND)
    last = pdu.abort()
    try:
        with _told(node.title):
            association = _negotiate(connection, node, {each.context_id: each for each in proposed}, roles, calling)
        yield association
        # What was asked for is over: how the peer takes its leave changes nothing.
        with contextlib.suppress(Closed, ProtocolError):
            connection.beat, connection.until = None, time.monotonic() + RELEASE_SECONDS
            connection.send_pdu(pdu.release_request())
            connection.receive_pdu(largest=pdu.LARGEST_ASSOCIATE)
        last = b""
    finally:
        connection.close(last)


@contextmanager
def _told(title: str) -> Iterator[None]:
    """What ends a connection, as Unreachable."""
    try:
        yield
    except TooSlow as error:
        raise Unreachable(f"{title} does not answer in time.") from error
    except Closed as error:
        raise Unreachable(f"{title} ended the association.") from error
    except ProtocolError as error:
        raise Unreachable(f"{title} does not keep to the protocol: {error.what}.") from error


def _connect(node: ApplicationEntity, seconds: float) -> socket.socket:
    try:
        sock = socket.create_connection((node.host, node.port), timeout=seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not node.tls:
            return sock
        try:
            return _tls_context().wrap_socket(sock, server_hostname=node.host)
        except BaseException:
            sock.close()
            raise
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(f"The certificate of {node.title} is not trusted: {error.verify_message}.") from error
    except (OSError, UnicodeError, ssl.SSLError) as error:
        raise Unreachable(f"{node.title} does not answer at {node.host} port {node.port}.") from error


def _tls_context() -> ssl.SSLContext:
    """PS3.15 B.12: certificates are verified; ours is shown when the deployment has one."""
    context = ssl.create_default_context(cafile=settings.DIMSE["TLS_CA"] or None)
    if settings.DIMSE["TLS_CERTIFICATE"]:
        context.load_cert_chain(settings.DIMSE["TLS_CERTIFICATE"])
    return context


def _negotiate(
    connection: Connection,
    node: ApplicationEntity,
    proposed: Mapping[int, ProposedContext],
    roles: Mapping[str, Role],
    calling: str,
) -> RequestedAssociation:
    request = AssociateRequest(
        called_ae_title=node.title,
        calling_ae_title=calling or settings.DIMSE["AE_TITLE"],
        maximum_length=MAXIMUM_LENGTH,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        contexts=tuple(proposed.values()),
        roles=roles,
    )
    connection.send_pdu(request.encode())
    kind, body = connection.receive_pdu(largest=pdu.LARGEST_ASSOCIATE)
    if kind == PduType.ASSOCIATE_RJ:
        why = REJECTIONS.get((body[2], body[3]), f"source {body[2]}, reason {body[3]}") if len(body) >= 4 else ""
        kind_of_error = Busy if len(body) >= 2 and body[1] == TRANSIENT else Unreachable
        raise kind_of_error(f"{node.title} refuses the association: {why}.")
    if kind != PduType.ASSOCIATE_AC:
        raise Unreachable(f"{node.title} does not answer the association request.")
    try:
        accept = pdu.decode_accept(body)
    except Malformed as error:
        raise Unreachable(f"{node.title} answers the association request with nonsense.") from error
    connection.respect(accept.maximum_length)
    accepted = {
        answer.context_id: Context(
            answer.context_id,
            proposed[answer.context_id].abstract_syntax,
            answer.transfer_syntax,
            accept.roles.get(proposed[answer.context_id].abstract_syntax, DEFAULT_ROLE),
        )
        for answer in accept.contexts
        if answer.result == ContextResult.ACCEPTED
        and answer.context_id in proposed
        and answer.transfer_syntax in proposed[answer.context_id].transfer_syntaxes
    }
    return RequestedAssociation(connection, accepted, node.title)
