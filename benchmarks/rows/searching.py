"""C-FIND, QIDO-RS, and the metadata of a series."""

from typing import Any

from benchmarks import dcmtk
from benchmarks.http_client import Response
from benchmarks.rows import Row, expect
from benchmarks.servers import Server


class FindStudies(Row):
    name = "C-FIND, 100 studies"
    goal = 1.0

    def work(self, server: Server) -> int:
        return dcmtk.find_studies(server, PatientID=f"T{self.objects.tiny.run}-*")

    def check(self, server: Server, result: int) -> None:
        expect(result == 100, f"{result} studies found")


class Qido(Row):
    """A search over HTTP, `pieces` times on one connection."""

    wanted: int

    def query(self, number: int) -> str:
        """What stands behind /studies?"""
        raise NotImplementedError

    def work(self, server: Server) -> list[Response]:
        paths = [f"{server.dicomweb}/studies?{self.query(number)}" for number in range(self.pieces)]
        return [server.http.get(path, Accept="application/dicom+json", Accept_Encoding="gzip") for path in paths]

    def check(self, server: Server, result: list[Response]) -> None:
        for number, answer in enumerate(result):
            expect(answer.status == 200, answer)
            found = answer.json()
            expect(len(found) == self.wanted, f"{len(found)} studies found")
            self.check_study(found[0], number)

    def check_study(self, study: dict[str, Any], number: int) -> None:
        """Raise Wrong unless the study is the one that was asked for."""


class QidoPatient(Qido):
    name = "QIDO, one patient among 100"
    goal, then = 3.0, "the same at 1,000,000 studies"
    pieces, wanted = 20, 1

    def query(self, number: int) -> str:
        return f"PatientID={self.objects.tiny.patient_id(number)}"

    def check_study(self, study: dict[str, Any], number: int) -> None:
        expect(study["0020000D"]["Value"] == [self.objects.tiny.study_uid(number)], study)


class QidoAllFields(Qido):
    name = "QIDO, 100 studies, all fields"
    goal = 5.0
    pieces, wanted = 5, 100

    def query(self, number: int) -> str:
        return f"PatientID=T{self.objects.tiny.run}-*&includefield=all&limit=100"

    def check_study(self, study: dict[str, Any], number: int) -> None:
        expect(study["00201208"]["Value"] == [20], study)


class SeriesMetadata(Row):
    name = "Series metadata, 500 instances"
    goal = 30.0

    def work(self, server: Server) -> Response:
        ct = self.objects.ct
        path = f"{server.dicomweb}/studies/{ct.study_uid()}/series/{ct.series_uid()}/metadata"
        return server.http.get(path, Accept="application/dicom+json", Accept_Encoding="gzip")

    def check(self, server: Server, result: Response) -> None:
        expect(result.status == 200, result)
        instances = {each["00080018"]["Value"][0]: each for each in result.json()}
        expect(len(instances) == 500, f"{len(instances)} instances")
        last = instances[self.objects.ct.instance_uid(499)]
        expect(last["00200032"]["Value"] == [-179.2, -179.2, 499] and last["00280010"]["Value"] == [512], last)


ROWS = [FindStudies, QidoPatient, QidoAllFields, SeriesMetadata]
