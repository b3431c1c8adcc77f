"""Who comes by a token or a signed link: sees exactly what it opens, in every door, for as long as it holds."""

import io
import re
import time
import zipfile
from typing import Any
from urllib.parse import quote

import pytest
from django.core.cache import cache
from django.test import Client, RequestFactory

from pacs import guests
from pacs.links import viewer_address
from pacs.models import Study
from pacs.services import corrections, removal
from pacs.services.study_tokens import revoke_token
from radiology.models import AuditEvent, Site, User
from radiology.services.merges import merge_patients, undo_merge
from tests.factories import make_patient, make_site, make_user
from tests.pacs.dicomweb import body
from tests.pacs.guests import follow, link, received, rows, signer, token_of
from tests.pacs.objects import ct, part10
from tests.pacs.visibility import HIDDEN, SECRET, ask, caller, changed, state, things, walk, walked

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_wrong_links() -> None:
    cache.clear()


@pytest.fixture
def chief(site: Site) -> User:
    return make_user("chief", is_superuser=True, is_staff=True)


def test_a_token_opens_its_study_in_every_door_and_nothing_else(site: Site) -> None:
    study = received(site, PatientID="1")
    other = received(site, PatientID="1")
    browser = Client()
    first = browser.get("/viewer", {"token": token_of(study), "hangingprotocolid": "mpr", "evil": "x"})
    uid = study.study_instance_uid
    assert first["Location"] == f"/ohif/viewer?StudyInstanceUIDs={uid}&hangingprotocolid=mpr"
    assert "sessionid" not in browser.cookies  # nothing about signing in changes hands
    cookie = browser.cookies[guests.COOKIE]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and not cookie["max-age"]
    assert browser.get(first["Location"]).status_code in {200, 503}
    assert rows(browser) == rows(browser, StudyInstanceUID=uid) == [uid] and rows(browser, PatientID="1") == [uid]
    below = f"/dicom-web/studies/{uid}"
    for path in ("", "/metadata", "/series", "/instances", "/thumbnail", "/rendered"):
        assert browser.get(below + path).status_code == 200, path
    away = f"/dicom-web/studies/{other.study_instance_uid}"
    assert [browser.get(away + path).status_code for path in ("", "/metadata", "/thumbnail")] == [404] * 3
    assert browser.get(f"{away}/series").json() == browser.get(f"{away}/instances").json() == []
    assert browser.post("/dicom-web/studies", part10(ct()), content_type="application/dicom").status_code == 403
    assert browser.post(below, part10(ct()), content_type="application/dicom").status_code == 403
    assert browser.get("/api/v1/studies").status_code == 401
    assert browser.get(f"/ohif/viewer?StudyInstanceUIDs={other.study_instance_uid}")["Location"].startswith("/accounts")
    assert browser.get(f"/ohif/viewer?StudyInstanceUIDs={uid},{other.study_instance_uid}").status_code == 302
    assert browser.get(f"/viewer?StudyInstanceUIDs={uid}")["Location"] == f"/ohif/viewer?StudyInstanceUIDs={uid}"
    for path in ("/", "/worklist", f"/studies/{uid}", f"/patients/{study.patient_ref.public_id}", "/admin/"):
        assert "/login/" in browser.get(path)["Location"], path
    used = AuditEvent.objects.get(event="token.used")
    assert used.agent == f"study token {bytes(study.token.token_sha256).hex()[:8]}" and used.address == "127.0.0.1"
    assert used.study_instance_uid == uid and used.patient_ref_id == study.patient_ref_id and used.succeeded
    seen = AuditEvent.objects.exclude(event__in=["token.used", "role.rights"]).exclude(agent="")
    assert {each.agent for each in seen} == {used.agent} and seen.filter(event="study.opened").exists()


def test_a_hundred_series_may_stand_in_the_address_of_the_viewer() -> None:
    uids = ",".join(f"1.2.{number:060d}" for number in range(1, 101))
    passed = viewer_address(RequestFactory().get("/viewer", {"SeriesInstanceUIDs": uids}), ["1.2.3"])
    assert passed == f"/ohif/viewer?StudyInstanceUIDs=1.2.3&SeriesInstanceUIDs={uids}"
    assert len(f"GET {passed} HTTP/1.1") < 8190


