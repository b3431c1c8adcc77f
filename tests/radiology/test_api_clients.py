"""From where and how often a client's tokens work."""

import base64
import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from radiology import authentication
from radiology.models import ApiClient, AuditEvent
from radiology.services import configuration, rates
from tests.factories import make_study, make_token, make_user
from tests.pacs.api_client import problem
from tests.radiology.admin_client import post, signed_in, superuser

pytestmark = pytest.mark.django_db
DOORS = ["/api/v1/studies", "/api/v1/orders", "/api/v1/webhooks", "/dicom-web/studies", "/wado?requestType=WADO"]


@pytest.fixture(autouse=True)
def _full_buckets() -> Any:
    kept = (rates.OF_CLIENTS, rates.WRONG_TOKENS, rates.WRITTEN)
    for each in kept:
        each.forget()
    yield
    for each in kept:
        each.forget()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"simrs:{text}".encode()).decode()}


def token(**fields: Any) -> str:
    _, text = make_token(scopes=["studies.read", "orders.write", "webhooks.write"])
    ApiClient.objects.update(**fields)
    return text


def get(headers: dict[str, str], path: str = DOORS[0], address: str = "127.0.0.1", **meta: Any) -> Any:
    return Client(REMOTE_ADDR=address).get(path, headers=headers, **meta)


class TestAddresses:
    @pytest.mark.parametrize("door", DOORS)
    @pytest.mark.parametrize("credentials", [bearer, basic])
    def test_elsewhere_its_tokens_are_refused_at_every_door(self, door: str, credentials: Any) -> None:
        text = token(addresses=["10.1.2.0/24", "192.168.7.7"])
        assert get(credentials(text), door, "10.1.2.99").status_code != 403
        for address in ("10.1.3.1", "127.0.0.1", "::1"):
            told = problem(get(credentials(text), door, address), 403)
            assert address in told["detail"]

    def test_a_refusal_is_written_down_but_not_each_of_thousands(self) -> None:
        text = token(addresses=["10.1.2.3"])
        for _ in range(5):
            get(bearer(text), address="10.9.9.9")
        event = AuditEvent.objects.get(event="api.refused")
        assert (event.address, event.agent, event.succeeded) == ("10.9.9.9", "simrs", False)

    def test_without_addresses_it_works_anywhere(self) -> None:
        assert get(bearer(token()), address="203.0.113.9").status_code == 200

    def test_an_ipv4_caller_on_an_ipv6_socket_is_the_same_caller(self) -> None:
        assert get(bearer(token(addresses=["10.1.2.3"])), address="::ffff:10.1.2.3").status_code == 200

    def test_what_a_caller_says_of_itself_is_believed_from_the_front_server_only(self, settings: Any) -> None:
        text = token(addresses=["10.1.2.3"])
        said = {"HTTP_X_FORWARDED_FOR": "10.1.2.3"}
        assert get(bearer(text), address="10.0.0.1", **said).status_code == 403
        settings.SINAR_BEHIND_PROXY = True
        assert get(bearer(text), address="10.0.0.1", **said).status_code == 200
        forged = {"HTTP_X_FORWARDED_FOR": "10.1.2.3, 198.51.100.7"}
        assert "198.51.100.7" in problem(get(bearer(text), address="10.0.0.1", **forged), 403)["detail"]
        assert get(bearer(text), address="10.0.0.1", HTTP_X_FORWARDED_FOR="10.1.2.3, nonsense").status_code == 403

    @pytest.mark.parametrize("address", ["everywhere", "10.1.2.300", "10.0.0.0/40"])
    def test_what_is_no_network_is_refused(self, address: str) -> None:
        with pytest.raises(ValidationError):
            ApiClient(name="x", addresses=[address]).clean()

    def test_an_administrator_enters_them(self) -> None:
        token()
        client = ApiClient.objects.get()
        values = {"name": "simrs", "site": "1", "is_active": "on", "requests_per_minute": "600"}
        post(
            signed_in(superuser()), "radiology_apiclient_change", {**values, "addresses": "10.1.0.0/16, ::1"}, client.pk
        )
        client.refresh_from_db()
        assert (client.addresses, client.requests_per_minute) == (["10.1.0.0/16", "::1"], 600)
        (row,) = json.loads(configuration.export(who=None))["api_clients"]
        assert row["addresses"] == ["10.1.0.0/16", "::1"] and row["requests_per_minute"] == 600


class TestRates:
    def test_too_many_are_told_when_to_go_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rates, "clock", lambda: 1000.0)
        text = token(requests_per_minute=30)
        answers = [get(bearer(text), DOORS[n % 2]) for n in range(30)]
        assert {each.status_code for each in answers} == {200}
        assert answers[0]["RateLimit-Policy"] == '"calls";q=30;w=60' and answers[0]["RateLimit"] == '"calls";r=29;t=2'
        refused = get(basic(text))
        told = problem(refused, 429)
        assert "30 requests a minute" in told["detail"]
        assert (refused["Retry-After"], refused["RateLimit"]) == ("2", '"calls";r=0;t=60')

    def test_they_fill_again_with_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [1000.0]
        monkeypatch.setattr(rates, "clock", lambda: now[0])
        buckets = rates.Buckets(60)
        assert [buckets.take("a", 60).is_granted for _ in range(61)] == [True] * 60 + [False]
        assert buckets.take("b", 60).is_granted, "another client has its own"
        assert buckets.take("a", 60).wait == 1
        now[0] += 2.5
        assert [buckets.take("a", 60).is_granted for _ in range(3)] == [True, True, False]
        now[0] += 3600
        assert buckets.take("a", 60).remaining == 59

    def test_it_costs_no_query(self, django_assert_max_num_queries: Any) -> None:
        text = token()
        study = make_study()
        path = f"/dicom-web/studies/{study.study_instance_uid}/series"
        get(bearer(text), path)
        with django_assert_max_num_queries(4):
            assert get(bearer(text), path).status_code == 200

    def test_people_and_their_viewers_have_no_such_limit(self) -> None:
        client = Client()
        client.force_login(make_user())
        answer = client.get("/dicom-web/studies")
        assert answer.status_code == 200 and "RateLimit" not in answer

    def test_many_unknown_tokens_are_told_to_wait_and_a_known_one_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(authentication, "MOST_WRONG_TOKENS", 3)
        text = token()
        assert [get(bearer("wrong")).status_code for _ in range(4)] == [401, 401, 401, 429]
        refused = get(bearer("wrong"))
        assert problem(refused, 429) and int(refused["Retry-After"]) > 1
        assert get(bearer(text)).status_code == 200
        assert get(bearer("wrong"), address="10.1.1.1").status_code == 401
