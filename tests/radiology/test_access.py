"""API tokens: made, kept as a hash, scoped, expiring, revoked; and the command that makes them."""

import hashlib
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from radiology.errors import Conflict, InvalidValue, NotFound
from radiology.models import ApiClient, ApiToken
from radiology.services.access import issue_token, revoke_token, revoke_tokens_of, token_of_text
from tests.factories import default_site, make_site, make_token

pytestmark = pytest.mark.django_db


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("apitoken", *arguments)
    return capsys.readouterr().out


def test_a_token_is_kept_as_a_hash_only() -> None:
    token, text = make_token()
    stored = ApiToken.objects.values().get()
    assert bytes(stored["token_sha256"]) == hashlib.sha256(text.encode()).digest()
    assert text not in str(stored) and len(text) >= 43 and text.startswith(token.prefix)
    assert token_of_text(text=text) == token


def test_a_token_ends_when_it_is_revoked_expires_or_its_client_is_made_inactive() -> None:
    _, text = make_token()
    assert token_of_text(text=text) is not None
    ApiClient.objects.update(is_active=False)
    assert token_of_text(text=text) is None
    ApiClient.objects.update(is_active=True)
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert token_of_text(text=text) is None
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(days=1))
    token = token_of_text(text=text)
    assert token is not None
    revoke_token(token=token)
    revoke_token(token=token)
    assert token_of_text(text=text) is None


@pytest.mark.parametrize("text", ["", "x", "é", "\x00", "x" * 10_000])
def test_other_texts_are_no_token(text: str) -> None:
    make_token()
    assert token_of_text(text=text) is None


def test_the_last_use_is_noted_once_a_minute() -> None:
    _, text = make_token()
    token_of_text(text=text)
    first = ApiToken.objects.get().last_used_at
    token_of_text(text=text)
    assert first is not None and ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    token_of_text(text=text)
    used = ApiToken.objects.get().last_used_at
    assert used is not None and used > first


def test_unknown_scopes_and_no_scopes_and_no_name_are_refused() -> None:
    for name, scopes in (("x", ["studies.burn"]), ("x", []), ("  ", ["studies.read"])):
        with pytest.raises(InvalidValue):
            issue_token(name=name, scopes=scopes)
    assert not ApiClient.objects.exists()


def test_a_client_stays_at_its_site_and_inactive_ones_get_no_token() -> None:
    other = make_site()
    make_token("simrs", site=other)
    assert make_token("simrs")[0].site_id == other.pk
    with pytest.raises(Conflict):
        make_token("simrs", site=default_site())
    ApiClient.objects.update(is_active=False)
    with pytest.raises(Conflict):
        make_token("simrs")


def test_the_command_prints_the_token_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    text = command(capsys, "khanza")
    token = token_of_text(text=text.strip())
    assert text == text.strip() + "\n" and token is not None
    assert token.client.name == "khanza" and token.scopes == ["studies.read", "studies.write"]
    assert token.site_id == default_site().pk and token.expires_at is None


def test_the_command_takes_scopes_site_and_days(capsys: pytest.CaptureFixture[str]) -> None:
    site = make_site("rsud")
    text = command(
        capsys, "viewer", "--scope", "studies.read", "--scope", "studies.delete", "--site", "rsud", "--days", "7"
    )
    token = token_of_text(text=text.strip())
    assert token is not None and token.expires_at is not None
    assert token.scopes == ["studies.delete", "studies.read"] and token.site_id == site.pk
    assert timedelta(days=6) < token.expires_at - timezone.now() <= timedelta(days=7)


def test_the_command_revokes_all_tokens_of_a_client(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [command(capsys, "khanza").strip() for _ in range(2)]
    _, other = make_token("other")
    assert command(capsys, "khanza", "--revoke") == ""
    assert [token_of_text(text=text) for text in texts] == [None, None]
    assert token_of_text(text=other) is not None
    with pytest.raises(NotFound):
        revoke_tokens_of(name="nobody")


@pytest.mark.parametrize(
    "arguments",
    [["x", "--scope", "studies.burn"], ["x", "--site", "mars"], ["x", "--days", "0"], ["nobody", "--revoke"], [" "]],
)
def test_the_command_says_what_is_wrong(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("apitoken", *arguments)
    assert not ApiToken.objects.exists()