def test_two_tokens_in_one_browser_open_both(site: Site) -> None:
    first, second = received(site, PatientID="1"), received(site, PatientID="2")
    browser = Client()
    follow(browser, f"/viewer?token={token_of(first)}")
    follow(browser, f"/viewer?token={token_of(second)}")
    assert sorted(rows(browser)) == sorted([first.study_instance_uid, second.study_instance_uid])
    both = f"/ohif/viewer?StudyInstanceUIDs={first.study_instance_uid},{second.study_instance_uid}"
    assert browser.get(both).status_code in {200, 503}
    for _ in range(30):
        follow(browser, f"/viewer?token={token_of(first)}")
    assert len(rows(browser)) == 2 and len(browser.cookies[guests.COOKIE].value) < 1000


def test_what_is_revoked_deleted_or_over_closes_at_once(site: Site, chief: User, monkeypatch: Any) -> None:
    study = received(site)
    address = f"/ohif/viewer?StudyInstanceUIDs={study.study_instance_uid}"
    token = token_of(study)
    browser = Client()
    follow(browser, f"/viewer?token={token}")
    assert browser.get(address).status_code in {200, 503}
    revoke_token(who=chief, study=study)
    assert browser.get("/dicom-web/studies").status_code == 401
    closed = browser.get(address)
    assert closed.status_code == 403 and b"closed again" in closed.content
    assert browser.get(address)["Location"].startswith("/accounts/login/")  # told once
    assert browser.get(f"/viewer?token={token}").status_code == 404
    follow(browser, f"/viewer?token={token_of(study)}")
    kept = token_of(study)
    gone = removal.delete_study(who=chief, study=study, reason="by mistake")
    assert rows(browser) == [] and browser.get(address)["Location"].startswith("/accounts/login/")
    assert browser.get(f"/viewer?token={kept}").status_code == 404
    assert browser.get(f"/download?token={kept}").status_code == 404
    removal.restore(who=chief, removal=gone)
    assert rows(browser) == [study.study_instance_uid]
    later = time.time() + guests.SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert browser.get("/dicom-web/studies").status_code == 401 and browser.get(address).status_code == 403


def test_the_token_in_a_patients_record_never_opens_another_patients_images(site: Site, chief: User) -> None:
    study, other = received(site, PatientID="1"), make_patient("2", "OTHER^PERSON")
    token, browser = token_of(study), Client()
    follow(browser, f"/viewer?token={token}")
    correction = corrections.assign_patient(who=chief, study=study, version=study.version, patient=other)
    assert Client().get(f"/viewer?token={token}").status_code == 404
    assert browser.get("/dicom-web/studies").status_code == 401
    corrections.undo(who=chief, correction=correction)
    assert rows(browser) == [study.study_instance_uid]  # it was this patient's after all
    study.refresh_from_db()
    corrections.assign_patient(who=chief, study=study, version=study.version, patient=other)
    new = token_of(study)
    assert new != token and new == token_of(study)
    follow(Client(), f"/viewer?token={new}")
    merge = merge_patients(who=chief, survivor=make_patient("3"), merged=other, reason="the same person")
    assert token_of(study) == new
    follow(Client(), f"/viewer?token={new}")
    undo_merge(who=chief, merge=merge)
    follow(Client(), f"/viewer?token={new}")
    assert token_of(study) == new


@pytest.mark.parametrize("text", ["", "x", "x" * 64, "é" * 64, "../" * 30, "%00" * 10, "' OR 1=1", "1" * 10_000])
def test_a_token_that_is_none_opens_nothing(site: Site, text: str) -> None:
    received(site)
    browser = Client()
    for path in ("/viewer", "/worklist", "/download"):
        response = browser.get(path, {"token": text})
        assert response.status_code == 404 and guests.COOKIE not in browser.cookies
        assert response["Referrer-Policy"] == "no-referrer" and response["X-Frame-Options"] == "SAMEORIGIN"
        assert len(text) < 2 or quote(text)[:40] not in response.content.decode()
    assert AuditEvent.objects.filter(event="token.used", succeeded=False, address="127.0.0.1").count() == 3


