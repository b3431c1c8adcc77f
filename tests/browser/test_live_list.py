"""The list of studies in a real browser: it lives, and leaves people alone."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Page, Route, expect

from radiology.dicom import new_uid
from radiology.models import Role, User
from tests.browser.conftest import sign_in
from tests.browser.volume import ct_volume
from tests.daemons import wait_until
from tests.factories import make_patient, make_series, make_study


def test_an_image_sent_by_storescu_stands_in_the_open_list_within_two_seconds(
    signed_in: Page, send: Callable[[Path], None], tmp_path: Path, complaints: list[str]
) -> None:
    signed_in.goto("/worklist")
    expect(signed_in.get_by_text("Studies appear here")).to_be_visible()
    signed_in.evaluate("window.notReloaded = true")
    study = ct_volume(tmp_path, slices=1)
    send(tmp_path)
    acknowledged = time.monotonic()
    row = signed_in.get_by_role("row").filter(has_text="BUDI WIBOWO")
    expect(row).to_contain_text("CT Thorax", timeout=2000)
    assert time.monotonic() - acknowledged < 2
    for file in tmp_path.iterdir():
        file.unlink()
    ct_volume(tmp_path, slices=4, study=study)
    send(tmp_path)
    expect(row.locator(".number")).to_have_text("5 images", timeout=2000)
    assert signed_in.evaluate("window.notReloaded")
    assert complaints == []


def test_a_live_update_takes_neither_focus_nor_selection_nor_place(signed_in: Page) -> None:
    patient = make_patient("77", "SARI^SITI")
    for number in range(40):
        make_study(patient, series=1, study_description=f"Study {number:02}", study_date="20240101")
    signed_in.goto("/worklist")
    signed_in.locator("#q").fill("siti")
    expect(signed_in).to_have_url("http://" + signed_in.url.split("/")[2] + "/worklist?q=siti")
    signed_in.locator("#q").evaluate("input => input.setSelectionRange(1, 3)")
    signed_in.mouse.wheel(0, 600)
    wait_until(lambda: signed_in.evaluate("window.scrollY") > 300)
    middle = "document.elementFromPoint(600, 400).closest('tr').id"
    before = signed_in.evaluate(middle)
    make_study(patient, series=1, study_description="Arrived now", study_date="20240102")
    expect(signed_in.get_by_text("Arrived now")).to_be_attached(timeout=4000)
    assert signed_in.evaluate(middle) == before
    assert signed_in.evaluate("document.activeElement.id") == "q"
    assert signed_in.locator("#q").evaluate("i => [i.selectionStart, i.selectionEnd, i.value]") == [1, 3, "siti"]


def test_typing_searches_by_itself_and_the_address_keeps_it(signed_in: Page, complaints: list[str]) -> None:
    make_study(make_patient("1", "SARI^SITI"), series=1)
    make_study(make_patient("2", "WIBOWO^BUDI"), series=1)
    signed_in.goto("/worklist")
    signed_in.keyboard.press("/")
    signed_in.keyboard.type("bud")
    expect(signed_in.get_by_text("SITI SARI")).to_have_count(0)
    expect(signed_in.get_by_text("BUDI WIBOWO").first).to_be_visible()
    expect(signed_in).to_have_url(re.compile(r"\?q=bud$"))
    signed_in.reload()
    expect(signed_in.locator("#q")).to_have_value("bud")
    expect(signed_in.get_by_text("SITI SARI")).to_have_count(0)
    signed_in.locator("#q").fill("nobody")
    expect(signed_in.get_by_text("No study matches.")).to_be_visible()
    signed_in.get_by_label("From – to").check(force=True)
    expect(signed_in.get_by_label("From", exact=True)).to_be_visible()
    assert complaints == []


def test_keys_alone_lead_from_the_list_to_study_and_patient(signed_in: Page) -> None:
    for number, name in enumerate(["SARI^SITI", "WIBOWO^BUDI", "LESTARI^DEWI"]):
        make_study(make_patient(str(number), name), series=1, study_date=f"2024010{9 - number}")
    signed_in.goto("/worklist")
    for key in ("j", "j", "j", "k"):
        signed_in.keyboard.press(key)
    signed_in.keyboard.press("Enter")
    expect(signed_in.get_by_label("Patient", exact=True)).to_contain_text("BUDI WIBOWO")
    signed_in.go_back()
    expect(signed_in.get_by_role("row").filter(has_text="BUDI WIBOWO").locator("[data-row]")).to_be_focused()
    signed_in.keyboard.press("k")
    signed_in.keyboard.press("p")
    expect(signed_in.get_by_role("heading", name="SITI SARI")).to_be_visible()
    signed_in.keyboard.press("?")
    expect(signed_in.get_by_role("dialog")).to_contain_text("Keys of this page")
    signed_in.keyboard.press("Escape")
    signed_in.keyboard.press("g")
    signed_in.keyboard.press("h")
    expect(signed_in.get_by_role("heading", name="Newest studies")).to_be_visible()


def test_a_session_that_ended_leads_from_the_open_list_to_the_sign_in_and_back(signed_in: Page) -> None:
    signed_in.goto("/worklist?modality=CT")
    signed_in.context.clear_cookies(name="sessionid")
    signed_in.wait_for_url("**/accounts/login/**", timeout=6000)
    sign_in(signed_in)
    signed_in.wait_for_url("**/worklist?modality=CT")


def test_scripts_in_names_and_descriptions_never_run(
    signed_in: Page, send: Callable[[Path], None], tmp_path: Path, complaints: list[str]
) -> None:
    script = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    study = ct_volume(
        tmp_path, slices=1, study=new_uid(), PatientName=f"{script}^B", PatientID="'\"><svg onload=alert(3)>",
        StudyDescription=script[:64], SeriesDescription=script[:64], AccessionNumber="<b>x", StudyID="{{7*7}}",
        StationName="<script>", ProtocolName=script[:64], InstitutionName=script[:64],
    )  # fmt: skip
    send(tmp_path)
    signed_in.goto("/worklist")
    row = signed_in.get_by_role("row").filter(has_text="alert(2)")
    expect(row).to_be_visible()
    for address in (
        "/",
        f"/studies/{study}",
        row.locator("[data-key=p]").get_attribute("href") or "",
        "/worklist?q=%3C",
    ):
        signed_in.goto(address)
        assert signed_in.locator("[onerror], [onload], main script").count() == 0
    signed_in.goto(f"/viewer?StudyInstanceUIDs={study}")
    signed_in.wait_for_selector(".cornerstone-canvas", timeout=60_000)
    signed_in.goto("/viewer?AccessionNumber=" + "%3Cscript%3Ealert(4)%3C/script%3E")
    expect(signed_in.get_by_text("alert(4)")).to_be_visible()
    assert [said for said in complaints if "DIALOG" in said or "script-src" in said] == []


def test_no_page_violates_its_policy(signed_in: Page, complaints: list[str]) -> None:
    study = make_study(make_patient("5", identifiers=[("NIK", "32")]), series=2, instances=1)
    pages = [
        "/", "/worklist", f"/studies/{study.study_instance_uid}", f"/patients/{study.patient_ref.public_id}",
        "/nowhere", "/viewer?AccessionNumber=none",
        "/accounts/password/change/", "/accounts/2fa/", "/accounts/sessions/",
        "/accounts/logout/",
    ]  # fmt: skip
    for address in pages:
        signed_in.goto(address)
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(signed_in: Page, width: int) -> None:
    study = make_study(make_patient("M" * 64, "A" * 64 + "^" + "B" * 60), series=1, study_description="X" * 64)
    for modality in ("RTSTRUCT", "RTDOSE", "RTPLAN", "SEG"):
        make_series(study, modality=modality)
    signed_in.set_viewport_size({"width": width, "height": 800})
    for address in (
        "/",
        "/worklist",
        f"/studies/{study.study_instance_uid}",
        f"/patients/{study.patient_ref.public_id}",
    ):
        signed_in.goto(address)
        assert signed_in.evaluate("document.documentElement.scrollWidth") <= width, address


def test_a_look_for_news_in_the_moment_of_a_search_asks_for_what_is_shown(signed_in: Page) -> None:
    make_study(make_patient("1", "SARI^SITI"), series=1)
    make_study(make_patient("2", "WIBOWO^BUDI"), series=1)
    signed_in.goto("/worklist")
    signed_in.evaluate(
        """() => {
          window.asked = [];
          document.addEventListener("htmx:beforeRequest", (event) => asked.push(event.detail.pathInfo.requestPath));
          document.addEventListener("htmx:afterSwap", () => {
            window.asked = [];
            setTimeout(() => window.htmx.trigger("#studies", "poll"));
          });
        }"""
    )
    rows = signed_in.locator("tbody [data-rowgroup]")
    for text, name in (("budi", "BUDI"), ("siti", "SITI"), ("budi", "BUDI")):
        signed_in.locator("#q").fill(text)
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text(name)
        wait_until(lambda: signed_in.evaluate("window.asked.length > 0"), what="a look for news")
        asked = signed_in.evaluate("window.asked")
        assert [path for path in asked if f"q={text}" not in path] == []


def test_news_of_the_former_search_that_come_late_change_nothing(signed_in: Page, person: User) -> None:
    person.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    signed_in.goto("/transfers")
    kept: list[Route] = []
    signed_in.route(re.compile("/transfers$"), lambda route: kept.append(route))
    with signed_in.expect_request(re.compile("/transfers$")):
        pass
    signed_in.locator("label[for=state-failed]").click()
    part = signed_in.locator("#transfers")
    expect(part).to_have_attribute("hx-get", re.compile("failed"))
    shown, address = part.inner_html(), part.get_attribute("hx-get")
    request = kept[0].request
    late = kept[0].fetch(headers={**request.headers, "if-none-match": ""})
    with signed_in.expect_event("requestfinished", lambda finished: finished == request):
        kept[0].fulfill(response=late)
    signed_in.wait_for_timeout(100)
    assert (part.inner_html(), part.get_attribute("hx-get")) == (shown, address)
