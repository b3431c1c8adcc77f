"""A doctor's results in a real browser: new, opened with the images, acknowledged, seen; on a phone and at a desk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Page, ViewportSize, expect

from pacs.models import Study
from radiology.models import CriticalResult, PersonalResult, Report, Role, User
from radiology.services.critical_results import raise_critical
from tests.browser.volume import ct_volume
from tests.factories import make_order, make_patient
from tests.worklist.results import added, awaited, radiologist, signed

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}
LONG = "Konsolidasi lobus bawah kiri dengan bronkogram udara. " * 6


@pytest.fixture
def doctor(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.DOCTOR))
    return person


@pytest.fixture
def rahmat(committed_db: None) -> User:
    return radiologist()


def fits(page: Page) -> bool:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")) <= 1


def test_a_doctor_at_the_desk_sees_what_is_new_reads_it_beside_the_images_and_says_that_they_know(
    signed_in: Page,
    doctor: User,
    rahmat: User,
    send: Callable[[Path], None],
    complaints: list[str],
    tmp_path: Path,
) -> None:
    page = signed_in
    page.set_viewport_size(DESK)
    (tmp_path / "ct").mkdir()
    uid = ct_volume(tmp_path / "ct", slices=3)
    send(tmp_path / "ct")
    study = Study.objects.get(study_instance_uid=uid)
    order = make_order(
        study.patient_ref, procedures=1, ordering_physician=doctor, reason_for_the_requested_procedure="Batuk lama?"
    )
    procedure = order.requested_procedures.get()
    Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
    older = awaited("WIBOWO^BUDI", ordering_physician=doctor)
    signed(older, rahmat, impression="Tidak tampak kelainan.")
    raise_critical(procedure=procedure, finding="Pneumotoraks kanan", category="red", who=rahmat)
    version = signed(procedure, rahmat, findings=LONG, impression="Pneumotoraks kanan.")
    awaited("SARI^CITRA", ordering_physician=doctor)

    page.goto("/")
    head = page.locator("#results-head")
    expect(head.locator("tbody tr").first).to_contain_text("Critical")
    expect(page.locator(".nav-wide .nav-count")).to_have_text("2")
    page.screenshot(path=tmp_path / "home-desk.png")
    page.locator(".nav-wide").get_by_role("link", name="Results").click()
    expect(page.locator("#results tbody tr.is-new")).to_have_count(2)
    page.screenshot(path=tmp_path / "list-desk.png")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".report .impression")).to_contain_text("Pneumotoraks kanan.")
    frame = page.frame_locator("iframe[name=images]")
    expect(frame.locator(".cornerstone-canvas").first).to_be_visible(timeout=60_000)
    page.screenshot(path=tmp_path / "result-desk.png")
    page.get_by_role("button", name="I know").click()
    expect(page.locator(".critical")).to_contain_text("knows, read here")
    assert CriticalResult.objects.get().acknowledged_by == doctor
    page.locator(".paper").click(position={"x": 5, "y": 5})
    page.keyboard.press("j")
    expect(page.locator(".report .impression")).to_contain_text("Tidak tampak kelainan.")
    page.keyboard.press("k")
    expect(page.locator(".report .impression")).to_contain_text("Pneumotoraks kanan.")
    page.get_by_role("link", name="Results").first.click()
    expect(page.locator("#results tbody tr")).to_have_count(2)
    expect(page.locator("#results tbody tr.is-new")).to_have_count(0)
    assert not PersonalResult.objects.filter(is_new=True).exists()

    # An addendum makes it new again, on the list that is open.
    added(version.report_ref, "Fraktur iga ke-5 kanan.", rahmat)
    row = page.locator("#results tbody tr.is-new")
    expect(row).to_contain_text("Changed")
    expect(row).to_contain_text("With addendum")
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
    page.screenshot(path=tmp_path / "list-dark.png")
    row.get_by_role("link").first.click()
    expect(page.locator(".addendum")).to_contain_text("Fraktur iga ke-5 kanan.")
    page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
    page.screenshot(path=tmp_path / "result-dark.png")

    # On paper: what it says and about whom; no buttons, no images.
    page.emulate_media(media="print")
    for gone in (".top", "iframe", ".actions", ".result-nav"):
        expect(page.locator(gone).first).to_be_hidden()
    expect(page.locator(".report .impression")).to_be_visible()
    expect(page.locator(".banner")).to_be_visible()
    page.screenshot(path=tmp_path / "print.png", full_page=True)
    assert complaints == []


def test_a_doctor_on_the_phone_reads_the_report_first_and_goes_on_to_the_images(
    signed_in: Page,
    doctor: User,
    rahmat: User,
    send: Callable[[Path], None],
    complaints: list[str],
    tmp_path: Path,
) -> None:
    page = signed_in
    page.set_viewport_size(PHONE)
    (tmp_path / "ct").mkdir()
    uid = ct_volume(tmp_path / "ct", slices=3)
    send(tmp_path / "ct")
    study = Study.objects.get(study_instance_uid=uid)
    order = make_order(study.patient_ref, procedures=1, ordering_physician=doctor)
    procedure = order.requested_procedures.get()
    Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
    signed(procedure, rahmat, findings=LONG, impression="Pneumonia lobaris.")
    long_name = make_patient(f"MRN-{77:028d}", "WIJAYAKUSUMANINGRAT^RADEN AYU SITI MAHARANI KARTIKASARI")
    signed(awaited(patient=long_name, ordering_physician=doctor), rahmat, "preliminary", impression=LONG)
    awaited("SARI^CITRA", ordering_physician=doctor)

    page.goto("/")
    expect(page.locator("#results-head")).to_contain_text("Pneumonia lobaris.")
    assert fits(page)
    page.screenshot(path=tmp_path / "home-phone.png")
    page.goto("/results")
    expect(page.locator("#results tbody tr.is-new")).to_have_count(2)
    assert fits(page)
    page.screenshot(path=tmp_path / "list-phone.png")
    page.locator("#q").fill("raden")
    expect(page.locator("#results tbody tr")).to_have_count(1)
    expect(page.locator("#q")).to_be_focused()
    page.locator("#q").fill("")
    expect(page.locator("#results tbody tr")).to_have_count(2)
    page.locator("#results tbody tr", has_text="Pneumonia lobaris").get_by_role("link").first.click()
    expect(page.locator(".report .impression")).to_be_in_viewport()
    expect(page.locator("iframe[name=images]")).to_be_hidden()
    assert page.locator("iframe[name=images]").get_attribute("src") is None
    assert fits(page)
    page.screenshot(path=tmp_path / "result-phone.png", full_page=True)
    expect(page.locator(".thumbs img").first).to_be_visible()
    page.go_back()
    expect(page.locator("#results tbody tr.is-new")).to_have_count(1)

    doctor.language = "id"
    doctor.save()
    page.goto("/results?view=awaited")
    page.screenshot(path=tmp_path / "awaited-phone-id.png")
    assert fits(page)
    page.goto("/results")
    page.screenshot(path=tmp_path / "list-phone-id.png")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.screenshot(path=tmp_path / "list-id.png")
    page.goto(f"/patients/{study.patient_ref.public_id}")
    assert Report.objects.count() == 2
    assert complaints == []


def test_all_are_marked_as_seen_by_one_press_and_taken_back(
    signed_in: Page, doctor: User, rahmat: User, complaints: list[str], tmp_path: Path
) -> None:
    for name in ("LESTARI^AYU", "WIBOWO^BUDI"):
        signed(awaited(name, ordering_physician=doctor), rahmat)
    signed_in.goto("/results?view=new")
    expect(signed_in.locator("#results tbody tr")).to_have_count(2)
    signed_in.get_by_role("button", name="Mark all as seen").click()
    expect(signed_in.get_by_text("2 results are marked as seen.")).to_be_visible()
    expect(signed_in.get_by_text("Nothing new: you have seen all results.")).to_be_visible()
    signed_in.screenshot(path=tmp_path / "seen.png")
    signed_in.keyboard.press("u")
    expect(signed_in.locator("#results tbody tr")).to_have_count(2)
    assert complaints == []
