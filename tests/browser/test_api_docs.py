"""The page on which the REST API is tried, in a real browser under its policy."""

from typing import TYPE_CHECKING

import pytest
from django.test import Client

from tests.daemons import Daemon
from tests.factories import make_patient, make_study, make_token, make_user

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Request

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def trouble(page: "Page", web_server: Daemon) -> list[str]:
    """What the browser complains of, and what it asks of other hosts."""
    found: list[str] = []

    def look(request: "Request") -> None:
        if not request.url.startswith((web_server.url, "data:", "blob:")):
            found.append(request.url)

    page.on("console", lambda message: found.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", look)
    return found


def sign_in(context: "BrowserContext", url: str) -> None:
    client = Client()
    client.force_login(make_user("dewi"), backend="django.contrib.auth.backends.ModelBackend")
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])


def try_search(page: "Page") -> None:
    operation = page.locator("#operations-Studies-search_for_studies")
    operation.locator("button.opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_placeholder("PatientID").fill("001234")
    operation.get_by_role("button", name="Execute").click()


def test_who_is_signed_in_tries_a_search(
    page: "Page", browser_context: "BrowserContext", web_server: Daemon, trouble: list[str]
) -> None:
    make_study(make_patient("001234", "DOE^JOHN"))
    sign_in(browser_context, web_server.url)
    page.goto("/api/v1/docs")
    try_search(page)
    answer = page.locator("#operations-Studies-search_for_studies .live-responses-table")
    answer.get_by_text("DOE^JOHN").wait_for()
    assert "viewerUrl" in answer.inner_text()
    assert not trouble


def test_a_stranger_pastes_a_token(page: "Page", trouble: list[str]) -> None:
    make_study(make_patient("001234", "DOE^JOHN"))
    _, token = make_token()
    page.goto("/api/v1/docs")
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_label("auth-bearer-value").fill(token)
    dialog.get_by_role("button", name="Apply credentials").first.click()
    dialog.get_by_role("button", name="Close").first.click()
    try_search(page)
    page.locator("#operations-Studies-search_for_studies .live-responses-table").get_by_text("DOE^JOHN").wait_for()
    assert not trouble
