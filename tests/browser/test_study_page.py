"""A study's page in a real browser: forms in dialogs, undo, the search in a header."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db.models import F
from playwright.sync_api import Page, expect

from pacs.models import Study
from radiology.models import Role, User
from tests.browser.volume import ct_volume
from tests.factories import make_patient, make_series, make_study


@pytest.fixture(autouse=True)
def radiographer(person: User) -> None:
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))


SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def study(signed_in: Page, send: Callable[[Path], None], tmp_path: Path) -> str:
    uid = ct_volume(tmp_path, slices=3, Laterality="L", ImageComments=SCRIPT)
    send(tmp_path)
    signed_in.goto(f"/studies/{uid}")
    return uid


def choose(page: Page, action: str) -> None:
    page.get_by_text("Change…").click()
    page.get_by_role("link", name=action).click()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_correction_is_made_in_a_dialog_shown_everywhere_and_taken_back(
    signed_in: Page, study: str, complaints: list[str]
) -> None:
    choose(signed_in, "Correct the study")
    dialog = signed_in.get_by_role("dialog")
    dialog.get_by_label("Accession").fill("A\\B")
    dialog.get_by_label("Why").fill("typing mistake")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator(".field-error")).to_contain_text("Accession")
    expect(dialog.get_by_label("Why")).to_have_value("typing mistake")
    dialog.get_by_label("Accession").fill("NEW-1")
    dialog.get_by_role("button", name="Save").click()
    expect(signed_in.locator("dl.facts").first).to_contain_text("NEW-1")
    expect(signed_in.locator(".history")).to_contain_text("Accession Number: BR-1 → NEW-1")
    # The page itself may show all this by its next look, before the one with the bar replaces it.
    expect(signed_in.get_by_role("button", name="Undo")).to_be_visible()
    signed_in.keyboard.press("u")
    expect(signed_in.locator("dl.facts").first).to_contain_text("BR-1")
    expect(signed_in.get_by_text("Taken back: the study is as before.")).to_be_visible()
    assert complaints == []


def test_a_menu_that_is_open_stays_so_when_the_study_changes(signed_in: Page, study: str) -> None:
    signed_in.get_by_text("Change…").click()
    Study.objects.update(study_description="Changed meanwhile", version=F("version") + 1)
    expect(signed_in.get_by_role("heading", name="Changed meanwhile")).to_be_visible()
    expect(signed_in.get_by_role("link", name="Correct the study")).to_be_visible()


def test_the_patient_who_is_found_gets_the_study(signed_in: Page, study: str, complaints: list[str]) -> None:
    right = make_patient("BR0009", "LESTARI^DEWI", patient_birth_date="19850405", patient_sex="F")
    choose(signed_in, "Another patient")
    dialog = signed_in.get_by_role("dialog")
    dialog.get_by_label("Name, MRN or birth date").fill("dewi")
    signed_in.keyboard.press("Enter")
    dialog.get_by_label("DEWI LESTARI").check()
    expect(dialog).to_contain_text("3 images leave BUDI WIBOWO")
    dialog.get_by_role("button", name="Give the study").click()
    expect(signed_in.get_by_label("Patient", exact=True)).to_contain_text("DEWI LESTARI")
    assert Study.objects.get(study_instance_uid=study).patient_ref == right
    assert complaints == []


def test_two_people_who_correct_one_study_see_both_versions(signed_in: Page, study: str) -> None:
    choose(signed_in, "Correct the study")
    other = signed_in.context.new_page()
    other.goto(f"/studies/{study}/correct")
    other.get_by_label("Description").fill("Theirs")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("heading", name="Theirs")).to_be_visible()
    dialog = signed_in.get_by_role("dialog")
    dialog.get_by_label("Description").fill("Mine")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_contain_text("there now: Theirs")
    expect(dialog.get_by_label("Description")).to_have_value("Mine")
    dialog.get_by_role("button", name="Save").click()
    expect(signed_in.get_by_role("heading", name="Mine")).to_be_visible()


def test_the_header_is_searched_while_typing_and_shows_what_was_corrected(
    signed_in: Page, study: str, complaints: list[str]
) -> None:
    signed_in.goto(f"/studies/{study}/correct")
    signed_in.get_by_label("Accession").fill("NEW-1")
    signed_in.get_by_role("button", name="Save").click()
    signed_in.get_by_role("link", name="Headers").click()
    rows = signed_in.locator("#header tbody tr:visible")
    signed_in.wait_for_url("**/headers")
    signed_in.keyboard.press("/")
    signed_in.keyboard.type("0008 accession")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("NEW-1")
    expect(rows).to_contain_text("BR-1")
    signed_in.locator("#q").fill("alert(2)")
    expect(rows).to_contain_text(["ImageComments"])
    signed_in.locator("#q").fill("")
    signed_in.get_by_label("only what was corrected").check()
    expect(rows).to_contain_text(["AccessionNumber"])
    signed_in.locator("#q").blur()
    signed_in.get_by_label("only what was corrected").blur()
    before = signed_in.url
    signed_in.keyboard.press("n")
    signed_in.wait_for_url(lambda url: url != before)
    assert complaints == []


def test_a_rejected_series_goes_and_the_bar_brings_it_back(signed_in: Page, study: str) -> None:
    choose(signed_in, "Reject images")
    dialog = signed_in.get_by_role("dialog")
    dialog.get_by_label("the whole study").check()
    dialog.get_by_label("Rejected for patient safety reasons").check()
    dialog.get_by_role("button", name="Reject").click()
    expect(signed_in.get_by_text("Rejected: shown nowhere any more.")).to_be_visible()
    signed_in.get_by_role("button", name="Undo").click()
    expect(signed_in.get_by_text("Restored.")).to_be_visible()
    expect(signed_in.get_by_role("row").filter(has_text="BUDI WIBOWO")).to_contain_text("3")
    signed_in.goto(f"/studies/{study}")
    expect(signed_in.locator("#series-title")).to_contain_text("3 images")


def test_everything_works_without_scripts(signed_in: Page, study: str, person: User) -> None:
    person.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
    context = signed_in.context.browser.new_context(
        base_url=signed_in.url.split("/studies")[0],
        java_script_enabled=False,
        storage_state=signed_in.context.storage_state(),
    )
    page = context.new_page()
    page.goto(f"/studies/{study}")
    page.get_by_text("Change…").click()
    page.get_by_role("link", name="Delete the study").click()
    page.get_by_label("Why?").fill("test images")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("The study is deleted.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Restored.")).to_be_visible()
    page.goto(f"/studies/{study}")
    expect(page.locator("#series-title")).to_contain_text("3 images")
    context.close()


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_no_page_of_a_study_is_wider_than_the_screen(signed_in: Page, width: int) -> None:
    study = make_study(make_patient("M" * 64, "A" * 64 + "^" + "B" * 60), series=1, study_description="X" * 64)
    for modality in ("RTSTRUCT", "RTDOSE", "RTPLAN", "SEG"):
        make_series(study, modality=modality, series_description="Y" * 64, instances=3)
    signed_in.set_viewport_size({"width": width, "height": 800})
    for rest in (
        "", "/headers", "/history", "/correct", "/patient", "/split", "/merge", "/reject",
        f"/series/{study.series.all()[1].pk}/images",
    ):  # fmt: skip
        signed_in.goto(f"/studies/{study.study_instance_uid}{rest}")
        assert signed_in.evaluate("document.documentElement.scrollWidth") <= width, rest
