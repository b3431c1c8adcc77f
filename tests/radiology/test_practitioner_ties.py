"""What people are called in messages, tied to their account in the administration."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from radiology.models import Job, PractitionerTie, Site, User
from tests.factories import make_site, make_user
from tests.radiology.admin_client import administrator, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(db: None) -> Client:
    return signed_in(administrator("admin", Site.objects.default()))


def form(user: User, *rows: tuple[str, str]) -> dict[str, Any]:
    """The user's form with these ties added."""
    known = list(user.ties.order_by("id"))
    given: dict[str, Any] = {
        "username": user.username,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email": "",
        "language": "",
        "theme": user.theme,
        "site": user.site_id,
        "is_active": "on",
        "ties-TOTAL_FORMS": len(known) + len(rows),
        "ties-INITIAL_FORMS": len(known),
    }
    for number, tie in enumerate(known):
        given |= {f"ties-{number}-id": tie.pk, f"ties-{number}-kind": tie.kind, f"ties-{number}-value": tie.value}
        given |= {f"ties-{number}-user": user.pk}
    for number, (kind, value) in enumerate(rows, len(known)):
        given |= {f"ties-{number}-id": "", f"ties-{number}-kind": kind, f"ties-{number}-value": value}
        given |= {f"ties-{number}-user": user.pk}
    return given


def save(client: Client, user: User, *rows: tuple[str, str]) -> Any:
    return client.post(reverse("admin:radiology_user_change", args=[user.pk]), form(user, *rows), follow=True)


def ties(user: User) -> list[tuple[str, str, str]]:
    return list(PractitionerTie.objects.filter(user=user).order_by("id").values_list("kind", "value", "key"))


def test_an_administrator_ties_a_user_to_what_messages_carry(admin: Client) -> None:
    sari = make_user("sari", role="doctor", first_name="Sari", last_name="Dewi")
    page = admin.get(reverse("admin:radiology_user_change", args=[sari.pk]))
    assert 'name="ties-TOTAL_FORMS"' in page.content.decode()
    save(admin, sari, ("identifier", " D-12 "), ("name", "dr. Sari Dewi, Sp.PD"), ("place", "Melati 2"))
    assert ties(sari) == [
        ("identifier", "D-12", "d-12"),
        ("name", "dr. Sari Dewi, Sp.PD", "dewi sari"),
        ("place", "Melati 2", "melati 2"),
    ]
    assert Job.objects.filter(kind="radiology.match_results", arguments={"user": sari.pk}).count() == 1


def test_the_same_written_otherwise_is_refused_at_once_and_later(admin: Client) -> None:
    sari = make_user("sari")
    twice = save(admin, sari, ("name", "Sari Dewi"), ("name", "DEWI^SARI^^dr"))
    assert "stands here twice" in twice.content.decode() and ties(sari) == []
    save(admin, sari, ("identifier", "D1"))
    again = save(admin, sari, ("identifier", "d1"))
    assert again.status_code == 200 and len(ties(sari)) == 1
    nothing = save(admin, sari, ("name", "dr."))
    assert "nothing that could be compared" in nothing.content.decode()


def test_whoever_comes_back_is_looked_for(admin: Client) -> None:
    sari = make_user("sari", is_active=False)
    save(admin, sari)
    sari.refresh_from_db()
    assert sari.is_active
    assert Job.objects.filter(kind="radiology.match_results", arguments={"user": sari.pk}).count() == 1


def test_nobody_ties_people_of_another_site(admin: Client) -> None:
    far = make_user("far", site=make_site())
    save(admin, far, ("identifier", "D1"))
    assert ties(far) == []