def test_too_many_wrong_ones_from_an_address_are_told_so_and_right_ones_still_open(site: Site) -> None:
    study = received(site)
    attacker = Client()
    answers = [attacker.get("/viewer", {"token": f"{number:064}"}).status_code for number in range(52)]
    assert answers == [404] * 50 + [429] * 2
    refused = attacker.get(link("wrong", AccessionNumber="1"))
    assert refused.status_code == 429 and refused["Retry-After"] == "300"
    assert attacker.get("/viewer", {"token": "0" * 64}, REMOTE_ADDR="10.0.0.9").status_code == 404
    follow(attacker, f"/viewer?token={token_of(study)}")


def test_a_forged_cookie_opens_nothing(site: Site) -> None:
    study = received(site)
    browser = Client()
    follow(browser, f"/viewer?token={token_of(study)}")
    right = browser.cookies[guests.COOKIE].value
    for forged in ("", "x", right[:-1], right + "x", "." * 9000, right.split(":")[0] + ":a:b", "[]:::"):
        browser.cookies[guests.COOKIE] = forged
        assert browser.get("/dicom-web/studies").status_code == 401, forged


def test_the_zip_of_a_study(site: Site) -> None:
    study = received(site, PatientID="1")
    received(site, PatientID="1")
    response = Client().get("/download", {"token": token_of(study)})
    packed = zipfile.ZipFile(io.BytesIO(body(response)))
    assert sum(name.startswith("DICOM/") for name in packed.namelist()) == 1
    assert "attachment" in response["Content-Disposition"] and response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"] and not response.cookies
    used = AuditEvent.objects.get(event="token.used")
    assert used.study_instance_uid == study.study_instance_uid and used.agent.startswith("study token ")
    assert Client().post("/download", {"token": token_of(study)}).status_code == 405


def test_who_is_signed_in_keeps_their_own_rights(site: Site) -> None:
    mine, theirs = received(site), received(make_site())
    client = caller(make_user("dewi"))
    follow(client, f"/viewer?token={token_of(mine)}")
    page = follow(client, f"/viewer?token={token_of(theirs)}")
    assert page.status_code == 404 and b"Sign out to see what the link opens" in page.content
    assert rows(client) == [mine.study_instance_uid]
    used = AuditEvent.objects.filter(event="token.used").order_by("pk")
    assert [each.agent for each in used] == ["dewi", "dewi"] and used[1].detail["by"].startswith("study token")


class TestMatrix:
    """Every address of this server, asked by guests."""

    def guest(self, by_token: Study, by_link: Study) -> Client:
        """Who opened both in one browser."""
        _, secret = signer()
        browser = Client()
        follow(browser, f"/viewer?token={token_of(by_token)}")
        follow(browser, link(secret, "/worklist", patientId=by_link.patient_ref.patient_id))
        return browser

    def test_what_another_patient_of_the_site_has_is_shown_nowhere(self, site: Site, chief: User) -> None:
        hidden = things(site, chief, **HIDDEN)
        guest = self.guest(received(site, PatientID="1"), received(site, PatientID="2"))
        before = state()
        assert walk(guest, hidden, skip=frozenset({"verify-report"})) == []
        assert changed(before) == []

    def test_what_a_link_is_about_is_shown_by_images_only_and_changed_nowhere(self, site: Site, chief: User) -> None:
        mine = things(site, chief, **HIDDEN)
        doors = re.compile(r"dicom-?web/|wado|ohif/|viewer$|worklist$")
        guest = self.guest(mine.study, mine.study)
        before, holes, shown = state(), [], 0
        for each in walked():
            for query in mine.questions if not each.keys or "ohif" in each.route else [{}]:
                response = ask(guest, "GET", each.path(mine), mine, query)
                told = any(secret in body(response).lower() for secret in SECRET)
                shown += told
                is_open = each.name == "verify-report"  # to whoever holds a letter, and told below if it said too much
                passes = each.keys and response.status_code < 300 and not is_open
                if (told or passes) and not doors.match(each.route):
                    holes.append(f"{each.route} {query}")
                if response.status_code >= 500 and response.status_code != 503:
                    holes.append(f"{each.route} {query}: {response.status_code}")
            for method, form in (("POST", "form"), ("POST", "json"), ("PATCH", "json"), ("DELETE", "json")):
                if ask(guest, method, each.path(mine), mine, {}, form).status_code < 300:
                    holes.append(f"{method} {each.route}")
        assert holes == []
        assert changed(before) == []
        assert shown > 20
