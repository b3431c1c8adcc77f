"""From a patient to the image, in a real browser with software graphics."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Page, expect

from pacs.models import Study
from pacs.services import corrections
from radiology.models import Role, User
from tests.browser.conftest import sign_in
from tests.browser.volume import ct_volume
from tests.factories import make_patient

# Every canvas, scaled to 32 × 32, spans more than 30 grey levels: an image, not a black frame.
IMAGES_ARE_VISIBLE = """(wanted) => {
  const canvases = [...document.querySelectorAll(".cornerstone-canvas")];
  return canvases.length >= wanted && canvases.every((canvas) => {
    const small = document.createElement("canvas");
    small.width = small.height = 32;
    const context = small.getContext("2d");
    context.drawImage(canvas, 0, 0, 32, 32);
    const levels = context.getImageData(0, 0, 32, 32).data.filter((_, i) => i % 4 === 0);
    return Math.max(...levels) - Math.min(...levels) > 30;
  });
}"""


def wait_for_images(page: Page, *, canvases: int, seconds: int = 90) -> None:
    page.wait_for_function(IMAGES_ARE_VISIBLE, arg=canvases, timeout=seconds * 1000, polling=250)


@pytest.fixture
def study(send: Callable[[Path], None], tmp_path: Path, person: User) -> str:
    uid = ct_volume(tmp_path, slices=40)
    send(tmp_path)
    return uid


def test_from_the_patient_to_the_image(signed_in: Page, study: str, complaints: list[str]) -> None:
    signed_in.goto("/worklist")
    signed_in.get_by_role("link", name="BUDI WIBOWO", exact=True).click()
    thumbnail = signed_in.locator(".thumbnail img").first
    expect(thumbnail).to_be_visible()
    assert thumbnail.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 0
    signed_in.get_by_role("link", name="View images").click()
    signed_in.wait_for_url(f"**/ohif/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    expect(signed_in.get_by_text("BR0001")).to_be_visible()
    assert complaints == []


def test_multiplanar_reconstruction(signed_in: Page, study: str) -> None:
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}&hangingprotocolid=mpr")
    wait_for_images(signed_in, canvases=3)


def test_volume_in_three_dimensions(signed_in: Page, study: str) -> None:
    signed_in.set_viewport_size({"width": 760, "height": 480})
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}&hangingprotocolid=only3D")
    wait_for_images(signed_in, canvases=1, seconds=180)


def test_signing_in_on_the_way_returns_to_the_image(page: Page, study: str) -> None:
    page.goto("/viewer?AccessionNumber=BR-1")
    page.wait_for_url("**/accounts/login/**")
    sign_in(page)
    page.wait_for_url(f"**/ohif/viewer?StudyInstanceUIDs={study}")
    wait_for_images(page, canvases=1)


def test_the_viewer_speaks_indonesian(signed_in: Page, study: str, person: User) -> None:
    person.language = "id"
    person.save()
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    assert signed_in.locator("html").get_attribute("lang") == "id"
    expect(signed_in.get_by_role("button", name="Orientasi").first).to_be_visible()


def test_what_the_viewer_sends_carries_the_token_that_writing_takes(signed_in: Page, study: str) -> None:
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    status = """() => new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.open("POST", "/dicom-web/studies");
      request.setRequestHeader("Content-Type", 'multipart/related; type="application/dicom"; boundary=b');
      request.onload = () => resolve(request.status);
      const body = "\\r\\n--b\\r\\nContent-Type: application/dicom\\r\\n\\r\\nnothing\\r\\n--b--";
      request.send(new TextEncoder().encode(body));
    })"""
    refused_for_its_content = {400, 409}
    assert signed_in.evaluate(status) in refused_for_its_content
    signed_in.context.clear_cookies(name="csrftoken")
    assert signed_in.evaluate(status) == 403


def test_the_viewer_shows_the_patient_whom_a_correction_names(signed_in: Page, study: str, person: User) -> None:
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    person = User.objects.get(pk=person.pk)
    row = Study.objects.get(study_instance_uid=study)
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    expect(signed_in.get_by_text("BR0001")).to_be_visible()
    right = make_patient("RM-77", "Lestari^Wayan")
    correction = corrections.assign_patient(who=person, study=row, version=row.version, patient=right)
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    expect(signed_in.get_by_text("RM-77")).to_be_visible()
    expect(signed_in.get_by_text("BR0001")).to_have_count(0)
    corrections.undo(who=person, correction=correction)
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(signed_in, canvases=1)
    expect(signed_in.get_by_text("BR0001")).to_be_visible()
