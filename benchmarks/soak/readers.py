"""Those who search and look at what was acknowledged."""

from benchmarks import dcmtk
from benchmarks.http_client import HttpClient
from benchmarks.soak.figures import Figures
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.product import Product
from benchmarks.soak.work import NotDone, Work


class Reader(Work):
    """Asks for an image that the ledger holds."""

    def __init__(self, server: Product, ledger: Ledger, figures: Figures, load: float) -> None:
        super().__init__(figures, load)
        self.server, self.ledger = server, ledger
        self.http = self.client()

    def client(self) -> HttpClient:
        return self.server.again()

    def close(self) -> None:
        self.http.close()

    def get(self, path: str, accept: str) -> bytes:
        answer = self.http.get(path, Accept=accept)
        if answer.status != 200:
            raise NotDone(f"{self.kind}: {answer.status}")
        return answer.content()


class Find(Reader):
    """dcmtk's findscu, program and association included."""

    kind = "C-FIND"
    per_second = 0.5

    def once(self) -> None:
        image = self.ledger.any_image()
        if image is not None and not dcmtk.find_studies(self.server, PatientID=image.patient_id):
            raise NotDone(f"C-FIND does not find patient {image.patient_id}")


class Qido(Reader):
    kind = "QIDO-RS"
    per_second = 2.0

    def once(self) -> None:
        image = self.ledger.any_image()
        if image is not None:
            path = f"{self.server.dicomweb}/studies?PatientID={image.patient_id}"
            if image.study_instance_uid.encode() not in self.get(path, "application/dicom+json"):
                raise NotDone(f"QIDO-RS does not find study {image.study_instance_uid}")


class Frame(Reader):
    kind = "WADO-RS frame"
    per_second = 2.0

    def once(self) -> None:
        image = self.ledger.any_image()
        if image is not None:
            accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
            body = self.get(f"{self.server.dicomweb}/{image.path}/frames/1", accept)
            if image.file[-8192:] not in body:
                raise NotDone(f"WADO-RS frame of {image.sop_instance_uid} has other pixels")


class WorklistPage(Reader):
    """As somebody who is signed in."""

    kind = "/worklist page"
    per_second = 0.5

    def client(self) -> HttpClient:
        return self.server.session()

    def once(self) -> None:
        if b"</html>" not in self.get("/worklist?view=studies", "text/html"):
            raise NotDone("/worklist is no whole page")


READERS = [Find, Qido, Frame, WorklistPage]
