"""Frames, pictures and searches that are asked for by the thousand: what each costs, and that rights hold at once."""

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pacs.models import Instance, Location, Study
from pacs.services.retrieve import instance_of, instances_of
from pacs.services.store import Stored
from radiology.models import ApiClient, ApiToken, Site, User
from radiology.services.access import revoke_token
from tests.factories import make_site, make_token, make_user
from tests.pacs.dicomweb import address, body, store
from tests.pacs.objects import ct, part10

SMALL = ("/frames/1", "/rendered", "/thumbnail", "/metadata")


@pytest.fixture
def stored(site: Site) -> Stored:
    return store(site, part10(ct()))


@pytest.mark.parametrize(("resource", "budget"), [("/frames/1", 2), ("/rendered", 2), ("/thumbnail", 2)])
def test_a_program_pays_for_its_token_and_the_place_of_the_object(stored: Stored, resource: str, budget: int) -> None:
    _, text = make_token()
    headers = {"Authorization": f"Bearer {text}"}
    body(Client().get(address(stored, resource), headers=headers))  # notes the token's first use
    with CaptureQueriesContext(connection) as captured:
        response = Client().get(address(stored, resource), headers=headers)
        body(response)
    assert response.status_code == 200
    assert len(captured) == budget, [query["sql"] for query in captured]


def _shut(what: str) -> None:
    if what == "token revoked":
        revoke_token(token=ApiToken.objects.get())
    elif what == "token expired":
        ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif what == "client shut":
        ApiClient.objects.update(is_active=False)
    elif what == "client gone":
        ApiClient.objects.all().delete()
    else:
        User.objects.update(is_active=False)


WAYS = [
    *(("token", what) for what in ("token revoked", "token expired", "client shut", "client gone")),
    ("password", "user shut"),
    ("session", "user shut"),
]


@pytest.mark.parametrize(("way", "what"), WAYS)
def test_who_is_shut_out_gets_nothing_from_the_next_request_on(stored: Stored, way: str, what: str) -> None:
    client, headers = Client(), {}
    if way == "token":
        headers = {"Authorization": f"Bearer {make_token()[1]}"}
    elif way == "password":
        make_user("dewi", password="rahasia-sekali-1")
        headers = {"Authorization": f"Basic {b64encode(b'dewi:rahasia-sekali-1').decode()}"}
    else:
        client.force_login(make_user("dewi"))
    urls = [*(address(stored, rest) for rest in SMALL), "/dicom-web/studies?PatientID=MRN-1001"]
    assert [client.get(url, headers=headers).status_code for url in urls] == [200] * len(urls)
    _shut(what)
    assert [client.get(url, headers=headers).status_code for url in urls] == [401] * len(urls)


def _hidden(what: str) -> None:
    now = timezone.now()
    if what == "study deleted":
        Study.objects.update(deleted_at=now)
    elif what == "instance removed":
        Instance.objects.update(removed_at=now)
    elif what == "nothing current":
        Location.objects.update(is_current=False)


@pytest.mark.parametrize("what", ["", "study deleted", "instance removed", "nothing current"])
def test_one_instance_is_found_for_whom_and_where_many_are(stored: Stored, what: str) -> None:
    elsewhere = make_site()
    store(elsewhere, part10(ct(SOPInstanceUID=stored.sop_instance_uid, SeriesInstanceUID="1.2.3")))
    callers: list[Any] = [
        make_token("reads")[0],
        make_token("writes", scopes=["studies.write"])[0],
        make_token("elsewhere", site=elsewhere)[0],
        make_user("reader"),
        make_user("stranger", site=elsewhere),
        make_user("chief", is_superuser=True),
    ]
    study, series, instance = stored.study_instance_uid, stored.series_instance_uid, stored.sop_instance_uid
    _hidden(what)
    found = 0
    for who in callers:
        for names in ((study, series, instance), (study, "1.2.3", instance), ("1.2.4", series, instance),
                      (study, series, "1.2.5")):  # fmt: skip
            many = instances_of(
                who=who,
                study_instance_uids=[names[0]],
                series_instance_uids=[names[1]],
                sop_instance_uids=[names[2]],
            )
            for bytes_only in (False, True):
                one = instance_of(
                    who=who,
                    study_instance_uid=names[0],
                    series_instance_uid=names[1],
                    sop_instance_uid=names[2],
                    bytes_only=bytes_only,
                )
                assert [one] == list(many) or (one is None and not many)
                found += one is not None
    assert found == (0 if what else 6)


def test_what_comes_along_is_what_the_rows_say(stored: Stored, django_assert_num_queries: Callable[..., Any]) -> None:
    user = make_user("chief", is_superuser=True)
    names = {
        "study_instance_uid": stored.study_instance_uid,
        "series_instance_uid": stored.series_instance_uid,
        "sop_instance_uid": stored.sop_instance_uid,
    }
    with django_assert_num_queries(1):
        one = instance_of(who=user, **names)
        assert one is not None
        instance = one.instance_ref
        rows = [one, one.volume, instance, instance.series_ref, instance.series_ref.study_ref]
    for row in rows:
        same = type(row).objects.get(pk=row.pk)
        for each in row._meta.concrete_fields:
            value, expected = getattr(row, each.attname), getattr(same, each.attname)
            assert value == expected and type(value) is type(expected), each
