"""What surrounds every page: theme, language, errors, icons, and values as people write them."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import translation

from deploy.frontend import ICONS
from radiology.models import Role
from radiology.templatetags import sinar
from tests.factories import make_user

pytestmark = pytest.mark.django_db

TEMPLATES = sorted((Path(settings.BASE_DIR) / "templates").rglob("*.html"))


def theme(client: Client) -> str:
    found = re.search(
        r'data-theme="(\w+)" data-bs-theme="(\w+)"', client.get("/accounts/login/", follow=True).content.decode()
    )
    assert found
    return f"{found[1]} {found[2]}"


def test_theme_follows_the_system_until_one_is_chosen_and_then_is_remembered(client: Client) -> None:
    assert theme(client) == "auto light"
    response = client.post("/preferences", {"theme": "dark", "next": "/accounts/login/"})
    assert response["Location"] == "/accounts/login/"
    assert theme(client) == "dark dark"


def test_a_choice_is_kept_in_the_account(client: Client) -> None:
    user = make_user()
    client.force_login(user)
    client.post("/preferences", {"theme": "dark", "next": "/"})
    client.post("/preferences", {"language": "id", "next": "/"})
    user.refresh_from_db()
    assert (user.theme, user.language) == ("dark", "id")
    assert '<html lang="id" data-theme="dark" data-bs-theme="dark">' in client.get("/").content.decode()


def test_radiologists_read_in_the_dark(client: Client) -> None:
    from django.contrib.auth.models import Group

    user = make_user()
    user.groups.add(Group.objects.get(name=Role.RADIOLOGIST))
    client.force_login(user)
    assert theme(client) == "dark dark"
    client.post("/preferences", {"theme": "light", "next": "/"})
    assert theme(client) == "light light"


@pytest.mark.parametrize(
    "sent", [{"theme": "neon"}, {"language": "xx"}, {}, {"theme": "dark", "next": "//evil.example"}]
)
def test_nonsense_is_not_remembered_and_leads_home(client: Client, sent: dict[str, str]) -> None:
    response = client.post("/preferences", sent)
    assert response["Location"] == "/"
    assert "neon" not in str(response.cookies)


def test_language_of_the_browser_is_spoken(client: Client) -> None:
    assert '<html lang="id"' in client.get("/accounts/login/", headers={"Accept-Language": "id-ID"}).content.decode()


def test_pages_of_people_are_not_kept_by_the_browser(client: Client) -> None:
    client.force_login(make_user())
    for address in ("/", "/worklist"):
        assert "no-store" in client.get(address)["Cache-Control"]


def test_an_address_that_is_not_there_says_what_to_do(client: Client) -> None:
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert b"/worklist?search" in response.content


def test_error_pages_need_neither_database_nor_session() -> None:
    from django.template.loader import get_template

    for name in ("400.html", "500.html"):
        with translation.override("en"):
            assert "<h1>" in get_template(name).render()


def test_a_form_without_its_token_is_explained() -> None:
    response = Client(enforce_csrf_checks=True).post("/preferences", {"theme": "dark"})
    assert response.status_code == 403
    assert b"open too long" in response.content


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_inline_script_style_or_unknown_icon(template: Path) -> None:
    """The Content-Security-Policy would block the first two, the sprite lacks the third."""
    source = template.read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", source)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", source)
    assert "|safe" not in source.replace("field.help_text|safe", "")
    assert set(re.findall(r'{% icon "([^"]+)"', source)) <= set(ICONS)


def test_the_sprite_holds_no_icon_that_nothing_shows() -> None:
    shown = {name for path in TEMPLATES for name in re.findall(r'{% icon "([^"]+)"', path.read_text(encoding="utf-8"))}
    assert set(ICONS) == shown


@pytest.mark.parametrize(
    ("born", "expected"),
    [
        (date(1980, 6, 15), "44 y"),
        (date(1980, 6, 14), "45 y"),
        (date(2023, 6, 14), "2 y"),
        (date(2023, 6, 15), "23 mo"),
        (date(2025, 5, 20), "25 d"),
        (date(2025, 6, 14), "0 d"),
        (date(2025, 6, 15), ""),
        (None, ""),
    ],
)
def test_ages(born: date | None, expected: str) -> None:
    with translation.override("en"):
        assert sinar.age(born, date(2025, 6, 14)) == expected


def test_sex_is_a_letter_of_the_language() -> None:
    with translation.override("en"):
        assert [sinar.sex(value) for value in ("M", "F", "O", "", "X")] == ["M", "F", "O", "?", "?"]


def test_cautions_stand_in_the_banner() -> None:
    class Patient:
        allergies = "Latex"
        medical_alerts = "Pacemaker"
        attributes: dict[str, Any] = {
            "00102110": {"vr": "LO", "Value": ["Iodine"]},
            "001021C0": {"vr": "US", "Value": [3]},
            "00102000": {"vr": "LO"},
        }

    with translation.override("en"):
        assert sinar.cautions(Patient()) == ["Pacemaker", "Allergic: Latex", "Iodine", "Pregnant"]
