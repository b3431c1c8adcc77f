"""Serving one association: admission, then message after message until the peer or we end it.

Everything that surrounds a handler stands here once: the caller's rights, the database connection,
the step from error to status, the audit trail.
"""

import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any

import psycopg
import structlog
from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

from pacs.dimse import data_sets, negotiation, pdu
from pacs.dimse.association import Association, Context
from pacs.dimse.connection import Closed, Connection, ProtocolError, Released
from pacs.dimse.message import (
    RESPONSE,
    CommandField,
    Status,
    encode,
    is_pending,
    is_warning,
    response_to,
)
from pacs.dimse.pdu import AbortReason, AssociateAccept, AssociateRequest, Malformed, Rejection
from pacs.dimse.places import PLACES, Place, Way, limit_of
from pacs.dimse.refused_callers import note_refusal
from pacs.dimse.services import Answer, Operation, Request, Service
from pacs.dimse.statuses import status_of
from pacs.dimse.throttle import Direction, throttle_of
from pacs.dimse.trail import record
from pacs.models import ApplicationEntity, NodePriority
from radiology.dicom import is_uid
from radiology.errors import OutOfResources, RadiologyError

log = structlog.get_logger(__name__)

# A caller that moves nothing for this long may be cut when places are scarce: a registered node, another.
STALE_SECONDS = (30.0, 1.0)
SLOWEST = 1024  # bytes a second
# How long a caller waits for a place before it is told that there is none, and how often it looks.
PLACE_SECONDS = 1.5
LOOK_SECONDS = 0.1
# Of this process. The others are told at once.
MOST_WAITERS = 16
# A service that failed between messages is called again after so many seconds.
AFTER_FAILURE = 5.0

_waiters = threading.BoundedSemaphore(MOST_WAITERS)


class ServedAssociation(Association):
    """An association that a peer asked of us.

    `state` is for services: what they keep for as long as the association lasts.
    """

    def __init__(
        self,
        connection: Connection,
        contexts: dict[int, Context],
        *,
        request: AssociateRequest,
        accept: AssociateAccept,
        node: ApplicationEntity,
        address: str,
    ) -> None:
        super().__init__(connection, contexts)
        self.node = node
        self.address = address
        self.called_ae_title = request.called_ae_title
        self.calling_ae_title = request.calling_ae_title
        self.extended = dict(accept.extended)
        self.state: dict[str, Any] = {}
        services = {id(context.service): context.service for context in contexts.values()}
        self.services: list[Service] = [service for service in services.values() if service is not None]


