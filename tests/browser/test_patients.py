"""Patients in a real browser: registered by the keyboard alone, merged face to face, parted by the bar."""

import re

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Page, expect

from radiology.models import Order, Patient, PatientMerge, Role, User
from radiology.services.registration import register_patient
from tests.factories import make_study

SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.fixture
def radiographer(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    return person


def known(who: User, name: str, **values: str) -> Patient:
    given = {"patient_name": name, "patient_birth_date": "19700131", "patient_sex": "F", **values}
    return register_patient(who=who, values=given, despite_duplicates=True, reason="test")


def test_a_patient_is_registered_by_keys_alone_and_likely_duplicates_are_seen_first(
    signed_in: Page, radiographer: User, complaints: list[str]
) -> None:
    known(radiographer, "SOEHARTI^DJOKO", allergies=SCRIPT)
    signed_in.goto("/patients")
    keys = signed_in.keyboard
    keys.type("sucipta")
    expect(signed_in.get_by_text("Nobody is found")).to_be_visible()
    keys.press("Escape")
    keys.press("n")
    expect(signed_in.get_by_label("Name *")).to_be_visible()
    signed_in.get_by_label("Name *").focus()
    keys.type("Joko Suharti")
    keys.press("Tab")
    keys.type("31/1/1970")
    keys.press("Tab")
    keys.press("ArrowRight")  # from unknown on to the first choice
    expect(signed_in.locator("#candidates .likely")).to_contain_text("name sounds the same")
    keys.press("Enter")
    expect(signed_in.get_by_role("alert")).to_contain_text("likely the same person")
    expect(signed_in.get_by_label("Name *")).to_have_value("Joko Suharti")
    signed_in.get_by_label("Why is this another person?").focus()
    keys.type("twins")
    keys.press("Enter")
    expect(signed_in).to_have_url(re.compile(r"/patients/[0-9a-f-]{36}$"))
    expect(signed_in.locator(".banner")).to_contain_text("Joko Suharti")
    expect(signed_in.locator(".notice")).to_contain_text("is registered with the number RM000002")
    made = Patient.objects.get(patient_name="Suharti^Joko")
    assert (made.patient_birth_date, made.patient_sex) == ("19700131", "F")
    signed_in.goto("/patients?q=joko+soeharti")
    expect(signed_in.locator("[data-row]")).to_have_count(2)
    assert complaints == []


def test_two_patients_are_merged_face_to_face_and_parted_again_by_the_bar(
    signed_in: Page, radiographer: User, complaints: list[str]
) -> None:
    survivor = known(radiographer, "SARI^DEWI")
    merged = known(radiographer, "SARY^DEWY", allergies=f"Iodine {SCRIPT}", patient_sex="M")
    make_study(merged), make_study(merged)
    Order.objects.create(patient_ref=merged, accession_number="ACC-77")
    signed_in.goto(f"/patients/{survivor.public_id}")
    signed_in.get_by_role("link", name="Merge…").click()
    signed_in.locator("#q").fill(merged.patient_id)
    signed_in.get_by_role("link", name="DEWY SARY").click()
    expect(signed_in.get_by_role("row", name="Name")).to_contain_text("DEWI SARI")
    assert signed_in.locator("tr.differs").count() >= 3
    expect(signed_in.get_by_role("alert")).to_contain_text("The sexes differ")
    expect(signed_in.locator(".moving")).to_contain_text("2 studies")
    expect(signed_in.locator(".moving")).to_contain_text("ACC-77")
    signed_in.get_by_label("Why?").fill("registered twice")
    signed_in.get_by_role("button", name="Merge").click()
    expect(signed_in).to_have_url(re.compile(f"/patients/{survivor.public_id}$"))
    expect(signed_in.locator(".banner")).to_contain_text("Iodine")
    assert survivor.studies.count() == 2
    signed_in.keyboard.press("u")
    expect(signed_in.locator(".notice")).to_contain_text("is a patient again")
    assert PatientMerge.objects.get().undone_at is not None
    assert merged.studies.count() == 2
    assert complaints == []
