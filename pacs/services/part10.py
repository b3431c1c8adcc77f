"""The Part 10 file around a data set (PS3.10 7.1): read from strangers, written by us."""

import struct
from functools import lru_cache

from pydicom._uid_dict import UID_dictionary

from radiology.errors import CannotUnderstand

HEAD_SIZE = 1024
MAX_META = 64 * 1024
# 2.25 and a UUID (PS3.7 D.3.3.2): in files that we write and in associations.
IMPLEMENTATION_CLASS_UID = "2.25.60449087380595265692252103322978164760"
IMPLEMENTATION_VERSION_NAME = "SINAR_1"
TRANSFER_SYNTAXES = frozenset(uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax")
LONG_VR = {b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OF", b"OD", b"OL", b"OV", b"SV", b"UV"}


def head(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str,
    compressed_from: bytes = b"",
) -> bytes:
    """A neutral preamble and our own file meta information, HEAD_SIZE bytes long.

    The length is made up with private information (0002,0102), so that the data set of every file
    begins at the same place, whatever is known when its first byte arrives. It says of which data set
    (its SHA-256) this one is the compressed form.
    """
    elements = [
        _element(0x0001, b"OB", b"\0\1"),
        _element(0x0002, b"UI", sop_class_uid.encode()),
        _element(0x0003, b"UI", sop_instance_uid.encode()),
        _element(0x0010, b"UI", transfer_syntax_uid.encode()),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
    ]
    if source_ae_title:
        elements.append(_element(0x0016, b"AE", source_ae_title.encode("ascii", "replace")))
    elements.append(_element(0x0100, b"UI", IMPLEMENTATION_CLASS_UID.encode()))
    body = b"".join(elements)
    filler = HEAD_SIZE - 128 - 4 - 12 - len(body) - 12
    body += _element(0x0102, b"OB", compressed_from + bytes(filler - len(compressed_from)))
    result = bytes(128) + b"DICM" + _element(0x0000, b"UL", struct.pack("<I", len(body))) + body
    if len(result) != HEAD_SIZE:
        raise ValueError("the file meta information does not fit")
    return result


@lru_cache(maxsize=256)
def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if vr in {b"SH", b"AE"} else b"\0"
    if vr in LONG_VR:
        return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


class MetaReader:
    """Takes the beginning of a Part 10 stream in any portions and finds where the data set begins."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.transfer_syntax_uid = ""
        self.sop_class_uid = ""
        self.implementation_class_uid = ""
        self.source_ae_title = ""
        self.compressed_from = b""

    def feed(self, chunk: bytes | bytearray | memoryview) -> bytes | None:
        """The first bytes of the data set once the file meta information is over, until then None.

        Raises CannotUnderstand for what is no Part 10 stream or names no known transfer syntax.
        """
        self._buffer += chunk
        data = self._buffer
        if len(data) >= 132 and data[128:132] != b"DICM":
            raise CannotUnderstand("These bytes are no DICOM file: DICM is missing at byte 128.")
        position = 132
        while True:
            if position > MAX_META:
                raise CannotUnderstand("The file meta information is longer than 64 KiB.")
            if len(data) < position + 12:
                return None
            group, number, vr, short = struct.unpack_from("<HH2sH", data, position)
            if group != 2:
                break
            if vr in LONG_VR:
                (length,) = struct.unpack_from("<I", data, position + 8)
                start = position + 12
            else:
                start, length = position + 8, short
            if start + length > MAX_META:
                raise CannotUnderstand("The file meta information is longer than 64 KiB.")
            if len(data) < start + length:
                return None
            if number == 0x0002:
                self.sop_class_uid = bytes(data[start : start + length]).rstrip(b"\0 ").decode("ascii", "replace")
            elif number == 0x0010:
                self.transfer_syntax_uid = bytes(data[start : start + length]).rstrip(b"\0 ").decode("ascii", "replace")
            elif number == 0x0012:
                value = bytes(data[start : start + length]).rstrip(b"\0 ")
                self.implementation_class_uid = value.decode("ascii", "replace")
            elif number == 0x0016:
                self.source_ae_title = bytes(data[start : start + length]).decode("ascii", "replace").strip("\0 ")
            elif number == 0x0102 and any(data[start : start + 32]):
                self.compressed_from = bytes(data[start : start + 32])
            position = start + length
        return self._found(position)

    def _found(self, position: int) -> bytes:
        if not self.transfer_syntax_uid:
            raise CannotUnderstand("The file meta information names no transfer syntax (0002,0010).")
        if self.transfer_syntax_uid not in TRANSFER_SYNTAXES:
            raise CannotUnderstand("The file meta information names a transfer syntax that is not known.")
        return bytes(self._buffer[position:])
