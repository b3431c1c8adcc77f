"""Ordering in a real browser: two examinations by the keyboard alone, pages that fit, scripts that never run."""

from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Page, expect

from radiology.models import Order, Role, User
from radiology.services.catalogue_csv import import_csv, usual_procedures
from tests.factories import default_site, make_order, make_patient

SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def desk(person: User) -> User:
    person.groups.add(Group.objects.get(name=Role.DESK))
    import_csv(site=default_site(), text=usual_procedures())
    return person


def test_two_examinations_are_ordered_by_the_keyboard_alone(signed_in: Page, desk: User, complaints: list[str]) -> None:
    make_patient("001234", "LESTARI^AYU", patient_sex="F", patient_birth_date="19950505")
    signed_in.goto("/orders")
    signed_in.keyboard.press("o")
    signed_in.wait_for_url("**/orders/new")
    signed_in.keyboard.type("les ay")
    expect(signed_in.get_by_text("AYU LESTARI")).to_be_visible()
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url("**/orders/new?patient=*")
    search = signed_in.locator("#procedure-text")
    expect(search).to_be_focused()
    signed_in.keyboard.type("thorax pa")
    expect(signed_in.get_by_role("button", name="Foto Thorax PA DX · DXTHXPA", exact=True)).to_be_visible()
    signed_in.keyboard.press("ArrowDown")
    expect(signed_in.locator("#procedure-found button").first).to_be_focused()
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator(".chosen li")).to_have_count(1)
    expect(signed_in.get_by_role("heading", name="Safety")).to_be_visible()
    expect(search).to_be_focused()
    signed_in.keyboard.type("knee")
    expect(signed_in.locator("#procedure-found button").first).to_contain_text("Foto Genu")
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator(".chosen li")).to_have_count(2)
    expect(signed_in.locator(".chosen input[type=radio]:focus")).to_have_count(1)
    signed_in.keyboard.press("Space")
    signed_in.get_by_label("Clinical question").focus()
    signed_in.keyboard.type("Jatuh dari motor")
    signed_in.get_by_role("button", name="Place the order").focus()
    signed_in.keyboard.press("Enter")
    told = signed_in.get_by_text("Say whether the patient may be pregnant")
    expect(told).to_be_visible()
    expect(signed_in.get_by_label("Clinical question")).to_have_value("Jatuh dari motor")
    signed_in.get_by_label("Not pregnant").focus()
    signed_in.keyboard.press("Space")
    signed_in.get_by_role("button", name="Place the order").focus()
    signed_in.keyboard.press("Enter")
    expect(signed_in.get_by_text("Jatuh dari motor").first).to_be_visible()
    order = Order.objects.get()
    assert order.requested_procedures.count() == 2 and order.pregnancy_status == "1"
    assert order.requested_procedures.get(procedure_code_value="DXKNEE").laterality == "R"
    expect(signed_in.get_by_role("heading", level=1)).to_contain_text(order.accession_number)
    assert complaints == []


@pytest.mark.parametrize("when", ["before it is found", "the moment it is found"])
def test_whoever_is_quicker_than_the_search_goes_on_typing_in_the_same_page(
    signed_in: Page, desk: User, when: str
) -> None:
    signed_in.goto(f"/orders/new?patient={make_patient('001234', 'LESTARI^AYU').public_id}")
    search = signed_in.locator("#procedure-text")
    expect(search).to_be_focused()
    signed_in.evaluate(
        """(watch) => {
          document.body.dataset.stayed = "1";
          const found = document.getElementById("procedure-found");
          const take = () => found.querySelector("button")?.click();
          if (watch) new MutationObserver(take).observe(found, { childList: true });
        }""",
        when == "the moment it is found",
    )
    signed_in.keyboard.type("thorax pa")
    if when == "before it is found":
        signed_in.keyboard.press("Enter")
    expect(signed_in.locator(".chosen li")).to_have_count(1)
    expect(search).to_be_focused()
    expect(signed_in.locator("body")).to_have_attribute("data-stayed", "1")


def test_a_procedure_is_added_and_called_off_and_that_undone_by_the_keyboard_alone(
    signed_in: Page, desk: User, complaints: list[str]
) -> None:
    order = make_order(make_patient("001234", "LESTARI^AYU"), procedures=1)
    signed_in.goto(f"/orders/{order.public_id}")
    signed_in.keyboard.press("a")
    signed_in.wait_for_url("**/edit#procedure-text")
    expect(signed_in.locator("#procedure-text")).to_be_focused()
    signed_in.keyboard.type("usg abd")
    expect(signed_in.locator("#procedure-found button").first).to_contain_text("USG Abdomen")
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator("li[id^=chosen-]")).to_have_count(1)
    signed_in.get_by_role("button", name="Save").focus()
    signed_in.keyboard.press("Enter")
    signed_in.wait_for_url(f"**/orders/{order.public_id}")
    expect(signed_in.locator(".chosen li")).to_have_count(2)
    signed_in.get_by_text("Call off…").first.focus()
    signed_in.keyboard.press("Enter")
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.type("tidak perlu")
    signed_in.keyboard.press("Enter")
    expect(signed_in.locator(".chosen .called-off")).to_have_count(1)
    signed_in.keyboard.press("u")
    expect(signed_in.locator(".chosen .called-off")).to_have_count(0)
    states = order.requested_procedures.values_list("status", flat=True)
    assert set(states) == {"requested"} and len(states) == 2
    assert complaints == []


def test_pages_fit_every_screen_and_run_no_script_from_what_was_typed(
    signed_in: Page, desk: User, complaints: list[str], tmp_path: Path
) -> None:
    patient = make_patient("M" * 40, f"{SCRIPT}^{'X' * 30}")
    order = make_order(
        patient, procedures=3, clinical_history=SCRIPT, reason_for_the_requested_procedure="W" * 300, priority="STAT"
    )
    for number in range(12):
        make_order(procedures=2, accession_number=f"2603090{number:04d}")
    form = f"/orders/new?patient={patient.public_id}"
    for width in (390, 1280, 2560):
        signed_in.set_viewport_size({"width": width, "height": 900})
        for name, address in (
            ("list", "/orders"), ("form", form), ("order", f"/orders/{order.public_id}"),
            ("edit", f"/orders/{order.public_id}/edit"), ("slip", f"/orders/{order.public_id}/slip"),
            ("choose", "/orders/new"),
        ):  # fmt: skip
            signed_in.goto(address)
            wide = signed_in.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 1, (name, width, wide)
            signed_in.screenshot(path=tmp_path / f"{name}-{width}.png")
    assert complaints == []
