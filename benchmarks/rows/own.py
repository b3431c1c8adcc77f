"""What only Sinar has: pages, its REST API, the viewer."""

import shutil
import tempfile

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, ViewportSize, sync_playwright

from benchmarks.http_client import HttpClient, Response
from benchmarks.rows import Bench, Row, expect
from benchmarks.servers import Server
from benchmarks.servers.sinar import Sinar

# Whether a viewport holds a picture that is not of one colour.
DRAWN = """() => [...document.querySelectorAll("canvas.cornerstone-canvas")].some((canvas) => {
  if (!canvas.width || !canvas.height) return false;
  const small = document.createElement("canvas");
  small.width = small.height = 32;
  const context = small.getContext("2d");
  context.drawImage(canvas, 0, 0, 32, 32);
  const levels = context.getImageData(0, 0, 32, 32).data.filter((_, place) => place % 4 === 0);
  return Math.max(...levels) - Math.min(...levels) > 30;
})"""
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader"]
FLAGS += ["--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
WINDOW = ViewportSize(width=1280, height=800)
THUMBNAIL = "[data-cy=study-browser-thumbnail] img"


class WorklistPage(Row):
    name = "Page /worklist"
    only_ours = True
    pieces = 10
    client: HttpClient | None = None

    def before(self, server: Server) -> None:
        assert isinstance(server, Sinar)
        self.client = self.client or server.session()

    def work(self, server: Server) -> list[Response]:
        assert self.client is not None
        return [self.client.get("/worklist?view=studies", Accept="text/html") for _ in range(self.pieces)]

    def check(self, server: Server, result: list[Response]) -> None:
        for answer in result:
            expect(answer.status == 200 and b"OT THORAX" in answer.body, answer.status)


class StudyByAccession(Row):
    name = "/api/v1/studies?AccessionNumber="
    only_ours = True
    pieces = 20

    def work(self, server: Server) -> list[Response]:
        numbers = [self.objects.tiny.accession_number(study) for study in range(self.pieces)]
        return [server.http.get(f"/api/v1/studies?AccessionNumber={number}") for number in numbers]

    def check(self, server: Server, result: list[Response]) -> None:
        for number, answer in enumerate(result):
            uid = self.objects.tiny.study_uid(number)
            expect(answer.status == 200 and answer.body.count(f'"{uid}"'.encode()) == 1, answer.body[:500])


class FirstImage(Row):
    """From navigation to the first picture in a viewport, in a browser that has shown the viewer before."""

    name = "First image of a 500-slice CT"
    only_ours = True
    seconds: float | None = 1.5
    is_new_browser = False

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.playwright: Playwright | None = None
        self.browser: Browser | None = None
        self.context: BrowserContext | None = None
        self.page: Page

    def before(self, server: Server) -> None:
        assert isinstance(server, Sinar)
        self.playwright = self.playwright or sync_playwright().start()
        if self.context is None or self.is_new_browser:
            self.context = self._begin(self.playwright, f"http://127.0.0.1:{server.http_port}")
            self._sign_in(server)
        self.page = self._context.new_page()

    @property
    def _context(self) -> BrowserContext:
        assert self.context is not None
        return self.context

    def _begin(self, playwright: Playwright, address: str) -> BrowserContext:
        """A context that keeps nothing on the disk."""
        if self.browser is None:
            self.browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        return self.browser.new_context(base_url=address, viewport=WINDOW)

    def _sign_in(self, server: Sinar) -> None:
        page = self._context.new_page()
        page.goto("/accounts/login/")
        page.locator("input[name=login]").fill("admin")
        page.locator("input[name=password]").fill(server.password)
        page.locator("form:has(input[name=password]) button[type=submit]").first.click()
        page.wait_for_url("**/")
        page.close()

    def work(self, server: Server) -> None:
        self.page.goto(f"/viewer?StudyInstanceUIDs={self.objects.ct.study_uid()}", wait_until="commit")
        self.page.wait_for_function(DRAWN, timeout=90_000, polling="raf")

    def check(self, server: Server, result: None) -> None:
        # That something is drawn is what was waited for.
        self.page.close()
        if self.is_new_browser:
            self._context.close()

    def close(self) -> None:
        if self.browser is not None:
            self.browser.close()
        if self.playwright is not None:
            self.playwright.stop()


class FirstImageKept(FirstImage):
    """The same with a profile on the disk, as people have one: there Chromium keeps what it compiled of the scripts
    that it met for the third time, which it does for no context of the kind that tests use.
    """

    name = "First image, in a browser that keeps its profile"
    visits = 4

    def _begin(self, playwright: Playwright, address: str) -> BrowserContext:
        self.profile = tempfile.TemporaryDirectory(prefix="first-image-")
        return playwright.chromium.launch_persistent_context(
            self.profile.name,
            executable_path=shutil.which("chromium"), args=FLAGS, base_url=address, viewport=WINDOW,
        )  # fmt: skip

    def _sign_in(self, server: Sinar) -> None:
        super()._sign_in(server)
        for _ in range(self.visits):
            self.page = self._context.new_page()
            self.work(server)
            self.page.locator(THUMBNAIL).first.wait_for()
            self.page.close()

    def close(self) -> None:
        if self.context is not None:
            self.context.close()
            self.profile.cleanup()
        super().close()


class FirstImageEver(FirstImage):
    name = "First image, in a browser that never saw the viewer"
    seconds = None
    is_new_browser = True


ROWS = [WorklistPage, StudyByAccession, FirstImage, FirstImageKept, FirstImageEver]
