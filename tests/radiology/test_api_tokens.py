"""Tokens of the REST API from the admin's side: what is shown of them, and that each shuts when it should."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from radiology.models import ApiClient, ApiToken, Scope, User
from radiology.services import access
from tests.factories import make_token
from tests.radiology.admin_client import post

pytestmark = pytest.mark.django_db


@pytest.fixture
def chief() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("chief", password="x"))
    return client


def status(text: str) -> int:
    return Client().get("/api/v1/studies", headers={"Authorization": f"Bearer {text}"}).status_code


def test_a_token_opens_until_it_expires_is_revoked_or_its_client_is_shut() -> None:
    token, text = make_token()
    assert status(text) == 200
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert status(text) == 401
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(days=1))
    assert status(text) == 200
    ApiClient.objects.update(is_active=False)
    assert status(text) == 401
    ApiClient.objects.update(is_active=True)
    access.revoke_token(token=token)
    assert status(text) == 401


def test_the_last_use_is_seen_in_the_list(chief: Client) -> None:
    _, text = make_token("simrs")
    before = chief.get("/admin/radiology/apitoken/?state=unused").content.decode()
    assert text[:6] in before
    assert status(text) == 200
    assert ApiToken.objects.get().last_used_at is not None
    assert text[:6] not in chief.get("/admin/radiology/apitoken/?state=unused").content.decode()
    assert text not in before


def test_the_list_is_filtered_by_state(chief: Client) -> None:
    names = {}
    for state in ("works", "expired", "revoked", "shut"):
        token, text = make_token(state)
        names[state] = text[:6]
        if state == "expired":
            ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(days=1))
        elif state == "revoked":
            access.revoke_token(token=token)
        elif state == "shut":
            ApiClient.objects.filter(pk=token.client_id).update(is_active=False)
    for state in ("works", "expired", "revoked"):
        page = chief.get(f"/admin/radiology/apitoken/?state={state}").content.decode()
        assert [name for name, prefix in names.items() if prefix in page] == [state]
    everything = chief.get("/admin/radiology/apitoken/").content.decode()
    assert all(prefix in everything for prefix in names.values())
    assert "Its client is not active" in everything


def test_the_form_says_what_each_scope_opens(chief: Client) -> None:
    page = chief.get("/admin/radiology/apitoken/add/").content.decode()
    for scope in Scope:
        assert f"({scope.value})" in page
    assert "/api/v1/docs" in page and "Empty: it works until somebody revokes it" in page


def test_a_token_made_in_the_admin_ends_at_its_moment(chief: Client) -> None:
    client = ApiClient.objects.create(name="trial")
    tomorrow = timezone.localtime() + timedelta(days=1)
    data: dict[str, Any] = {
        "client": client.pk,
        "scopes": ["studies.read"],
        "expires_at_0": f"{tomorrow:%Y-%m-%d}",
        "expires_at_1": "12:00",
    }
    assert post(chief, "radiology_apitoken_add", data).status_code == 200
    expires = ApiToken.objects.get().expires_at
    assert expires is not None and timedelta(0) < expires - timezone.now() < timedelta(days=2)
