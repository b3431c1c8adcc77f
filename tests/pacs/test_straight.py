"""The short way of programs' requests answers what the long one does, or leaves them to it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.client import ClientHandler
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from pacs.services.store import Stored
from radiology.models import ApiClient, ApiToken, AuditEvent, Patient, Site, User
from radiology.services import rates
from radiology.straight import GoesStraight
from tests.factories import make_token, make_user
from tests.pacs.dicomweb import address, body, store
from tests.pacs.objects import ct, part10

FRAMES = 'multipart/related; type="application/octet-stream"'
JSON = "application/dicom+json"


class _Handler(GoesStraight, ClientHandler):
    went: bool

    def _straight(self, request: Any) -> Any:
        response = super()._straight(request)
        self.went = response is not None
        return response


class StraightClient(Client):
    """A client of the web server's own handler; `went` says whether its last request went straight."""

    def __init__(self) -> None:
        super().__init__()
        self.handler: Any = _Handler()

    @property
    def went(self) -> bool:
        return bool(self.handler.went)


@pytest.fixture
def stored(site: Site) -> Stored:
    return store(site, part10(ct()))


@pytest.fixture
def token() -> str:
    return make_token()[1]


@pytest.fixture(autouse=True)
def _calm() -> Iterator[None]:
    yield
    for buckets in (rates.OF_CLIENTS, rates.WRONG_TOKENS, rates.WRITTEN):
        buckets.forget()


def _seen(response: Any) -> tuple[Any, ...]:
    """All that a caller gets, but for boundaries and for what is left of its calls."""
    headers = {name: value for name, value in response.headers.items() if not name.startswith("RateLimit")}
    content = body(response)
    found = re.search(r"boundary=(\w+)", headers.get("Content-Type", ""))
    if found:
        headers["Content-Type"] = headers["Content-Type"].replace(found[1], "")
        content = content.replace(found[1].encode(), b"")
    vary = headers.pop("Vary", "")
    return response.status_code, headers, set(vary.split(", ")), content


def _both(path: str, **headers: str) -> tuple[Any, Any, bool]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    straight = StraightClient()
    short = _seen(straight.get(path, headers=named))
    for buckets in (rates.OF_CLIENTS, rates.WRONG_TOKENS, rates.WRITTEN):
        buckets.forget()
    return short, _seen(Client().get(path, headers=named)), straight.went


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("{root}?PatientID={patient}", {"Accept": JSON}, id="search"),
        pytest.param("{root}?PatientID={patient}&includefield=all", {}, id="all fields"),
        pytest.param("{root}?limit=0&nonsense=1", {}, id="warnings"),
        pytest.param("{root}?PatientID=nobody", {"Accept": "application/json"}, id="nothing found"),
        pytest.param("{root}", {"Accept": 'multipart/related; type="application/dicom+xml"'}, id="xml"),
        pytest.param("{study}/series", {"Accept-Encoding": "gzip"}, id="series"),
        pytest.param("{series}/instances", {"Accept-Language": "id"}, id="instances"),
        pytest.param("{instance}/frames/1", {"Accept": FRAMES}, id="frame"),
        pytest.param("{instance}/frames/1,1", {"Accept": FRAMES}, id="frames"),
        pytest.param("{instance}/frames/1", {"Accept": "application/octet-stream"}, id="frame alone"),
        pytest.param("{instance}/rendered", {"Accept": "image/png"}, id="rendered"),
        pytest.param("{instance}/frames/1/rendered?quality=40", {"Accept": "image/jpeg"}, id="rendered frame"),
        pytest.param("{instance}/rendered?annotation=patient,wall", {}, id="annotated"),
        pytest.param("{study}/thumbnail", {"Accept": "image/jpeg"}, id="thumbnail"),
        pytest.param("{instance}/metadata", {"Accept-Encoding": "gzip"}, id="metadata"),
        pytest.param("{study}/metadata", {"Accept": JSON}, id="metadata of a study"),
    ],
)
def test_the_answer_is_the_same(stored: Stored, token: str, path: str, headers: dict[str, str]) -> None:
    series = address(stored, "").rpartition("/instances/")[0]
    study, root = series.rpartition("/series/")[0], "/dicom-web/studies"
    path = path.format(
        root=root, study=study, series=series, instance=address(stored, ""), patient=Patient.objects.get().patient_id
    )
    short, long, went = _both(path, Authorization=f"Bearer {token}", **headers)
    assert went
    assert short == long


def test_what_is_not_modified_is_the_same(stored: Stored, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Accept": FRAMES}
    tag = Client().get(address(stored, "/frames/1"), headers=headers).headers["ETag"]
    short, long, went = _both(address(stored, "/frames/1"), If_None_Match=tag, **headers)
    assert went
    assert short == long
    assert short[0] == 304


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param("/frames/2", {}, 404, id="no such frame"),
        pytest.param("/frames/none", {}, 400, id="no number"),
        pytest.param("/frames/1", {"Accept": "text/html"}, 406, id="no such form"),
        pytest.param("/rendered?window=1", {}, 400, id="no window"),
        pytest.param("/frames/1", {"Authorization": "Bearer nonsense"}, 401, id="unknown token"),
        pytest.param("/frames/1", {"Authorization": ""}, 401, id="no token"),
        pytest.param("/frames/1", {"Host": "elsewhere.example"}, 400, id="another host"),
    ],
)
def test_errors_are_those_of_the_long_way(
    stored: Stored, token: str, path: str, headers: dict[str, str], status: int
) -> None:
    short, long, went = _both(address(stored, path), **{"Authorization": f"Bearer {token}", **headers})
    assert not went
    assert short == long
    assert short[0] == status


