"""C-STORE of an object that was received and is not kept (PS3.4 Annex B)."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.dimse.message import Command, CommandField, Status, is_warning
from pacs.dimse.requestor import associate
from pacs.dimse.scu import IN_MEMORY, MEDIUM_PRIORITY
from pacs.models import ApplicationEntity
from pacs.services.encoding import rewritten
from pacs.services.incoming import Received
from pacs.services.part10 import HEAD_SIZE
from radiology.errors import Unreachable

# Rewritten into one another; anything else leaves as it came.
REWRITTEN = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
# The node may take so long, and longer at so many bytes a second.
SECONDS, SLOWEST = 60.0, 50_000


def send_received(*, node: ApplicationEntity, received: Received) -> None:
    """Send `received`, as it came, or between Explicit and Implicit VR Little Endian as the node takes it.

    Raises Unreachable: the node does not answer, takes it in no such transfer syntax, or refuses it.
    """
    own = received.transfer_syntax_uid
    syntaxes = [own, *(each for each in REWRITTEN if own in REWRITTEN and each != own)]
    contexts = [(received.sop_class_uid, syntax) for syntax in syntaxes]
    with associate(node, contexts, seconds=SECONDS + received.size / SLOWEST) as association:
        accepted = {each.transfer_syntax: each for each in association.contexts.values()}
        context = next((accepted[syntax] for syntax in syntaxes if syntax in accepted), None)
        if context is None:
            raise Unreachable(f"{node.title} does not take objects of this SOP class in this transfer syntax ({own}).")
        command: Command = {
            "AffectedSOPClassUID": received.sop_class_uid,
            "CommandField": CommandField.C_STORE_RQ,
            "Priority": MEDIUM_PRIORITY,
            "AffectedSOPInstanceUID": received.sop_instance_uid,
        }
        with _opened(received, context.transfer_syntax) as data_set:
            status = association.call(context, command, data_set)["Status"]
    if status != Status.SUCCESS and not is_warning(status):
        raise Unreachable(f"{node.title} refuses the object with status {status:04X}.")


@contextmanager
def _opened(received: Received, transfer_syntax_uid: str) -> Iterator[BinaryIO]:
    """The bare data set in that syntax; what is rewritten is whole before its first byte goes out."""
    end = HEAD_SIZE + received.size
    with os.fdopen(os.dup(received.draft.fileno()), "rb") as file:
        file.seek(HEAD_SIZE)
        if transfer_syntax_uid == received.transfer_syntax_uid:
            yield file
            return
        with (
            mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ) as data,
            tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as spool,
        ):
            for block in rewritten(
                data=data,
                file=file,
                start=HEAD_SIZE,
                end=end,
                transfer_syntax_uid=received.transfer_syntax_uid,
                explicit=transfer_syntax_uid == ExplicitVRLittleEndian,
            ):
                spool.write(block)
            spool.seek(0)
            yield cast(BinaryIO, spool)
