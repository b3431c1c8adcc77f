"""What we ask of other nodes: C-ECHO, and C-STORE of archived objects (PS3.4 Annexes A and B)."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.dimse.association import Association, Context
from pacs.dimse.message import Command, CommandField, Status
from pacs.dimse.requestor import associate
from pacs.dimse.verification import VERIFICATION
from pacs.models import ApplicationEntity, Location, VolumeKind
from pacs.services.outgoing import can_send, is_corrected, open_outgoing
from radiology.errors import NotAcceptable, Unreachable

MEDIUM_PRIORITY = 0
IN_MEMORY = 4 * 1024 * 1024


def echo(*, node: ApplicationEntity) -> None:
    """Ask `node` whether it answers. Raises Unreachable, whose text says why not."""
    with associate(node, [(VERIFICATION, ImplicitVRLittleEndian)]) as association:
        context = next(iter(association.contexts.values()), None)
        if context is None:
            raise Unreachable(f"{node.title} does not offer verification (C-ECHO).")
        command: Command = {
            "AffectedSOPClassUID": VERIFICATION,
            "CommandField": CommandField.C_ECHO_RQ,
        }
        status = association.call(context, command)["Status"]
    if status != Status.SUCCESS:
        raise Unreachable(f"{node.title} answers C-ECHO with status {status:04X}.")


def contexts_for(objects: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """For each SOP class of pairs of SOP class and stored syntax: the contexts to propose for it.

    Each syntax gets a context of its own, so that what the receiver cannot take as stored it may
    take uncompressed.
    """
    syntaxes: dict[str, list[str]] = {}
    for sop_class, stored in objects:
        syntaxes.setdefault(sop_class, []).append(stored)
    for sop_class, stored_ones in syntaxes.items():
        wanted = dict.fromkeys([*stored_ones, ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        yield sop_class, [(sop_class, str(syntax)) for syntax in wanted]


class Sender:
    """C-STORE of objects over one association, one after the other, over the first of `contexts` that fits each.

    `originator` becomes part of the commands (Move Originator).
    """

    def __init__(self, association: Association, contexts: Iterable[Context], **originator: Any) -> None:
        self._association = association
        self._contexts = list(contexts)
        self._originator = originator
        self._ahead: tuple[Location, Context, BinaryIO] | None = None

    def send(self, location: Location, *, following: Callable[[], Location | None] | None = None) -> int:
        """Send one object; the status of the response.

        While the peer has it in hand, the one that `following` then says is opened and its beginning read, if it leaves
        as it lies on a disk. Raises NotAcceptable when no context can carry the object, OutOfResources when its file
        is missing: nothing has been sent then.
        """
        instance = location.instance_ref
        command: Command = {
            "AffectedSOPClassUID": instance.sop_class_uid,
            "CommandField": CommandField.C_STORE_RQ,
            "Priority": MEDIUM_PRIORITY,
            "AffectedSOPInstanceUID": instance.sop_instance_uid,
            **self._originator,
        }
        with self._opened(location) as (context, data_set):
            meanwhile = None if following is None else lambda: self._prepare(following)
            return self._association.call(context, command, data_set, meanwhile=meanwhile)["Status"]

    def close(self) -> None:
        """Close what was opened ahead."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead[2].close()

    @contextmanager
    def _opened(self, location: Location) -> Iterator[tuple[Context, BinaryIO]]:
        if self._ahead is not None and self._ahead[0] is location:
            (_, context, stream), self._ahead = self._ahead, None
            with stream:
                yield context, stream
            return
        self.close()
        context = _best(location, self._contexts)
        with _opened(location, context.transfer_syntax) as stream:
            yield context, stream

    def _prepare(self, following: Callable[[], Location | None]) -> None:
        with contextlib.suppress(Exception):  # whatever it is will be told in its turn
            location = following()
            if location is None or location.volume.kind != VolumeKind.DISK:
                return
            context = _best(location, self._contexts)
            if not _leaves_as_it_lies(location, context.transfer_syntax):
                return
            stream = open_outgoing(location=location, transfer_syntax_uid=context.transfer_syntax)
            self._ahead = location, context, stream
            self._association.connection.read_ahead(stream)


def _best(location: Location, contexts: Iterable[Context]) -> Context:
    sop_class = location.instance_ref.sop_class_uid
    fitting = [context for context in contexts if context.abstract_syntax == sop_class]
    wanted = (location.transfer_syntax_uid, ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    for syntax in wanted:
        for context in fitting:
            if context.transfer_syntax == syntax and can_send(location=location, transfer_syntax_uid=syntax):
                return context
    raise NotAcceptable("The receiver takes this object in no transfer syntax that it can be sent in.")


def _leaves_as_it_lies(location: Location, transfer_syntax_uid: str) -> bool:
    return transfer_syntax_uid == location.transfer_syntax_uid and not is_corrected(location)


@contextmanager
def _opened(location: Location, transfer_syntax_uid: str) -> Iterator[BinaryIO]:
    """The data set to send. What has to be converted is converted whole before its first byte goes out:
    an object that turns out to be damaged then fails alone, and not the association with it.
    """
    with open_outgoing(location=location, transfer_syntax_uid=transfer_syntax_uid) as stream:
        if _leaves_as_it_lies(location, transfer_syntax_uid):
            yield stream
            return
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
            shutil.copyfileobj(stream, spool, 1024 * 1024)
            spool.seek(0)
            yield cast(BinaryIO, spool)
