"""The inbox in a real browser: two sides face to face, decided by keys, taken back by the bar."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Page, Route, expect

from pacs.models import HeldDecision, Study
from radiology.dicom import new_uid
from radiology.models import Role, User
from tests.browser.volume import ct_volume
from tests.daemons import wait_until
from tests.factories import make_patient

SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def radiographer(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    return person


@pytest.fixture
def conflicts(send: Callable[[Path], None], tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """`conflicts(n)`: n studies whose console sent one image again, with another description."""

    def make(count: int) -> None:
        folder = tmp_path / "conflicts"
        for number in range(count):
            each = folder / str(number)
            each.mkdir(parents=True)
            ct_volume(each, slices=1, PatientID=f"C{number}", PatientName=f"NUMBER{number}^TEST")
        send(folder_of_all := _gathered(folder, tmp_path / "first"))
        for file in folder_of_all.iterdir():
            data_set = pydicom.dcmread(file)
            data_set.StudyDescription = "Corrected words"
            data_set.save_as(file)
        send(folder_of_all)

    yield make


def _gathered(folder: Path, target: Path) -> Path:
    target.mkdir()
    for number, file in enumerate(sorted(folder.rglob("*.dcm"))):
        file.rename(target / f"{number}.dcm")
    return target


def test_ten_conflicts_are_decided_by_keys_alone(
    signed_in: Page, radiographer: User, conflicts: Callable[[int], None], complaints: list[str]
) -> None:
    conflicts(4)
    signed_in.goto("/inbox")
    cards = signed_in.locator(".case")
    expect(cards).to_have_count(4)
    expect(cards.first.locator("tr.differs")).to_contain_text(["CT Thorax"])
    signed_in.keyboard.press("j")
    for left in (3, 2, 1):
        signed_in.keyboard.press("a")
        expect(cards).to_have_count(left)
        expect(signed_in.locator(".case:focus-within")).to_have_count(1)
    signed_in.keyboard.press("r")
    expect(signed_in.get_by_text("No conflict waits.")).to_be_visible()
    assert Study.objects.filter(study_description="Corrected words").count() == 3
    signed_in.keyboard.press("u")
    expect(cards).to_have_count(1)
    wait_until(lambda: HeldDecision.objects.filter(undone_at=None).count() == 3)
    assert complaints == []


def test_a_new_conflict_appears_by_itself_but_not_under_ones_hands(
    signed_in: Page, radiographer: User, conflicts: Callable[[int], None], send: Callable[[Path], None], tmp_path: Path
) -> None:
    signed_in.goto("/inbox")
    expect(signed_in.get_by_text("No conflict waits.")).to_be_visible()
    conflicts(1)
    expect(signed_in.locator(".case")).to_have_count(1, timeout=30000)
    signed_in.locator(".differences summary").click()
    late = tmp_path / "late"
    late.mkdir()
    study = ct_volume(late, slices=1)
    send(late)
    data_set = pydicom.dcmread(late / "0000.dcm")
    data_set.StudyDescription = "Again"
    data_set.save_as(late / "0000.dcm")
    with signed_in.expect_request_finished(lambda request: request.url.endswith("/nothing"), timeout=60000) as _:
        send(late)
        signed_in.evaluate("setTimeout(() => fetch('/nothing'), 2200)")
    expect(signed_in.locator(".case")).to_have_count(1)
    expect(signed_in.locator(".differences[open]")).to_have_count(1)
    signed_in.locator(".differences summary").click()
    expect(signed_in.locator(".case")).to_have_count(2, timeout=30000)
    assert study


def sent_with_other_pixels(send: Callable[[Path], None], folder: Path) -> str:
    """One image, and another under its number: the study of both."""
    study = ct_volume(folder, slices=1)
    send(folder)
    file = next(folder.iterdir())
    data_set = pydicom.dcmread(file)
    data_set.PixelData = bytes(reversed(data_set.PixelData))
    data_set.save_as(file)
    send(folder)
    return study


def test_an_update_that_was_on_its_way_takes_no_typed_word(
    signed_in: Page, radiographer: User, send: Callable[[Path], None], tmp_path: Path
) -> None:
    sent_with_other_pixels(send, tmp_path)
    held: list[Route] = []
    signed_in.goto("/inbox?tab=quarantine")
    look = re.compile(r"/inbox\?tab=quarantine")
    with signed_in.expect_request(look):
        signed_in.route(look, lambda route: held.append(route))
    why = signed_in.get_by_label("Why is the first one replaced?")
    why.fill("Rebuilt on the")
    signed_in.evaluate(
        "() => { window.looked = new Promise((done) => document.addEventListener('htmx:afterRequest', done)) }"
    )
    headers = {name: value for name, value in held[0].request.all_headers().items() if name != "if-none-match"}
    held[0].continue_(headers=headers)  # as if something had changed
    assert signed_in.evaluate("window.looked.then((event) => event.detail.xhr.status)") == 200
    expect(why).to_have_value("Rebuilt on the")


def test_other_pixels_ask_for_a_reason_first(
    signed_in: Page, radiographer: User, send: Callable[[Path], None], tmp_path: Path, complaints: list[str]
) -> None:
    study = sent_with_other_pixels(send, tmp_path)
    signed_in.goto("/inbox?tab=quarantine")
    pictures = signed_in.locator(".sides img")
    expect(pictures).to_have_count(2)
    for number in range(2):
        expect(pictures.nth(number)).to_be_visible()
    wait_until(lambda: pictures.evaluate_all("all => all.every((one) => one.complete && one.naturalWidth > 50)"))
    signed_in.get_by_role("button", name="Replace by the new one").click()
    expect(signed_in.get_by_label("Why is the first one replaced?")).to_be_focused()
    signed_in.keyboard.type("Rebuilt on the console")
    signed_in.get_by_role("button", name="Replace by the new one").click()
    expect(signed_in.get_by_text("Nothing is in quarantine.")).to_be_visible()
    assert HeldDecision.objects.get().study_ref == Study.objects.get(study_instance_uid=study)
    assert complaints == []


def test_an_unknown_patient_is_given_to_the_proposal_and_back(
    signed_in: Page, radiographer: User, send: Callable[[Path], None], tmp_path: Path
) -> None:
    right = make_patient("BR0009", "LESTARI^DEWI", patient_birth_date="19850405", patient_sex="F")
    ct_volume(tmp_path, slices=1, PatientName="LESTARI^DEWI", PatientID="", PatientBirthDate="19850405", PatientSex="F")
    send(tmp_path)
    signed_in.goto("/inbox?tab=unknown")
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("a")
    expect(signed_in.get_by_text("Every study has a patient.")).to_be_visible()
    assert Study.objects.get().patient_ref == right
    signed_in.get_by_role("button", name="Undo").click()
    expect(signed_in.locator(".case")).to_have_count(1)
    assert Study.objects.get().patient_ref != right


def test_scripts_in_conflicting_images_never_run(
    signed_in: Page, radiographer: User, send: Callable[[Path], None], tmp_path: Path, complaints: list[str]
) -> None:
    study = new_uid()
    ct_volume(tmp_path, slices=1, study=study)
    send(tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    ct_volume(
        tmp_path, slices=1, study=study, PatientName=f"{SCRIPT}^B", PatientID="'\"><svg onload=alert(3)>",
        StudyDescription=SCRIPT[:64], SeriesDescription=SCRIPT[:64], AccessionNumber="<b>x",
    )  # fmt: skip
    send(tmp_path)
    signed_in.goto("/inbox")
    expect(signed_in.get_by_text("alert(2)").first).to_be_visible()
    assert signed_in.locator("[onerror], [onload], main script").count() == 0
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_the_inbox_is_never_wider_than_the_screen(
    signed_in: Page, radiographer: User, conflicts: Callable[[int], None], width: int
) -> None:
    conflicts(1)
    Study.objects.update(study_description="X" * 64, accession_number="Y" * 16)
    make_patient("M" * 64, "A" * 64 + "^" + "B" * 60)
    signed_in.set_viewport_size({"width": width, "height": 800})
    for tab in ("conflicts", "quarantine", "unknown"):
        signed_in.goto(f"/inbox?tab={tab}")
        assert signed_in.evaluate("document.documentElement.scrollWidth") <= width, tab
