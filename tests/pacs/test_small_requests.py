"""Frames, pictures and searches that are asked for by the thousand: what each costs, and that rights hold at once."""

import re
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pacs.models import Instance, Location, Study
from pacs.services.attributes import Level
from pacs.services.query import Search
from pacs.services.retrieve import instance_of, instances_of
from pacs.services.store import Stored
from radiology.models import ApiClient, ApiToken, Patient, Site, User
from radiology.services.access import revoke_token
from tests.factories import make_patient, make_site, make_study, make_token, make_user
from tests.many_rows import fill
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
    elif what == "session expired":
        Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    elif what == "session ended":
        Session.objects.all().delete()
    else:
        User.objects.update(is_active=False)


WAYS = [
    *(("token", what) for what in ("token revoked", "token expired", "client shut", "client gone")),
    ("password", "user shut"),
    *(("session", what) for what in ("user shut", "session expired", "session ended")),
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
        same = type(row)._default_manager.get(pk=row.pk)
        for each in row._meta.concrete_fields:
            value, expected = getattr(row, each.attname), getattr(same, each.attname)
            assert value == expected and type(value) is type(expected), each


def _merged_into(survivor: Patient, *merged: Patient) -> None:
    for each in merged:
        Patient.objects.filter(pk=each.pk).update(merged_into=survivor, merged_at=timezone.now())


def test_studies_of_a_number_are_those_that_a_search_put_together_anew_finds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = make_site()
    ana, other, both = make_patient("A-1"), make_patient("A-2"), make_patient("A-1", site=elsewhere)
    survivor, middle, gone = make_patient("S-1"), make_patient("S-2"), make_patient("S-3")
    issued = make_patient("A-1", issuer_of_patient_id="CLINIC")
    _merged_into(survivor, middle)
    _merged_into(middle, gone)
    _merged_into(survivor, make_patient("S-4", site=elsewhere))
    for number, patient in enumerate([ana, ana, ana, other, survivor, survivor, gone, issued]):
        make_study(patient, sort_at=timezone.now() - timedelta(days=number % 3), attributes={"00100020": {"vr": "LO"}})
    make_study(both)
    make_study(ana, deleted_at=timezone.now())
    callers: list[Any] = [
        make_token("reads")[0],
        make_token("writes", scopes=["studies.write"])[0],
        make_user("stranger", site=elsewhere),
        make_user("chief", is_superuser=True),
    ]
    numbers = [
        "A-1",
        "A-2",
        "A-1\\A-2",
        "S-1",
        "S-2",
        "S-3",
        "S-4",
        "S-3\\A-1",
        "nobody",
        "a-1",
        "A-1%",
        " A-1 ",
        "x'--",
    ]
    asked: list[dict[str, Any]] = [{}, {"limit": 0}, {"limit": 1}, {"limit": 2}, {"limit": 2, "offset": 1}]

    def found() -> list[list[str]]:
        return [
            [
                row.study_instance_uid
                for row in Search(who=who, level=Level.STUDY, keys={"PatientID": number}).rows(**how)
            ]
            for who in callers
            for number in numbers
            for how in asked
        ]

    written = found()
    monkeypatch.setattr(Search, "_only_numbers", [])
    assert written == found()
    assert len({tuple(each) for each in written}) > 12
    monkeypatch.undo()
    monkeypatch.setattr("pacs.services.query.FIRST_PAGE", 2)  # more than a page: the general way goes on
    assert written == found()


@pytest.mark.parametrize("returned", [None, {"PatientName", "StudyDate"}])
def test_studies_of_a_number_are_answered_in_full(site: Site, returned: set[str] | None, monkeypatch: Any) -> None:
    study = make_study(make_patient("A-1", "SANTOSO^BUDI"), series=1, attributes={"00081070": {"vr": "PN"}})
    search = Search(who=make_token()[0], level=Level.STUDY, keys={"PatientID": "A-1"})
    written = list(search.answers(returned=returned))
    monkeypatch.setattr(Search, "_only_numbers", [])
    assert written == list(search.answers(returned=returned)) and len(written) == 1
    assert returned or written[0]["0020000D"]["Value"] == [study.study_instance_uid]


def test_the_studies_of_a_number_are_found_by_indexes(site: Site) -> None:
    fill(times=3000)
    study = make_study(make_patient("A-1"))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    for who in (make_token()[0], make_user("chief", is_superuser=True)):
        for limit in (1, 500):
            search = Search(who=who, level=Level.STUDY, keys={"PatientID": "A-1"})
            with CaptureQueriesContext(connection) as captured:
                assert [row.pk for row in search.rows(limit=limit)] == [study.pk]
            (query,) = captured
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query['sql']}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan on pacs_study" not in plan and "Seq Scan on radiology_patient" not in plan, plan
            assert "Rows Removed by Filter" not in plan, plan


def test_a_search_by_number_pays_for_its_token_one_statement_and_the_trail(site: Site) -> None:
    make_study(make_patient("A-1"))
    headers = {"Authorization": f"Bearer {make_token()[1]}"}
    Client().get("/dicom-web/studies?PatientID=A-1", headers=headers)
    with CaptureQueriesContext(connection) as captured:
        assert len(Client().get("/dicom-web/studies?PatientID=A-1", headers=headers).json()) == 1
    assert len(captured) == 3, [query["sql"] for query in captured]


def test_one_instance_among_many_is_found_by_indexes(site: Site) -> None:
    fill(times=3000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    for who in (make_token()[0], make_user("chief", is_superuser=True)):
        for bytes_only in (False, True):
            with CaptureQueriesContext(connection) as captured:
                assert instance_of(
                    who=who,
                    study_instance_uid="2.25.10.77",
                    series_instance_uid="2.25.20.77",
                    sop_instance_uid="2.25.30.77",
                    bytes_only=bytes_only,
                )
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {captured[-1]['sql']}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
            assert not re.search("Seq Scan on pacs_(instance|series|study|location)", plan), plan
            assert "Rows Removed by Filter" not in plan, plan


@pytest.mark.parametrize("number", [2, 1_000_001, 2**31, 2**63, 10**30])
def test_a_frame_that_no_object_has_is_not_found(stored: Stored, number: int) -> None:
    _, text = make_token()
    response = Client().get(address(stored, f"/frames/{number}"), headers={"Authorization": f"Bearer {text}"})
    assert response.status_code in {400, 404}
