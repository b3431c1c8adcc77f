"""Which transfer syntaxes may carry objects, and which messages."""

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

# References to pixels elsewhere (JPIP), streams (SMPTE ST 2110) and encodings of messages are no
# syntaxes of stored bytes.
NOT_STORED = {
    "1.2.840.10008.1.2.4.94",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.204",
    "1.2.840.10008.1.2.4.205",
    "1.2.840.10008.1.2.6.1",
    "1.2.840.10008.1.2.6.2",
    "1.2.840.10008.1.2.7.1",
    "1.2.840.10008.1.2.7.2",
    "1.2.840.10008.1.2.7.3",
    "1.2.840.10008.1.20",
}
STORAGE_TRANSFER_SYNTAXES = (
    frozenset(uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax") - NOT_STORED
) | {"1.2.840.10008.1.2.8.1"}  # Deflated Image Frame Compression (PS3.5 A.4.13)

# Of messages whose data set is written for the occasion, best first.
MESSAGE_TRANSFER_SYNTAXES: tuple[str, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
