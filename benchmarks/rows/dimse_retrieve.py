"""C-GET and C-MOVE of a CT."""

from benchmarks import dcmtk
from benchmarks.rows import Row, expect
from benchmarks.servers import Server


class Retrieve(Row):
    """Files come into the folder of received objects."""

    def before(self, server: Server) -> None:
        self.bench.empty_received()

    def check(self, server: Server, result: None) -> None:
        ct, files = self.objects.ct, list(self.bench.received.iterdir())
        expect(len(files) == 500, f"{len(files)} objects came")
        pixels = ct.pixels(250)
        expect(any(path.read_bytes().endswith(pixels) for path in files), "other pixels")
        self.bench.empty_received()


class Get(Retrieve):
    name = "C-GET, 500 CT"

    def work(self, server: Server) -> None:
        dcmtk.get_study(server, self.objects.ct.study_uid(), self.bench.received)


class Move(Retrieve):
    name = "C-MOVE, 500 CT"

    def work(self, server: Server) -> None:
        dcmtk.move_study(server, self.objects.ct.study_uid())


ROWS = [Get, Move]
