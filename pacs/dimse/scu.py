"""What we ask of other nodes: C-ECHO, and C-STORE of archived objects (PS3.4 Annexes A and B)."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.dimse.association import Association, Context
from pacs.dimse.message import Command, CommandField, Status
from pacs.dimse.requestor import associate
from pacs.dimse.verification import VERIFICATION
from pacs.models import ApplicationEntity, Location
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


def send(*, association: Association, location: Location, contexts: Iterable[Context], **originator: Any) -> int:
    """C-STORE one object over the first of `contexts` that can carry it; the status of the response.

    `originator` becomes part of the command (Move Originator). Raises NotAcceptable when no context
    can carry the object, OutOfResources when its file is missing: nothing has been sent then.
    """
    instance = location.instance_ref
    fitting = [context for context in contexts if context.abstract_syntax == instance.sop_class_uid]
    context = _best(location, fitting)
    command: Command = {
        "AffectedSOPClassUID": instance.sop_class_uid,
        "CommandField": CommandField.C_STORE_RQ,
        "Priority": MEDIUM_PRIORITY,
        "AffectedSOPInstanceUID": instance.sop_instance_uid,
        **originator,
    }
    with _opened(location, context.transfer_syntax) as data_set:
        return association.call(context, command, data_set)["Status"]


def _best(location: Location, contexts: list[Context]) -> Context:
    wanted = (location.transfer_syntax_uid, ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    for syntax in wanted:
        for context in contexts:
            if context.transfer_syntax == syntax and can_send(location=location, transfer_syntax_uid=syntax):
                return context
    raise NotAcceptable("The receiver takes this object in no transfer syntax that it can be sent in.")


@contextmanager
def _opened(location: Location, transfer_syntax_uid: str) -> Iterator[BinaryIO]:
    """The data set to send. What has to be converted is converted whole before its first byte goes out:
    an object that turns out to be damaged then fails alone, and not the association with it.
    """
    with open_outgoing(location=location, transfer_syntax_uid=transfer_syntax_uid) as stream:
        if transfer_syntax_uid == location.transfer_syntax_uid and not is_corrected(location):
            yield stream
            return
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
            shutil.copyfileobj(stream, spool, 1024 * 1024)
            spool.seek(0)
            yield cast(BinaryIO, spool)