def test_who_may_not_read_is_refused(stored: Stored) -> None:
    _, text = make_token(scopes=["studies.write"])
    short, long, went = _both(address(stored, "/frames/1"), Authorization=f"Bearer {text}")
    assert not went
    assert short == long
    assert short[0] == 403


def test_a_client_is_admitted_from_its_addresses_alone_and_refusals_are_written_once(
    stored: Stored, token: str
) -> None:
    ApiClient.objects.update(addresses=["192.0.2.1"])
    response = StraightClient().get(address(stored, "/frames/1"), headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 403
    assert AuditEvent.objects.filter(event="api.refused").count() == 1


@override_settings(SINAR_BEHIND_PROXY=True)
def test_the_front_server_says_from_where(stored: Stored, token: str) -> None:
    ApiClient.objects.update(addresses=["192.0.2.1"])
    for named, status in (("198.51.100.7, 192.0.2.1", 200), ("192.0.2.1, 198.51.100.7", 403)):
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": named}
        assert StraightClient().get(address(stored, "/frames/1"), headers=headers).status_code == status


def test_a_call_is_counted_once_whichever_way_it_goes(stored: Stored, token: str) -> None:
    ApiClient.objects.update(requests_per_minute=10)
    statuses = [
        StraightClient().get(address(stored, path), headers={"Authorization": f"Bearer {token}"}).status_code
        for path in ("/frames/1", "/frames/9") * 6
    ]
    assert statuses == [200, 404] * 5 + [429, 429]


def test_an_error_is_worked_out_once(stored: Stored, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    body(StraightClient().get(address(stored, "/frames/1"), headers=headers))  # notes the token's first use
    with CaptureQueriesContext(connection) as captured:
        assert StraightClient().get(address(stored, "/frames/9"), headers=headers).status_code == 404
    assert len(captured) == 2, [query["sql"] for query in captured]  # the token, and where the object is


@override_settings(SECURE_SSL_REDIRECT=True)
def test_who_comes_without_tls_is_sent_there(stored: Stored, token: str) -> None:
    straight = StraightClient()
    response = straight.get(address(stored, "/frames/1"), headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, straight.went) == (301, False)


class TestWhoIsSignedIn:
    @pytest.fixture
    def cookie(self) -> str:
        person = Client()
        person.force_login(make_user("dr.ani", role="radiologist", language="id"))
        return person.cookies["sessionid"].value

    @pytest.mark.parametrize(
        "path", ["/frames/1", "/rendered", "/rendered?annotation=patient", "/thumbnail", "/metadata"]
    )
    def test_the_answer_is_the_same(self, stored: Stored, cookie: str, path: str) -> None:
        short, long, went = _both(address(stored, path), Cookie=f"sessionid={cookie}")
        assert went
        assert short == long
        assert (short[0], short[1]["Content-Language"]) == (200, "id")

    def test_a_search_is_theirs(self, stored: Stored, cookie: str) -> None:
        short, long, went = _both("/dicom-web/studies?limit=1", Cookie=f"sessionid={cookie}", Accept=JSON)
        assert went
        assert short == long
        assert {each.agent for each in AuditEvent.objects.filter(event="dicomweb.search")} == {"dr.ani"}

    @pytest.mark.parametrize("end", ["gone", "over", "inactive", "another password"])
    def test_from_the_next_request_on_nothing_is_theirs(self, stored: Stored, cookie: str, end: str) -> None:
        user = User.objects.get(username="dr.ani")
        if end == "gone":
            Session.objects.all().delete()
        elif end == "over":
            Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
        elif end == "inactive":
            User.objects.update(is_active=False)
        else:
            user.set_password("another one, and long")
            user.save()
        short, long, went = _both(address(stored, "/frames/1"), Cookie=f"sessionid={cookie}")
        assert not went
        assert short == long
        assert short[0] in (401, 403)

    def test_whoever_brings_a_token_as_well_goes_the_long_way(self, stored: Stored, cookie: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", "Cookie": f"sessionid={cookie}"}
        short, long, went = _both(address(stored, "/frames/1"), **headers)
        assert not went
        assert short == long


def test_searches_stand_in_the_trail(stored: Stored, token: str) -> None:
    StraightClient().get("/dicom-web/studies", headers={"Authorization": f"Bearer {token}"})
    found = AuditEvent.objects.get(event="dicomweb.search")
    assert (found.agent, found.address) == (str(ApiToken.objects.get().client), "127.0.0.1")
