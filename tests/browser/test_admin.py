"""The admin in a real browser: it works under its policy, and no text of a device runs in it."""

import re
from typing import TYPE_CHECKING

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from radiology.models import User
from tests.daemons import Daemon
from tests.factories import make_node
from tests.many_rows import fill

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Dialog, Page

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


@pytest.fixture
def trouble(committed_db: None, browser_context: "BrowserContext", web_server: Daemon) -> list[str]:
    """Signed in as a superuser among hostile rows; what the browser complained of is collected."""
    fill(times=60, name=f"{HOSTILE}^SARI")
    make_node(title="CT<b>1", description=HOSTILE)
    user = User.objects.create_superuser("chief", "chief@example.org", "a long password", last_name=HOSTILE[:100])
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    browser_context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": web_server.url}]
    )
    return []


def listen(page: "Page", trouble: list[str]) -> None:
    def dismiss(dialog: "Dialog") -> None:
        trouble.append(f"dialog {dialog.message} on {page.url}")
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("pageerror", lambda error: trouble.append(f"{error} on {page.url}"))
    page.on(
        "console",
        lambda message: trouble.append(f"{message.text} on {page.url}") if message.type == "error" else None,
    )


def test_every_page_shows_hostile_rows_as_text(trouble: list[str], page: "Page") -> None:
    listen(page, trouble)
    for model in sorted(admin.site._registry, key=lambda model: model._meta.label):
        prefix = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        page.goto(reverse(f"{prefix}_changelist"))
        row = model._default_manager.order_by("pk").first()
        if row is not None:
            page.goto(reverse(f"{prefix}_change", args=[row.pk]))
    assert trouble == []
    page.evaluate("alert('a control')")
    assert trouble == [f"dialog a control on {page.url}"]


def test_menus_search_and_autocomplete_work_under_the_policy(trouble: list[str], page: "Page") -> None:
    listen(page, trouble)
    page.goto("/admin/radiology/order/add/")
    page.locator(".field-patient_ref .select2-selection").click()
    page.locator(".select2-search__field").fill("rm-17")
    option = page.locator(".select2-results__option", has_text="RM-17").first
    option.wait_for()
    assert "<script>alert(1)</script>" in option.inner_text()
    option.click()
    assert "RM-17" in page.locator(".field-patient_ref .select2-selection__rendered").inner_text()
    page.goto("/admin/radiology/patient/")
    page.locator("#searchbar").fill("rm-17")
    page.locator("#searchbar").press("Enter")
    page.wait_for_url("**/?q=rm-17")
    assert page.locator("#result_list tbody tr").count() == 1
    page.get_by_text(re.compile(r"^\s*Filters")).first.click()
    page.get_by_text("To be confirmed").first.wait_for(state="visible")
    assert trouble == []
