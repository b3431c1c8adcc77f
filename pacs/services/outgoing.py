"""The one way objects leave, whatever the door: as received, with corrections laid over.

Where nobody corrected anything, the bytes leave as they lie on the volume. A Location comes here with
its instance, series, study and volume (as `instances_of` gives it).
"""

from collections.abc import Iterator
from typing import BinaryIO

from pydicom.uid import ExplicitVRLittleEndian

from pacs.models import Location
from pacs.services.encoding import BLOCK
from pacs.services.overlay import overlay_of
from pacs.services.part10 import head
from pacs.services.transcode import REENCODED, can_send_as, open_as
from pacs.storage import open_object
from radiology.errors import OutOfResources


def is_corrected(location: Location) -> bool:
    """Whether anything is laid over the object, so that its bytes are rewritten on the way."""
    return overlay_of(location.instance_ref.series_ref) is not None


def syntax_as_stored(location: Location) -> str:
    """The transfer syntax in which the object leaves when nobody asks for another.

    A corrected object in Big Endian or deflated leaves in Explicit VR Little Endian; all others leave
    in the syntax that they are stored in.
    """
    if location.transfer_syntax_uid in REENCODED and is_corrected(location):
        return str(ExplicitVRLittleEndian)
    return location.transfer_syntax_uid


def can_send(*, location: Location, transfer_syntax_uid: str) -> bool:
    """Whether `open_outgoing` gives the object in that syntax, sound pixels provided."""
    if transfer_syntax_uid == location.transfer_syntax_uid:
        return transfer_syntax_uid == syntax_as_stored(location)
    return can_send_as(
        transfer_syntax_uid_stored=location.transfer_syntax_uid, transfer_syntax_uid_wanted=transfer_syntax_uid
    )


def open_outgoing(*, location: Location, transfer_syntax_uid: str) -> BinaryIO:
    """The bare data set in `transfer_syntax_uid`, corrections laid over, for reading once through.

    Raises NotAcceptable when it cannot be had in that syntax, OutOfResources when the file is missing,
    CannotUnderstand when it is damaged. Later damage is raised while reading.
    """
    return open_as(
        location=location,
        transfer_syntax_uid=transfer_syntax_uid,
        overlay=overlay_of(location.instance_ref.series_ref),
    )


def part10_size(*, location: Location) -> int | None:
    """Bytes of the Part 10 file as it leaves by default; None when it has to be rewritten on the way."""
    return None if is_corrected(location) else location.data_set_offset + location.size


def part10_blocks(*, location: Location, transfer_syntax_uid: str = "") -> Iterator[bytes]:
    """The Part 10 file in blocks, in `transfer_syntax_uid` or as stored. Raises what `open_outgoing` raises."""
    syntax = transfer_syntax_uid or syntax_as_stored(location)
    if syntax == location.transfer_syntax_uid and not is_corrected(location):
        with _opened(location) as file:
            while block := file.read(BLOCK):
                yield block
        return
    with open_outgoing(location=location, transfer_syntax_uid=syntax) as file:
        yield head(
            sop_class_uid=location.instance_ref.sop_class_uid,
            sop_instance_uid=location.instance_ref.sop_instance_uid,
            transfer_syntax_uid=syntax,
            source_ae_title="",
        )
        while block := file.read(BLOCK):
            yield block


def _opened(location: Location) -> BinaryIO:
    try:
        return open_object(location=location)
    except FileNotFoundError as error:
        raise OutOfResources("The object's file is missing from the archive.") from error
