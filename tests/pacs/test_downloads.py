"""One caller's large downloads never hold all threads of the web server."""

from typing import Any

import pytest
from django.test import Client

from radiology import downloads
from radiology.models import Site
from tests.factories import make_token, make_user
from tests.pacs.dicomweb import ANY, FRAMES_ANY, address, body, store
from tests.pacs.objects import ct, part10

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _two_at_once(settings: Any) -> None:
    settings.SINAR_WEB_DOWNLOADS = 2


def of_token(name: str) -> Client:
    return Client(headers={"authorization": f"Bearer {make_token(name)[1]}", "accept": ANY})


@pytest.fixture
def study(site: Site) -> str:
    return store(site, part10(ct(side=256))).study_instance_uid


@pytest.mark.parametrize("rest", ["", "/pixeldata"], ids=["long", "of unknown length"])
def test_one_large_download_too_many_is_refused_until_another_is_over(
    study: str, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = of_token("mirror"), of_token("simrs")
    url = f"/dicom-web/studies/{study}{rest}"
    accept = {"accept": FRAMES_ANY if rest else ANY}
    if not rest:
        monkeypatch.setattr(downloads, "LARGE", 100)
    under_way = [client.get(url, headers=accept) for _ in range(2)]
    assert [each.status_code for each in under_way] == [200, 200]
    refused = client.get(url, headers=accept)
    assert (refused.status_code, refused["Retry-After"]) == (429, "10")
    assert refused.json()["type"] == "urn:sinar:error:TooManyRequests"
    assert other.get(url, headers=accept).status_code == 200, "nobody else waits"
    assert body(under_way[0])
    again = client.get(url, headers=accept)
    assert again.status_code == 200, "one is through"
    assert client.get(url, headers=accept).status_code == 429


def test_what_is_small_counts_for_nothing(study: str, site: Site) -> None:
    stored = store(site, part10(ct(side=8)))
    client = of_token("viewer")
    frame = {"accept": FRAMES_ANY}
    kept = [client.get(address(stored)) for _ in range(3)]
    kept += [client.get(address(stored, "/frames/1"), headers=frame) for _ in range(3)]
    assert {each.status_code for each in kept} == {200}


def test_long_ones_count_and_a_browser_is_told_in_words(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "LARGE", 100)
    client = Client(headers={"accept": "text/html"})
    client.force_login(make_user("reader", role="radiologist"))
    page = {"StudyInstanceUIDs": [study], "next": "/worklist"}
    kept = [client.post("/studies/archive", page) for _ in range(3)]
    assert [each.status_code for each in kept] == [200, 200, 429]
    assert kept[2]["Content-Type"].startswith("text/plain") and b"large downloads" in kept[2].content


def test_no_limit(study: str, settings: Any) -> None:
    settings.SINAR_WEB_DOWNLOADS = 0
    client = of_token("mirror")
    kept = [client.get(f"/dicom-web/studies/{study}") for _ in range(5)]
    assert {each.status_code for each in kept} == {200}
