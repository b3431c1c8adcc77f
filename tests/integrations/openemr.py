"""OpenEMR 7.0.3 and 8.0 as the sender of orders: field by field what its `default_gen_hl7_order` writes.

The source read is interface/orders/gen_hl7_order.inc.php of openemr/openemr; nothing of it runs here.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ESCAPES = {"\\": "\\E\\", "^": "\\S\\", "|": "\\F\\", "~": "\\R\\", "&": "\\T\\", "\r": "\\X0d\\"}
DOCTOR = "1234567893^SARI^DEWI"


def text(value: str) -> str:
    return "".join(ESCAPES.get(sign, sign) for sign in value)


def phone(value: str) -> str:
    """It writes American numbers, of any other the last seven digits."""
    if found := re.search(r"([2-9]\d\d)\D*(\d\d\d)\D*(\d\d\d\d)\D*$", value):
        return "({}){}-{}".format(*found.groups())
    found = re.search(r"(\d\d\d)\D*(\d\d\d\d)\D*$", value)
    return "{}-{}".format(*found.groups()) if found else ""


@dataclass
class Ordered:
    """One line of an order: its code, what follows its OBR."""

    code: str
    name: str
    specimen: str = ""
    diagnoses: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class OpenEmrOrder:
    """A procedure order as OpenEMR transmits it; each time `message` is asked for it is transmitted anew."""

    number: int
    lines: Sequence[Ordered]
    pid: int = 7
    last: str = "WIBOWO"
    first: str = "BUDI"
    middle: str = ""
    born: str = "1970-01-31"
    sex: str = "Male"
    street: str = "Jl. Merdeka 1"
    city: str = "Jakarta"
    phone: str = "(021) 555-1234"
    encounter: int = 31
    priority: str = "normal"
    medications: str = "NONE"
    insurers: Sequence[str] = ()
    production: str = "P"

    @property
    def message_number(self) -> str:
        return f"{self.number:04d}"

    def message(self, at: str = "20260125083000") -> bytes:
        number = self.message_number
        name = f"{text(self.last)}^{text(self.first)}" + (f"^{text(self.middle)}" if self.middle else "")
        born, sex = self.born.replace("-", ""), self.sex[:1].upper() if self.sex[:1].upper() in "MF" else "U"
        address, home = f"{text(self.street)}^^{text(self.city)}^^10110", phone(self.phone)
        segments = [
            f"MSH|^~\\&|OPENEMR|KLINIK|SINAR|RAD|{at}||ORM^O01|{number}|{self.production}|2.3",
            f"PID|1|{self.pid}|{self.pid}||{name}||{born}|{sex}|||{address}||{home}|||||{self.encounter}||||",
            f"NTE|1|L|Medications:{self.medications}",
            f"PV1|1||||||{DOCTOR}{'|' * 11}|{self.encounter}{'|' * 13}",
        ]
        for position, insurer in enumerate(self.insurers, 1):
            segments.append(
                f"IN1|{position}||{position}|{text(insurer)}|Jl. Sudirman 2^^Jakarta^^10220||555-9876|G1{'|' * 7}"
                f"|{name}^|self|{born}|^^Jakarta^^10110|||{position}{'|' * 13}|0001234567890{'|' * 12}"
            )
        segments.append(f"GT1|1||{name}||{address}|{home}||{born}|{sex}||self|")
        segments.append(f"ORC|NW|{number}{'|' * 6}|{at}|||{DOCTOR}{'|' * 7}|2")
        for position, line in enumerate(self.lines, 1):
            urgent = "S" if self.priority[:1].upper() == "H" else "R"
            segments.append(
                f"OBR|{position}|{number}||{text(line.code)}^{text(line.name)}|{urgent}||20260125080000{'|' * 8}"
                f"{text(line.specimen)}|{DOCTOR}||{'I' if self.insurers else 'P'}{'|' * 8}|0"
            )
            for set_id, (code, title) in enumerate(line.diagnoses.items(), 1):
                segments.append(f"DG1|{set_id}||{code}^{text(title)}^I10|")
            for set_id, (question, answer) in enumerate(line.answers.items(), 1):
                segments.append(f"OBX|{set_id}|ST|{text(question)}||{text(answer)}")
        return ("\r".join(segments) + "\r").encode()

    def transmit(self, folder: Path, at: str = "20260125083000", *, seconds_ago: float = 60) -> Path:
        """Write the file of protocol FS or SFTP: the message number, in place, over one of that name."""
        file = folder / f"{self.message_number}.txt"
        file.write_bytes(self.message(at))
        when = time.time() - seconds_ago
        os.utime(file, (when, when))
        return file
