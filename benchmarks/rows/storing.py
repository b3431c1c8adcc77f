"""STOW-RS: one request with many objects."""

from benchmarks.http_client import Response
from benchmarks.objects import ObjectSet
from benchmarks.rows import Row, expect
from benchmarks.servers import Server

BOUNDARY = b"bench-7f3a0c"


class Stow(Row):
    """The first `count` objects of a set in one request."""

    reads = False

    count: int

    @property
    def set(self) -> ObjectSet:
        return self.objects.ct

    def prepare(self) -> None:
        self.set.renew(self.objects.next_run())
        head = b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
        parts = [head + path.read_bytes() + b"\r\n" for path in self.set.files[: self.count]]
        self.body = b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"

    def work(self, server: Server) -> Response:
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        return server.http.request("POST", f"{server.dicomweb}/studies", body=self.body, headers=headers)

    def check(self, server: Server, result: Response) -> None:
        expect(result.status == 200, (result.status, result.body[:500]))
        expect(len(result.json()["00081199"]["Value"]) == self.count, result.body[:500])
        held = server.instance_count(PatientID=f"{self.set.name[0].upper()}{self.set.run}-*")
        expect(held == self.count, f"{held} instances are held")

    def close(self) -> None:
        self.set.renew_first()


class StowTiny(Stow):
    name = "STOW-RS, 100 tiny"
    count = 100

    @property
    def set(self) -> ObjectSet:
        return self.objects.tiny


class StowCt(Stow):
    name = "STOW-RS, 50 CT"
    count = 50


ROWS = [StowTiny, StowCt]
