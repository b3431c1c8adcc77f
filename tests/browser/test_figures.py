"""Figures and peer review in a real browser: on a screen and a phone, light and dark, by the keyboard."""

import random
import re
from datetime import timedelta
from pathlib import Path

from django.contrib.auth.models import Group
from django.utils import timezone
from playwright.sync_api import Page, expect

from radiology.models import Role, Site, User
from tests.factories import make_device, make_requested_procedure
from tests.worklist.peer_reviews import make_radiologist, make_signed, policy, this_month
from worklist.models import ExaminationFigures, PeerReview
from worklist.services.peer_review import score
from worklist.services.peer_review_draw import draw

SIZES = ((1280, 900), (390, 844))


def fits(page: Page) -> bool:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")) <= 1


def month_of_work(site: Site) -> None:
    """Some weeks of examinations, with queues as they are."""
    chance = random.Random(7)
    readers = [make_radiologist(f"r{number}", name, "Hidayat") for number, name in enumerate(("Rahmat", "Sri", "Agus"))]
    devices = [make_device(f"CT{number}") for number in range(3)]
    for day in range(40):
        for _ in range(chance.randrange(2, 9)):
            at = timezone.now() - timedelta(days=day)
            procedure = make_requested_procedure(modality=chance.choice(["CT", "MR", "DX"]))
            ExaminationFigures.objects.create(
                requested_procedure_ref=procedure, site=site, patient_key=procedure.order_ref.patient_ref_id,
                began_at=at, day=at.date(), hour=chance.choice([8, 9, 9, 10, 10, 11, 13, 14, 20]),
                modality=procedure.modality, procedure="P", device=chance.choice(devices),
                radiologist=chance.choice(readers), signed_on=at.date(), signed_hour=chance.randrange(8, 18),
                agreed=86400, to_final=int(chance.expovariate(1 / 30000)), to_start=int(chance.expovariate(1 / 1200)),
                to_images=chance.randrange(300, 2400), order_to_final=int(chance.expovariate(1 / 60000)),
                requesting_service=chance.choice(["IGD", "Poli Paru", "ICU"]),
                operators_name=chance.choice(["SARI^DEWI", "UTAMI^PUTRI"]),
            )  # fmt: skip


def test_figures_are_readable_on_a_screen_and_a_phone_in_light_and_dark(
    signed_in: Page, person: User, complaints: list[str], tmp_path: Path
) -> None:
    person.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
    month_of_work(person.site)
    for theme in ("light", "dark"):
        User.objects.filter(pk=person.pk).update(theme=theme)
        for width, height in SIZES:
            signed_in.set_viewport_size({"width": width, "height": height})
            for part in ("turnaround", "workload", "repeats", "critical"):
                signed_in.goto(f"/figures?part={part}")
                assert fits(signed_in), (part, width)
                signed_in.screenshot(path=tmp_path / f"figures-{part}-{width}-{theme}.png", full_page=True)
    signed_in.set_viewport_size({"width": 1280, "height": 900})
    signed_in.goto("/")
    signed_in.get_by_role("link", name="Figures").first.click()
    expect(signed_in.get_by_role("heading", level=1)).to_have_text("Figures of the department")
    expect(signed_in.get_by_role("img", name="Images complete → signed over time")).to_be_visible()
    expect(signed_in.get_by_label("From", exact=True)).to_be_hidden()
    signed_in.get_by_label("Period", exact=True).select_option("range")
    signed_in.get_by_label("From", exact=True).fill("2026-01-01")
    signed_in.get_by_label("Step", exact=True).select_option("to_start")
    signed_in.get_by_role("button", name="Show").click()
    expect(signed_in.get_by_role("heading", name="Arrived → started over time")).to_be_visible()
    with signed_in.expect_download() as download:
        signed_in.get_by_role("link", name=re.compile(r"^CSV ?: By radiologist$")).click()
    assert "Rahmat Hidayat" in Path(download.value.path()).read_text(encoding="utf-8")
    assert complaints == []


def test_a_report_is_reviewed_by_the_keyboard_alone(
    signed_in: Page, person: User, complaints: list[str], tmp_path: Path
) -> None:
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    author = make_radiologist("zul", "Zulkarnain", "Hidayat")
    policy(number=2)
    for text in ("Paru normal. Jantung tidak membesar.\nTidak ada fraktur.", "Fraktur iga keenam kanan."):
        make_signed(author, text=text)
    draw(site=person.site, month=this_month())
    signed_in.goto("/peer-review")
    signed_in.screenshot(path=tmp_path / "peer-review-1280.png")
    signed_in.keyboard.press("j")
    signed_in.keyboard.press("Enter")
    expect(signed_in.get_by_role("group", name="Do you see it the same way?")).to_be_visible()
    for key, value in (("1", "1"), ("3", "3a"), ("3", "3b"), ("2", "2a")):
        signed_in.keyboard.press(key)
        expect(signed_in.locator(f'[name="score"][value="{value}"]')).to_be_checked()
    signed_in.keyboard.press("3")
    signed_in.screenshot(path=tmp_path / "peer-review-one-1280.png")
    first = signed_in.url
    signed_in.keyboard.press("c")
    signed_in.keyboard.type("Nodule in the right upper lobe, 123")
    signed_in.keyboard.press("Control+Enter")
    expect(signed_in).not_to_have_url(first)
    second = PeerReview.objects.get(score="")
    assert str(second.public_id) in signed_in.url
    assert PeerReview.objects.get(score="3a").scores.get().comment == "Nodule in the right upper lobe, 123"
    signed_in.set_viewport_size({"width": 390, "height": 844})
    assert fits(signed_in)
    signed_in.screenshot(path=tmp_path / "peer-review-one-390.png", full_page=True)
    signed_in.keyboard.press("d")
    signed_in.keyboard.type("I took part")
    signed_in.get_by_role("button", name="Decline").click()
    expect(signed_in.get_by_text("Nothing waits for your review.")).to_be_visible()
    assert complaints == []


def test_the_author_and_who_leads_see_a_discrepancy(
    signed_in: Page, person: User, complaints: list[str], tmp_path: Path
) -> None:
    person.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    reviewer = make_radiologist("sri", "Sri", "Wahyuni")
    policy(number=1)
    make_signed(person, text="Paru normal.")
    (review,) = draw(site=person.site, month=this_month())
    score(review=review, who=reviewer, score="3b", comment="A fracture of the sixth rib.")
    signed_in.goto("/peer-review")
    signed_in.get_by_label("Answer to who leads the department (may be empty)").fill("I see it now.")
    signed_in.screenshot(path=tmp_path / "peer-review-about-1280.png")
    signed_in.get_by_role("button", name="I have seen it").click()
    expect(signed_in.get_by_text("I see it now.")).to_be_visible()
    person.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
    for path, name in (("/peer-review/all", "all"), ("/peer-review/figures", "figures")):
        for width, height in SIZES:
            signed_in.set_viewport_size({"width": width, "height": height})
            signed_in.goto(path)
            assert fits(signed_in), (path, width)
            signed_in.screenshot(path=tmp_path / f"peer-review-{name}-{width}.png", full_page=True)
    assert complaints == []
