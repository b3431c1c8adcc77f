"""The import page in a real browser: folders, ZIPs, failures tried again, without a violated policy."""

import io
import zipfile
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import FileChooser, Page, Route, expect

from pacs.models import ImportRun, ImportState
from radiology.models import Role, User
from tests.daemons import wait_until
from tests.pacs.imported import archived, make_objects
from tests.pacs.objects import ct, part10

DROP = """
(folder) => {
  const entry = (name, content) => ({
    isFile: true, name, file: (done) => done(new File([Uint8Array.from(content)], name)),
  });
  const directory = (name, children) => ({
    isFile: false, name,
    createReader: () => {
      const parts = [children.slice(0, 1), children.slice(1), []];
      return { readEntries: (done) => done(parts.shift()) };
    },
  });
  const root = directory("cd", folder.map(([name, content]) => entry(name, content)));
  const event = new Event("drop", { bubbles: true, cancelable: true });
  event.dataTransfer = { types: ["Files"], files: [], items: [{ webkitGetAsEntry: () => root }] };
  document.getElementById("drop").dispatchEvent(event);
}
"""


@pytest.fixture
def importer(signed_in: Page, person: User) -> Page:
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    signed_in.goto("/import")
    return signed_in


def summary(page: Page, text: str) -> None:
    expect(page.locator("#summary")).to_contain_text(text, timeout=60_000)


def test_a_chosen_folder_is_sent_file_by_file(importer: Page, tmp_path: Path, complaints: list[str]) -> None:
    made = make_objects(tmp_path / "cd", 20, per_study=10)
    (tmp_path / "cd" / "readme.txt").write_text("no dicom, " * 30)
    (tmp_path / "cd" / "<img src=x onerror=alert(1)>.dcm").write_bytes(part10(ct())[:-20])
    importer.set_input_files("#folder", tmp_path / "cd")
    summary(importer, "Finished: 20 stored, 0 there already, 0 held, 1 refused, 1 no DICOM, 0 failed")
    assert archived() == made
    first = importer.locator("#rows li").first
    expect(first).to_contain_text("Refused")
    expect(first).to_contain_text("truncated")
    importer.get_by_role("link", name="Report of this import").click()
    expect(importer.locator("#import-run")).to_contain_text("Done")
    assert importer.get_by_role("link", name="BUDI SANTOSO").count() == 2
    assert complaints == []
    run = ImportRun.objects.get()
    assert (run.state, run.stored, run.refused, run.skipped) == (ImportState.DONE, 20, 1, 1)


def test_a_dropped_folder_is_walked_to_its_end(importer: Page, complaints: list[str]) -> None:
    objects = [ct() for _ in range(3)]
    importer.evaluate(DROP, [[f"IM{number}", list(part10(each))] for number, each in enumerate(objects)])
    summary(importer, "Finished: 3 stored")
    expect(importer.locator("#rows")).to_contain_text("cd/IM2")
    assert set(archived()) == {each.SOPInstanceUID for each in objects}
    assert complaints == []


def test_a_zip_is_unpacked_on_the_server(importer: Page, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(5):
            archive.writestr(f"IM{number}", part10(ct()))
    (tmp_path / "cd.zip").write_bytes(buffer.getvalue())
    importer.set_input_files("#files", tmp_path / "cd.zip")
    summary(importer, "Finished: 5 stored")


def test_what_failed_is_sent_again_on_request(importer: Page, tmp_path: Path) -> None:
    make_objects(tmp_path / "cd", 5)
    cut = 2

    def sometimes(route: Route) -> None:
        nonlocal cut
        if cut:
            cut -= 1
            route.abort()
        else:
            route.continue_()

    importer.route("**/files", sometimes)
    importer.set_input_files("#folder", tmp_path / "cd")
    summary(importer, "Finished: 3 stored, 0 there already, 0 held, 0 refused, 0 no DICOM, 2 failed")
    importer.get_by_role("button", name="Try the failed ones again").click()
    summary(importer, "Finished: 5 stored, 0 there already, 0 held, 0 refused, 0 no DICOM, 0 failed")
    assert len(archived()) == 5
    assert ImportRun.objects.get().stored == 5


def test_stopping_keeps_what_was_stored_and_the_rest_can_follow(importer: Page, tmp_path: Path) -> None:
    make_objects(tmp_path / "cd", 12)
    held: list[Route] = []

    def slowly(route: Route) -> None:
        if len(archived()) < 2:
            route.continue_()
        else:
            held.append(route)

    importer.route("**/files", slowly)
    importer.set_input_files("#folder", tmp_path / "cd")
    expect(importer.locator("#rows .done")).not_to_have_count(0)
    importer.get_by_role("button", name="Stop").click()
    summary(importer, "Stopped")
    importer.unroute("**/files")
    importer.set_input_files("#folder", tmp_path / "cd")
    summary(importer, "Finished")
    assert len(archived()) == 12


def test_the_page_is_used_with_the_keyboard_and_on_a_phone(importer: Page) -> None:
    chosen: list[FileChooser] = []  # asked for before the page is used: the browser hears of that a moment later
    importer.on("filechooser", lambda chooser: chosen.append(chooser))
    importer.set_viewport_size({"width": 390, "height": 844})
    assert importer.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    importer.locator("#files").focus()
    expect(importer.locator("#files")).to_be_focused()
    importer.keyboard.press("Space")
    wait_until(lambda: importer.evaluate("true") and bool(chosen), what="a dialog that asks for files")
    assert chosen[0].is_multiple()
    importer.keyboard.press("Tab")
    assert importer.evaluate("document.activeElement.id") == "folder"
