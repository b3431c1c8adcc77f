"""Who may come in through the doors of programs: bearer tokens, Basic, the session's cookie (on `/dicom-web`)."""

import base64
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.test import Client

from radiology.models import User
from radiology.services import access
from tests.factories import make_site, make_study, make_token, make_user

pytestmark = pytest.mark.django_db
PATH = "/dicom-web/studies"
PASSWORD = "rahasia-sekali-1"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Any:
    access._remembered.clear()
    cache.clear()
    yield
    access._remembered.clear()


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def status(headers: dict[str, str], client: Client | None = None) -> int:
    return (client or Client()).get(PATH, headers=headers).status_code


def post(headers: dict[str, str], client: Client | None = None) -> int:
    """The status of a store request whose body is no DICOM: 409 when the door was passed."""
    door = client or Client()
    return door.post(PATH, b"x" * 200, content_type="application/dicom", headers=headers).status_code


def test_nobody_is_asked_to_name_themselves() -> None:
    response = Client().get(PATH)
    assert response.status_code == 401 and response["Content-Type"] == "application/problem+json"
    assert response["WWW-Authenticate"] == 'Bearer realm="Sinar", Basic realm="Sinar", charset="UTF-8"'


def test_a_pages_own_request_makes_no_password_box_appear() -> None:
    response = Client().get(PATH, headers={"Sec-Fetch-Mode": "cors"})
    assert response.status_code == 401 and "Basic" not in response["WWW-Authenticate"]


@pytest.mark.parametrize(
    "value",
    ["Bearer wrong", "Bearer", "Bearer ", "Basic", "Basic !!!", "Basic eA==", "Basic //79", "Basic ADo="],
)
def test_wrong_credentials_are_401_with_a_challenge(value: str) -> None:
    make_token()
    response = Client().get(PATH, headers={"Authorization": value})
    assert response.status_code == 401 and "WWW-Authenticate" in response
    assert "wrong" not in str(response.headers)


def test_a_token_comes_as_bearer_or_as_the_password_of_any_name() -> None:
    _, text = make_token()
    assert status(bearer(text)) == 200
    assert status({"Authorization": f"bearer  {text}"}) == 200
    assert status(basic("anybody", text)) == 200
    assert status(basic("", text)) == 200


def test_scopes_decide_what_a_token_opens() -> None:
    make_study()
    _, reads = make_token("reads", scopes=["studies.read"])
    _, writes = make_token("writes", scopes=["studies.write"])
    assert status(bearer(reads)) == 200 and post(bearer(reads)) == 403
    assert status(bearer(writes)) == 403
    assert post(bearer(writes)) == 409


def test_a_user_comes_with_a_password() -> None:
    user = make_user("dewi", password=PASSWORD)
    make_study()
    other = make_user("ucok", site=make_site())
    assert len(Client().get(PATH, headers=basic("dewi", PASSWORD)).json()) == 1
    assert Client().get(PATH, headers=basic("ucok", PASSWORD)).json() == []
    assert status(basic("dewi", "wrong")) == 401 and status(basic("nobody", PASSWORD)) == 401
    User.objects.filter(pk=other.pk).update(is_active=False)
    assert status(basic("ucok", PASSWORD)) == 401
    user.set_password("another-password-2")
    user.save()
    assert status(basic("dewi", PASSWORD)) == 401, "a remembered password outlived its change"
    assert status(basic("dewi", "another-password-2")) == 200


def test_a_password_alone_does_not_open_an_account_with_a_second_factor() -> None:
    user = make_user("dewi", password=PASSWORD)
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": "x"})
    assert status(basic("dewi", PASSWORD)) == 401


def test_after_too_many_wrong_passwords_none_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "WRONG_PASSWORDS", 3)
    make_user("dewi", password=PASSWORD)
    make_user("siti", password=PASSWORD)
    for _ in range(3):
        assert status(basic("dewi", "wrong")) == 401
    assert status(basic("dewi", PASSWORD)) == 429
    assert status(basic("DEWI", PASSWORD)) == 429
    assert status(basic("siti", PASSWORD)) == 200, "another person behind the same proxy was locked out"
    assert Client(REMOTE_ADDR="10.0.0.9").get(PATH, headers=basic("dewi", PASSWORD)).status_code == 200
    _, text = make_token()
    assert status(basic("dewi", text)) == 200


def test_an_address_that_tries_many_names_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "WRONG_PASSWORDS_OF_ADDRESS", 3)
    make_user("siti", password=PASSWORD)
    for name in ("a", "b", "c"):
        assert status(basic(name, "wrong")) == 401
    response = Client().get(PATH, headers=basic("siti", PASSWORD))
    assert (response.status_code, response["Retry-After"]) == (429, "300")


def test_a_right_password_is_remembered_for_a_while(django_assert_max_num_queries: Any) -> None:
    make_user("dewi", password=PASSWORD)
    assert status(basic("dewi", PASSWORD)) == 200
    with django_assert_max_num_queries(4):  # token, user, rows, audit: no password hash
        assert status(basic("dewi", PASSWORD)) == 200
    (mark,) = access._remembered
    assert PASSWORD.encode() not in mark


def test_the_session_works_and_storing_needs_the_csrf_token() -> None:
    user = make_user("dewi")
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert status({}, client) == 200
    assert post({}, client) == 403
    token = "a" * 32
    client.cookies["csrftoken"] = token
    assert post({"X-CSRFToken": token}, client) == 409
    assert post({"X-CSRFToken": "b" * 32}, client) == 403


def test_programs_need_no_csrf_token() -> None:
    _, text = make_token(scopes=["studies.write"])
    assert post(bearer(text), Client(enforce_csrf_checks=True)) == 409


def test_other_answers_are_not_cached_by_anybody_else() -> None:
    _, text = make_token()
    assert Client().get(PATH, headers=bearer(text))["Cache-Control"] == "private, no-cache"
