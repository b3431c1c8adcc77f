"""What machines that watch are told."""

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.daemons import Daemon, web_daemon


@pytest.mark.django_db
class TestHealthy:
    def test_alive_without_asking_anybody(self, client: Client) -> None:
        with CaptureQueriesContext(connection) as captured:
            response = client.get("/healthz")
        assert (response.status_code, response.content) == (200, b"ok\n")
        assert not captured.captured_queries

    def test_ready(self, client: Client) -> None:
        response = client.get("/readyz")
        assert (response.status_code, response.content) == (200, b"ready\n")

    @pytest.mark.parametrize("address", ["/healthz", "/readyz"])
    def test_answers_are_never_kept(self, client: Client, address: str) -> None:
        response = client.get(address)
        assert "no-store" in response["Cache-Control"]
        assert response["Content-Type"] == "text/plain"


def test_without_a_database_it_is_alive_and_not_ready(
    start: Callable[[Daemon], Daemon], free_port: Callable[[], int]
) -> None:
    web = start(web_daemon(DATABASE_URL=f"postgres://sinar:sinar@127.0.0.1:{free_port()}/none"))
    with urllib.request.urlopen(f"{web.url}/healthz", timeout=20) as response:
        assert response.read() == b"ok\n"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{web.url}/readyz", timeout=20)
    assert refused.value.code == 503
    assert refused.value.read() == b"database unavailable\n"
