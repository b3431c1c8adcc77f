"""WADO-RS and the ZIP."""

import io
import re
import zipfile

from PIL import Image

from benchmarks.http_client import Response
from benchmarks.objects import ObjectSet
from benchmarks.rows import Row, expect
from benchmarks.servers import Server


class Study(Row):
    name = "WADO-RS, study of 262 MB"
    goal = 2.0

    def work(self, server: Server) -> Response:
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        return server.http.get(f"{server.dicomweb}/studies/{self.objects.ct.study_uid()}", Accept=accept)

    def check(self, server: Server, result: Response) -> None:
        expect(result.status == 200, result.status)
        found = re.search('boundary="?([^";]+)', result.headers["Content-Type"])
        assert found is not None
        boundary = found[1].encode()
        parts = result.body.split(b"--" + boundary)[1:-1]
        expect(len(parts) == 500, f"{len(parts)} parts")
        pixels = {self.objects.ct.pixels(number) for number in (0, 250, 499)}
        held = {kept for kept in pixels for part in parts if kept in part}
        expect(pixels == held, "other pixels")


class Zip(Row):
    """Of a study of 4.5 MB, since Orthanc takes minutes to compress the large one, which does not become smaller."""

    name = "ZIP of a study, 20 JPEG Lossless slices"
    goal = 1.0

    def before(self, server: Server) -> None:
        self.path = server.zip_path(self.objects.compressed.study_uid())

    def work(self, server: Server) -> Response:
        return server.http.get(self.path)

    def check(self, server: Server, result: Response) -> None:
        expect(result.status == 200, result.status)
        with zipfile.ZipFile(io.BytesIO(result.body)) as archive:
            images = [entry for entry in archive.infolist() if entry.file_size > 100_000]
            expect(len(images) == 20 and archive.testzip() is None, f"{len(images)} images")
            expect(
                sum(entry.file_size for entry in images) >= self.objects.compressed.bytes - 20_000, "bytes are missing"
            )


class Instances(Row):
    """A request for each of `pieces` instances of a set, so that no server answers from what it answered before."""

    accept: str
    pieces = 20

    @property
    def set(self) -> ObjectSet:
        return self.objects.ct

    def path(self, server: Server, instance: str) -> str:
        return f"{server.dicomweb}/{instance}"

    def numbers(self) -> range:
        return range(0, self.set.per_study, self.set.per_study // self.pieces)

    def work(self, server: Server) -> list[Response]:
        series = f"studies/{self.set.study_uid()}/series/{self.set.series_uid()}"
        paths = [self.path(server, f"{series}/instances/{self.set.instance_uid(number)}") for number in self.numbers()]
        return [server.http.get(path, Accept=self.accept) for path in paths]

    def check(self, server: Server, result: list[Response]) -> None:
        for number, answer in zip(self.numbers(), result, strict=True):
            expect(answer.status == 200, (answer.status, answer.body[:500]))
            self.check_body(answer.body, number)

    def check_body(self, body: bytes, number: int) -> None:
        expect(self.set.pixels(number) in body, "other pixels")


class Frame(Instances):
    name = "WADO-RS, one frame as stored"
    goal = 2.0
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'

    def path(self, server: Server, instance: str) -> str:
        return f"{super().path(server, instance)}/frames/1"


class FrameDecoded(Frame):
    name = "WADO-RS, one frame decoded (JPEG Lossless)"
    goal = 1.0
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'

    @property
    def set(self) -> ObjectSet:
        return self.objects.compressed

    def check_body(self, body: bytes, number: int) -> None:
        expect(self.set.plain_pixels(number) in body, "other pixels")


class Rendered(Instances):
    """Of another quality in each run, so that no server has kept the picture."""

    name = "WADO-RS, rendered JPEG, for the first time"
    goal = 1.0
    accept = "image/jpeg"
    side = 512
    run = 0

    def prepare(self) -> None:
        self.run += 1

    def path(self, server: Server, instance: str) -> str:
        return f"{super().path(server, instance)}/rendered?quality={60 + self.run % 40}"

    def check_body(self, body: bytes, number: int) -> None:
        with Image.open(io.BytesIO(body)) as image:
            darkest, brightest = image.convert("L").getextrema()
            expect(image.format == "JPEG" and image.width == self.side, f"{image.format} {image.size}")
            expect(float(str(brightest)) - float(str(darkest)) > 100, "nothing to be seen")


class RenderedAgain(Rendered):
    """What the run that is not counted asked for, too."""

    name = "WADO-RS, rendered JPEG, again"

    def path(self, server: Server, instance: str) -> str:
        return f"{super(Rendered, self).path(server, instance)}/rendered"


class Thumbnail(Rendered):
    """Of another size in each run, as for `Rendered`."""

    name = "WADO-RS, thumbnail, for the first time"
    side = 128

    def prepare(self) -> None:
        super().prepare()
        self.side = 128 + self.run % 40

    def path(self, server: Server, instance: str) -> str:
        return server.thumbnail_path(instance, self.side)


class ThumbnailAgain(Thumbnail):
    name = "WADO-RS, thumbnail, again"

    def prepare(self) -> None:
        pass


ROWS = [Study, Frame, FrameDecoded, Rendered, RenderedAgain, Thumbnail, ThumbnailAgain, Zip]
