"""C-STORE of what the server does not hold."""

from pathlib import Path

from benchmarks import dcmtk
from benchmarks.objects import ObjectSet
from benchmarks.rows import Row, expect
from benchmarks.servers import Server


class Store(Row):
    """All objects of a set over one association."""

    reads = False

    @property
    def set(self) -> ObjectSet:
        return self.objects.ct

    def prepare(self) -> None:
        self.set.renew(self.objects.next_run())

    def folders(self) -> list[Path]:
        return [self.set.folder]

    def work(self, server: Server) -> None:
        dcmtk.store(server, *self.folders())

    def check(self, server: Server, result: None) -> None:
        held = server.instance_count(PatientID=f"{self.set.name[0].upper()}{self.set.run}-*")
        expect(held == self.set.studies * self.set.per_study, f"{held} instances are held")
        for number in (0, len(self.set.files) - 1):
            study, place = divmod(number, self.set.per_study)
            path = f"studies/{self.set.study_uid(study)}/series/{self.set.series_uid(study)}/instances/"
            path += self.set.instance_uid(place, study)
            accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
            answer = server.http.get(f"{server.dicomweb}/{path}", Accept=accept)
            expect(answer.status == 200 and self.set.pixels(number) in answer.body, f"{path} is not what was sent")

    def close(self) -> None:
        self.set.renew_first()


class StoreCt(Store):
    name = "C-STORE, 500 CT, one association"
    goal, then = 2.0, "2.5"


class StoreCtFourfold(Store):
    name = "C-STORE, 500 CT, four associations"
    goal, then = 1.3, "1.8"

    def folders(self) -> list[Path]:
        return [self.set.folder / str(part) for part in range(4)]


class StoreTiny(Store):
    name = "C-STORE, 2,000 tiny, one association"
    goal, then = 1.5, "2"

    @property
    def set(self) -> ObjectSet:
        return self.objects.tiny


class StoreMultiFrame(Store):
    name = "C-STORE, one multi-frame of 524 MB"
    goal = 1.0

    @property
    def set(self) -> ObjectSet:
        return self.objects.multi_frame


ROWS = [StoreCt, StoreCtFourfold, StoreTiny, StoreMultiFrame]
