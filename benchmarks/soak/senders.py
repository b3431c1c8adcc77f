"""Those who send and write down what was acknowledged; what was not, they send again."""

import re
import socket
import subprocess
from pathlib import Path

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association

from benchmarks import dcmtk, hl7
from benchmarks.soak.figures import Figures
from benchmarks.soak.images import Image, Images
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.product import Product
from benchmarks.soak.work import NotDone, Work

_config.STORE_SEND_CHUNKED_DATASET = True  # a file's own bytes, without decoding
VERIFICATION = "1.2.840.10008.1.1"
BOUNDARY = "soak-5d1c"
SECONDS = 60


def associate(server: Product, *, seconds: float = SECONDS) -> Association:
    """An association for C-ECHO and C-STORE. Raises NotDone."""
    entity = ApplicationEntity(ae_title=dcmtk.TITLE)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = seconds
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title=server.ae_title, max_pdu=256 * 1024)
    if not association.is_established:
        raise NotDone("no association")
    return association


def store(association: Association, path: Path) -> None:
    """C-STORE of a file. Raises NotDone unless it was acknowledged."""
    try:
        answer = association.send_c_store(path)
    except (RuntimeError, ValueError) as error:  # the association is over
        raise NotDone(str(error)) from None
    if answer.get("Status") != 0:
        raise NotDone(f"C-STORE: {answer.get('Status', 'no answer')} {answer.get('ErrorComment', '')}")


class Sender(Work):
    """`batch` images at a time, each a file in a folder of its own until it is acknowledged."""

    batch = 1

    def __init__(self, server: Product, ledger: Ledger, figures: Figures, load: float, images: Images, folder: Path):
        super().__init__(figures, load)
        self.server, self.ledger, self.images, self.folder = server, ledger, images, folder
        self.waiting: dict[str, Image] = {}
        folder.mkdir(parents=True)

    def is_idle(self) -> bool:
        return not self.waiting

    def fill(self) -> None:
        """A new batch, once the last one is done."""
        while len(self.waiting) < self.batch:
            image = self.images.next()
            name = f"{image.sop_instance_uid}.dcm"
            (self.folder / name).write_bytes(image.file)
            self.waiting[name] = image

    def acknowledged(self, name: str) -> None:
        self.ledger.image(self.waiting.pop(name), self.kind)
        (self.folder / name).unlink()


class Modality(Sender):
    """One association after another, forty images in each."""

    kind = "C-STORE"
    per_second = 3.0
    per_association = 40

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.association: Association | None = None
        self.sent = 0

    def once(self) -> None:
        if not self.waiting:
            self.fill()
        if self.association is None:
            self.association = associate(self.server)
            self.sent = 0
        (name,) = self.waiting
        store(self.association, self.folder / name)
        self.acknowledged(name)
        self.sent += 1
        if self.sent == self.per_association:
            self.association.release()
            self.association = None

    def close(self) -> None:
        if self.association is not None:
            self.association.abort()
            self.association = None


class Storescu(Sender):
    """dcmtk's storescu, ten images an association; what it says of each is what was acknowledged."""

    kind = "storescu, 10 images"
    per_second = 0.2
    batch = 10

    def once(self) -> None:
        if not self.waiting:
            self.fill()
        command = ["storescu", "--verbose", "--timeout", "20", "--dimse-timeout", str(SECONDS), "+sd", "+sp", "*.dcm"]
        peer = ["-aet", dcmtk.TITLE, "-aec", self.server.ae_title, "127.0.0.1", str(self.server.dicom_port)]
        done = subprocess.run(
            [*command, *peer, str(self.folder)],
            env=dcmtk.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=5 * SECONDS,
        )  # fmt: skip
        name = ""
        for line in done.stdout.splitlines():
            if found := re.search(r"Sending file: .*?([\d.]+\.dcm)$", line):
                name = found[1]
            elif "Received Store Response (Success)" in line:
                self.acknowledged(name)
        if self.waiting:
            raise NotDone(done.stdout.strip().splitlines()[-1] if done.stdout else "storescu said nothing")


class Stow(Sender):
    """STOW-RS of five images."""

    kind = "STOW-RS, 5 images"
    per_second = 0.4
    batch = 5

    def once(self) -> None:
        if not self.waiting:
            self.fill()
        parts = [b"Content-Type: application/dicom\r\n\r\n" + image.file + b"\r\n" for image in self.waiting.values()]
        mark = f"--{BOUNDARY}".encode()
        body = b"".join(mark + b"\r\n" + part for part in parts) + mark + b"--\r\n"
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        answer = self.server.http.request("POST", f"{self.server.dicomweb}/studies", body=body, headers=headers)
        if answer.status != 200:
            raise NotDone(f"STOW-RS: {answer.status} {answer.body[:200]!r}")
        for each in answer.json()["00081199"]["Value"]:
            self.acknowledged(f"{each['00081155']['Value'][0]}.dcm")
        if self.waiting:
            raise NotDone(f"STOW-RS: 200 without {len(self.waiting)} of its objects")

    def close(self) -> None:
        self.server.http.close()


class Hospital(Work):
    """HL7 messages over one connection, each answered before the next: visits, new patients, orders."""

    kind = "HL7"
    per_second = 2.0

    def __init__(self, port: int, ledger: Ledger, figures: Figures, load: float, number: int) -> None:
        super().__init__(figures, load)
        self.port, self.ledger, self.number = port, ledger, number
        self.waiting = b""
        self.count = 0
        self.peer: socket.socket | None = None

    def is_idle(self) -> bool:
        return not self.waiting

    def once(self) -> None:
        if not self.waiting:
            self.count += 1
            self.waiting = hl7.mixed(self.count, self.number)
        if self.peer is None:
            self.peer = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        code = ask(self.peer, self.waiting)
        if code != "AA":
            raise NotDone(f"HL7: {code}")
        written_down(self.ledger, self.waiting)
        self.waiting = b""

    def close(self) -> None:
        if self.peer is not None:
            self.peer.close()
            self.peer = None


def ask(peer: socket.socket, message: bytes) -> str:
    """Send a message over MLLP; MSA-1 of the answer, which must be of this message. Raises OSError, NotDone."""
    peer.sendall(b"\x0b" + message + b"\x1c\r")
    answer = b""
    while not answer.endswith(b"\x1c\r"):
        more = peer.recv(65536)
        if not more:
            raise NotDone("HL7: closed before the answer")
        answer += more
    found = re.search(rb"\rMSA\|(\w\w)\|([^|\r]*)", answer)
    if found is None or found[2] != message.split(b"|")[9]:
        raise NotDone(f"HL7: {answer[:200]!r}")
    return found[1].decode()


def written_down(ledger: Ledger, message: bytes) -> None:
    """An AA goes into the ledger, with whom and what it was about."""
    segments = {line[:3]: line.split("|") for line in message.decode().split("\r") if line}
    placer = segments["ORC"][2].partition("^")[0] if "ORC" in segments else ""
    ledger.message(segments["MSH"][9], patient=segments["PID"][3].partition("^")[0], placer=placer)