class Acceptor:
    """One accepted connection, in a thread of its own: `serve` returns when it is over.

    `stop` is a descriptor that becomes readable when the daemon ends. `idle_seconds` is for registered
    nodes and for other callers. `enter` says whether this process has a place for an acceptor by now.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        address: str,
        services: Sequence[Service],
        stop: int,
        idle_seconds: tuple[float, float],
        enter: "Callable[[Acceptor], bool]",
    ) -> None:
        self.address = address
        self.is_known = False
        self.is_decided = False  # whether it is let in: only the farewell takes time from then on
        self.priority = NodePriority.NORMAL
        self._enter = enter
        self._place: Place | None = None
        self._connection = connection
        self._services = services
        self._stop = stop
        self._idle_seconds = idle_seconds
        self._since = time.monotonic()
        self._transferred_before = 0
        self._counts: Counter[str] = Counter()

    def is_stale(self, now: float) -> bool:
        """Whether it holds its place without using it: between messages, or with next to nothing moving."""
        elapsed = now - self._since
        moved = self._connection.transferred - self._transferred_before
        return (
            self._connection.is_waiting
            and elapsed > STALE_SECONDS[0 if self.is_known else 1]
            and moved < SLOWEST * elapsed
        )

    def cut(self) -> None:
        """End it from another thread."""
        self._connection.cut()

    def serve(self, body: bytes) -> None:
        """Answer the association request whose body this is, then the messages."""
        last = b""
        association: ServedAssociation | None = None
        try:
            association = self._admit(body)
            if association is not None:
                last = self._serve_messages(association)
        except Released:
            last = pdu.release_reply()
        except Closed:
            pass
        except ProtocolError as error:
            last = pdu.abort(error.reason)
            log.warning("association_aborted", address=self.address, why=error.what)
        except Exception as error:
            last = pdu.abort()
            log.exception("association_failed", address=self.address, exc_info=error)
        finally:
            if association is not None:
                self._end(association)
            connections.close_all()
            if self._place is not None:  # before the peer is told: its next association may follow at once
                PLACES.give_back(self._place)
            self._connection.close(last)

    def _admit(self, body: bytes) -> ServedAssociation | None:
        try:
            request = pdu.decode_request(body)
        except Malformed as error:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, str(error)) from None
        rejection = negotiation.refusal(request)
        node = None
        if rejection is None:
            try:
                node = negotiation.caller(request.calling_ae_title, self.address)
            except DatabaseError as error:
                log.error("association_without_database", address=self.address, exc_info=error)
                rejection = pdu.TEMPORARY_CONGESTION
            else:
                rejection = None if node is not None else pdu.CALLING_AE_TITLE_NOT_RECOGNIZED
        if node is not None:
            self.is_known, self.priority = node.pk is not None, NodePriority(node.priority)
            rejection = self._find_place(node)
        self.is_decided = True
        titles = {"calling": request.calling_ae_title, "called": request.called_ae_title}
        if rejection is not None or node is None:
            log.warning("association_rejected", address=self.address, reason=rejection and rejection.reason, **titles)
            self._connection.close(rejection.encode() if rejection else b"")
            if rejection is not None and (rejection.result == pdu.PERMANENT or node is not None):
                note_refusal(request, self.address, rejection)
            return None
        close_old_connections()
        accept, contexts = negotiation.negotiate(request, node, self._services)
        self._connection.incoming = throttle_of(node, Direction.RECEIVE)
        self._connection.outgoing = throttle_of(node, Direction.SEND)
        self._connection.respect(request.maximum_length)
        self._connection.send_pdu(accept.encode())
        log.info("association_accepted", address=self.address, contexts=len(contexts), node=node.pk, **titles)
        return ServedAssociation(
            self._connection, contexts, request=request, accept=accept, node=node, address=self.address
        )

    def _find_place(self, node: ApplicationEntity) -> Rejection | None:
        """Take one of the node's places and one of this process's. None, or why there is none."""
        close_old_connections()
        until = time.monotonic() + PLACE_SECONDS
        # A flood of others does not stand before a device's request while it waits.
        waits = self.priority is NodePriority.DEVICE
        has_turn = False
        try:
            while True:
                try:
                    if self._take_place(node):
                        return None
                except psycopg.Error as error:
                    log.error("association_without_database", address=self.address, exc_info=error)
                    return pdu.TEMPORARY_CONGESTION
                if not waits:
                    waits = has_turn = _waiters.acquire(blocking=False)
                if not waits or time.monotonic() >= until:
                    log.warning("association_limit_reached", address=self.address, node=node.pk)
                    return pdu.LOCAL_LIMIT_EXCEEDED
                time.sleep(LOOK_SECONDS)
        finally:
            if has_turn:
                _waiters.release()

    def _take_place(self, node: ApplicationEntity) -> bool:
        is_limited = limit_of(node, Way.FROM) > 0
        if is_limited and self._place is None:
            self._place = PLACES.take(node, Way.FROM)
        return (self._place is not None or not is_limited) and self._enter(self)

    def _serve_messages(self, association: ServedAssociation) -> bytes:
        """Until the peer releases, which is raised; or until we end it, with the PDU that is returned."""
        while True:
            self._mark()
            if not self._wait(association):
                return pdu.abort()
            self._mark()
            received = association.receive()
            if received is None:
                continue
            context_id, command = received
            context = association.contexts.get(context_id)
            if context is None:
                raise ProtocolError(AbortReason.INVALID_PARAMETER, "presentation context that was not accepted")
            if command["CommandField"] == CommandField.C_CANCEL_RQ:
                continue  # of an operation that was over before the cancel arrived
            if command["CommandField"] & RESPONSE:
                raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "a response to nothing")
            try:
                self._serve_message(Request(association, context, command))
            finally:
                close_old_connections()

    def _wait(self, association: ServedAssociation) -> bool:
        """Whether the peer begins a message in time. Meanwhile services do what they have to do between messages."""
        until = time.monotonic() + self._idle_seconds[0 if self.is_known else 1]
        while (left := until - time.monotonic()) > 0:
            found = self._connection.wait(seconds=min(left, self._when_idle(association)), stop=self._stop)
            if found is not False:
                return bool(found)
        return False

    def _when_idle(self, association: ServedAssociation) -> float:
        """In how many seconds the services want to be called again."""
        pauses = [math.inf]
        for service in association.services:
            if service.when_idle is None:
                continue
            try:
                pause = service.when_idle(association)
            except (Closed, ProtocolError):
                raise
            except Exception as error:
                log.error("association_idle_failed", address=self.address, exc_info=error)
                pause = AFTER_FAILURE
            finally:
                close_old_connections()
            if pause is not None:
                pauses.append(pause)
        return min(pauses)

    def _mark(self) -> None:
        self._since = time.monotonic()
        self._transferred_before = self._connection.transferred

    def _serve_message(self, request: Request) -> None:
        service = request.context.service
        assert service is not None
        operation = service.operations.get(request.command["CommandField"])
        status: int = Status.UNABLE_TO_PROCESS
        failure: Exception | None = None
        has_answered = False
        try:
            for other in request.association.services:
                if other is not service and other.before_others is not None:
                    other.before_others(request.association)
            with contextlib.closing(self._answers(request, operation)) as answers:
                for answer in answers:
                    if has_answered:
                        raise RuntimeError("an answer after the final one")
                    status = answer.status
                    has_answered = not is_pending(status)
                    self._send(request, answer)
            if not has_answered:
                raise RuntimeError("no final answer")
        except (Closed, ProtocolError):
            raise
        except Exception as error:
            failure = error
            if has_answered:
                log.exception("message_aftermath_failed", exc_info=error)
            else:
                answer = self._answer_to(error, request, operation)
                status = answer.status
                self._send(request, answer)
        finally:
            self._note(request, operation, status, failure)

    def _answers(self, request: Request, operation: Operation | None) -> Generator[Answer, None, None]:
        command = request.command
        named = command.get("AffectedSOPClassUID") or command.get("RequestedSOPClassUID")
        if operation is None:
            yield Answer(Status.UNRECOGNIZED_OPERATION)
        elif named and named != request.context.abstract_syntax:
            yield Answer(Status.SOP_CLASS_NOT_SUPPORTED)
        elif operation.right and not getattr(request.node, operation.right):
            yield Answer(Status.NOT_AUTHORISED)
        else:
            yield from operation.handler(request)

    def _answer_to(self, error: Exception, request: Request, operation: Operation | None) -> Answer:
        if not isinstance(error, RadiologyError):
            log.error("message_error", command=_name(request), exc_info=error)
        if isinstance(error, DatabaseError | MemoryError):
            error = OutOfResources("The database does not answer.")
        status = status_of(error, request.command["CommandField"])
        if isinstance(error, OutOfResources) and operation is not None and operation.out_of_resources is not None:
            status = operation.out_of_resources
        comment = error.message if isinstance(error, RadiologyError) else "Internal error"
        return Answer(status, fields={"ErrorComment": comment})

    def _send(self, request: Request, answer: Answer) -> None:
        request.drain()
        encoded = None
        if answer.data_set is not None:
            encoded = data_sets.encode(answer.data_set, request.context.transfer_syntax)
        command = response_to(request.command, answer.status, answer.fields, has_data_set=encoded is not None)
        context_id = request.context.context_id
        self._connection.send_message(context_id, encode(command), encoded, may_wait=answer.may_wait)

    def _note(self, request: Request, operation: Operation | None, status: int, failure: Exception | None) -> None:
        succeeded = status in (Status.SUCCESS, Status.CANCEL) or is_warning(status)
        self._counts[f"{_name(request)} {status:04X}"] += 1
        if not succeeded:
            log.warning(
                "message_failed",
                address=self.address,
                calling=request.association.calling_ae_title,
                command=_name(request),
                status=f"{status:04X}",
                kind=type(failure).__name__ if failure else None,
                sop_class_uid=request.context.abstract_syntax,
                sop_instance_uid=uid if is_uid(uid := request.sop_instance_uid) else None,
            )
        if operation is None or not operation.event:
            return
        studies = list(dict.fromkeys(request.study_instance_uids))
        record(
            request.association,
            event=operation.event,
            action=operation.action,
            study_instance_uid=studies[0] if len(studies) == 1 else "",
            succeeded=succeeded,
            detail={**request.detail, "status": f"{status:04X}", "studies": studies[:100]},
        )

    def _end(self, association: ServedAssociation) -> None:
        for service in association.services:
            if service.at_end is not None:
                try:
                    service.at_end(association)
                except Exception as error:
                    log.exception("association_end_failed", exc_info=error)
        log.info(
            "association_ended",
            address=self.address,
            calling=association.calling_ae_title,
            messages=dict(self._counts),
            bytes=self._connection.transferred,
        )


def _name(request: Request) -> str:
    return f"{request.command['CommandField']:04X}"
