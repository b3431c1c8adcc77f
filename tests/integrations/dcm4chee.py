"""dcm4chee-arc-light on the wire, as its source has it; nothing of it runs here.

Read of dcm4che/dcm4chee-arc-light: mpps2hl7-psu.xsl, dcm2hl7-psu.xsl, hl7-dcm2adt.xsl, hl7-common-outgoing.xsl,
ProcedureUpdateService.java; of dcm4che/dcm4che: HL7Message.java, ERRSegment.java.
"""

import itertools
import re
from pathlib import Path

_numbers = itertools.count(1001)
NULL = '""'


def header(kind: str, receiver: str = "SINAR|RAD") -> str:
    own_id = next(_numbers)
    return f"MSH|^~\\&|DCM4CHEE|DCM4CHEE|{receiver}|20260125083000.000+0700||{kind}|{own_id}|P|2.5.1||||||UNICODE UTF-8"


def person_update(event: str, number: str, name: str, prior: str = "", *, issuer: str = "RSUD") -> bytes:
    """ADT^A28, A31, A40, A47: what is not known is a null value; 36 fields of PID."""
    structure = {"A28": "ADT_A05", "A31": "ADT_A05", "A40": "ADT_A39", "A47": "ADT_A30"}[event]
    pid = ["PID", "", NULL, f"{number}^^^{issuer}", NULL, f"{name}^^^^", NULL, "19700131", "M", NULL]
    segments = [header(f"ADT^{event}^{structure}"), "|".join(pid + [""] * 27)]
    if prior:
        segments.append(f"MRG|{prior}^^^{issuer}")
    return ("\r".join(segments) + "\r").encode()


def procedure_update(
    status: str, *, placer: str, filler: str, accession: str, study: str, patient: str = "7^^^RSUD", kind: str = "OMG"
) -> bytes:
    """A procedure status update: IP and DC by what a modality performs, CM also when a study was stored.

    `patient` is empty where the archive was not told to send PID and PV1.
    """
    types = {"OMG": "OMG^O19^OMG_O19", "ORU": "ORU^R01^ORU_R01"}
    segments = [header(types[kind])]
    if patient:
        segments += [f"PID|||{patient}||WIBOWO^BUDI^^^^|{NULL}|19700131|M", f"PV1||U{'|' * 50}V"]
    empty = "|" * 11
    code = "CTTHX^CT Thorax^99SINAR"
    request = f"OBR||{placer}|{filler}|{code}|||20260125083000{empty}{accession}|RP1|||||RAD|R||^^^^^R||||Batuk"
    segments += [
        f"ORC|SC|{placer}|{filler}||{status}",
        f"{request}{'|' * 13}{code}",
        "TQ1|||||||20260125083000||R^Routine^HL70078",
        f"OBX|1|ST|113014^DICOM Study^DCM||{study}||||||O{'|' * 13}",
    ]
    return ("\r".join(segments) + "\r").encode()


def ack(message: str, code: str = "AA", text: str = "", error: str = "") -> str:
    """Its answer: header turned round, what follows MSH-10 as it came; MSA-3 and ERR say why not."""
    field = message.split("\r")[0].split("|")
    event = field[8].split("^")[1]
    first = [*field[:2], field[4], field[5], field[2], field[3], "20260125083000.000", "", f"ACK^{event}^ACK", "77"]
    segments = ["|".join([*first, *field[10:]]), f"MSA|{code}|{field[9]}|{text[:80]}"]
    if error:
        segments.append(f"ERR||ORC^1^1^1^1|{error}|E||||{text}")
    return "\r".join(segments) + "\r"


def entries(file: Path) -> list[dict[str, list[str]]]:
    """The records of an LDIF file: attributes with their values, in order."""
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="ascii"), flags=re.M)
    found = []
    for block in text.split("\n\n"):
        record: dict[str, list[str]] = {}
        for line in block.splitlines():
            if ": " in line:
                name, _, value = line.partition(": ")
                record.setdefault(name, []).append(value)
        if "dn" in record:
            found.append(record)
    return found
