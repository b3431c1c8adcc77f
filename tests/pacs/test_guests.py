"""Who comes by a token or a signed link: sees exactly what it opens, in every door, for as long as it holds."""

import hashlib
import hmac
import io
import re
import time
import zipfile
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pacs import guests
from pacs.models import LinkSigner, Study
from pacs.services import links, removal
from pacs.services.study_tokens import hand_out, revoke_token
from radiology.models import ApiClient, AuditEvent, Site, User
from radiology.services.merges import merge_patients
from tests.factories import make_patient, make_site, make_user
from tests.pacs.api_client import ApiProgram, problem
from tests.pacs.dicomweb import body, store
from tests.pacs.objects import ct, part10
from tests.pacs.visibility import HIDDEN, SECRET, ask, caller, changed, state, things, walk, walked

pytestmark = pytest.mark.django_db
EMR = "https://emr.hospital.com"


@pytest.fixture(autouse=True)
def no_wrong_links() -> None:
    cache.clear()


@pytest.fixture
def chief(site: Site) -> User:
    return make_user("chief", is_superuser=True, is_staff=True)


def received(site: Site, **attributes: Any) -> Study:
    stored = store(site, part10(ct(**attributes)))
    return Study.objects.get(study_instance_uid=stored.study_instance_uid, site=site)


def token_of(study: Study) -> str:
    (handed,) = hand_out(studies=Study.objects.filter(pk=study.pk))
    return handed.token


def signer(name: str = "simrs", **fields: Any) -> tuple[LinkSigner, str]:
    client, _ = ApiClient.objects.get_or_create(name=name, defaults={"site": Site.objects.default()})
    secret = links.new_secret(who=None, client=client)
    LinkSigner.objects.filter(client=client).update(**fields)
    return LinkSigner.objects.get(client=client), secret


def link(secret: str, path: str = "/viewer", *, left: int = 300, client: str = "simrs", **names: str) -> str:
    """As a hospital system writes it: by the documentation alone, with nothing of ours."""
    parameters = {**names, "client": client, "expires": str(int(time.time()) + left)}
    lines = "\n".join([path, *(f"{name}={value}" for name, value in sorted(parameters.items()))])
    parameters["signature"] = hmac.new(secret.encode(), lines.encode(), hashlib.sha256).hexdigest()
    return f"{path}?{urlencode(parameters, quote_via=quote)}"


def follow(client: Client, address: str, **more: Any) -> Any:
    """The page that a link leads to, and that nothing secret is left in its address."""
    first = client.get(address, **more)
    assert first.status_code == 302, (first.status_code, first.content[:300])
    assert first["Referrer-Policy"] == "no-referrer" and "no-store" in first["Cache-Control"]
    assert not re.search("token|signature|client=", first["Location"])
    return client.get(first["Location"], **more)


def rows(client: Client, **query: str) -> list[str]:
    answer = client.get("/dicom-web/studies", query)
    return [each["0020000D"]["Value"][0] for each in answer.json()] if answer.status_code == 200 else []


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


@pytest.mark.parametrize(
    ("names", "opens"),
    [
        ({"StudyInstanceUIDs": "{a}"}, "a"),
        ({"StudyInstanceUIDs": "{b}, {a},1.2.3"}, "ba"),
        ({"AccessionNumber": "ACC 1/&+é"}, "a"),
        ({"patientId": "001234"}, "a"),
        ({"patientId": "001234", "issuer": "RSUD", "hangingprotocolid": "mpr"}, "a"),
    ],
)
def test_a_link_that_a_hospital_system_signed_opens_the_viewer(site: Site, names: dict[str, str], opens: str) -> None:
    studies = {"a": received(site, PatientID="001234", AccessionNumber="ACC 1/&+é", SpecificCharacterSet="ISO_IR 192")}
    studies["b"] = received(site, PatientID="5")
    uids = {name: study.study_instance_uid for name, study in studies.items()}
    _, secret = signer()
    browser = Client()
    address = link(secret, **{name: value.format(**uids) for name, value in names.items()})
    first = browser.get(address)
    assert first.status_code == 302 and first["Location"].startswith(
        f"/ohif/viewer?StudyInstanceUIDs={','.join(uids[name] for name in opens)}"
    )
    assert browser.get(first["Location"]).status_code in {200, 503}
    assert sorted(rows(browser)) == sorted(uids[name] for name in opens)
    used = AuditEvent.objects.get(event="link.used")
    assert used.agent == "link of simrs" and used.succeeded and used.patient_ref_id == studies[opens[0]].patient_ref_id


def test_a_signed_link_lists_the_studies_of_a_patient(site: Site) -> None:
    patient = [received(site, PatientID="7", StudyDescription=f"CT {number}") for number in range(3)]
    received(site, PatientID="8")
    _, secret = signer()
    browser = Client()
    page = follow(browser, link(secret, "/worklist", patientId="7"))
    assert page.status_code == 200 and page.content.count(b"study-card") >= 3
    for study in patient:
        assert study.study_description in page.content.decode()
        assert browser.get(f"/viewer?StudyInstanceUIDs={study.study_instance_uid}").status_code == 302
    assert len(rows(browser)) == 3 and len(rows(browser, PatientID="7")) == 3 and rows(browser, PatientID="8") == []
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(f"/worklist?{page.request['QUERY_STRING']}").status_code == 200
    assert len(captured) <= 8, [query["sql"] for query in captured]
    several = follow(Client(), link(secret, patientId="7"))
    assert several.content.count(b"study-card") >= 3
    received(site, PatientID="7")
    assert len(rows(browser)) == 4  # what arrives later belongs to it
    other = make_patient("9")
    for public_id in (other.public_id, "x", ""):
        assert "/accounts/login/" in browser.get("/worklist", {"patient": str(public_id)})["Location"]


def test_numbers_that_could_mean_another_person_open_nothing(site: Site, chief: User) -> None:
    _, secret = signer()
    received(site, PatientID="7", AccessionNumber="A")
    received(site, PatientID="8", AccessionNumber="A")
    make_patient("7", issuer_of_patient_id="ELSEWHERE")
    received(make_site(), PatientID="10")
    for names in (
        {"patientId": "7"},
        {"AccessionNumber": "A"},
        {"patientId": "9"},
        {"patientId": "10"},
        {"patientId": "007"},
    ):
        response = Client().get(link(secret, **names))
        assert response.status_code == 404, names
    for names in ({}, {"patientId": "8", "AccessionNumber": "A"}, {"patientId": " "}):
        assert Client().get(link(secret, **names)).status_code == 400, names
    old, new = make_patient("OLD"), Study.objects.get(patient_ref__patient_id="8").patient_ref
    merge_patients(who=chief, survivor=new, merged=old, reason="twice")
    browser = Client()
    follow(browser, link(secret, patientId="OLD"))
    assert len(rows(browser)) == 1


def test_a_link_that_was_changed_is_refused(site: Site) -> None:
    study = received(site, PatientID="7")
    _, secret = signer()
    whole = link(secret, "/worklist", patientId="7")
    query = dict(parse_qsl(urlsplit(whole).query))
    wrong = [
        whole.replace("/worklist?", "/viewer?"), whole.replace("patientId=7", "patientId=8"), whole + "&patientId=7",
        whole + "&more=1", whole[:-1], whole.replace("client=simrs", "client=other"), whole.replace("client=simrs", ""),
        f"/worklist?{urlencode({**query, 'expires': int(query['expires']) + 1})}",
        f"/worklist?{urlencode({**query, 'signature': ''})}",
        f"/worklist?{urlencode({**query, 'signature': 'é' * 64})}",
        link("", patientId="7"), link("another", patientId="7"), link(secret, patientId="7", client="nobody"),
        link(secret, patientId="7\nclient=simrs"), link(secret, patientId="7", left=8 * 24 * 3600),
    ]  # fmt: skip
    for address in wrong:
        browser = Client()
        response = browser.get(address)
        assert response.status_code == 403, (address, response.status_code)
        assert not browser.cookies and response["X-Frame-Options"] == "SAMEORIGIN"
    assert AuditEvent.objects.filter(event="link.used", succeeded=False).count() == len(wrong)
    upper = urlencode({**query, "signature": query["signature"].upper()})
    assert Client().get(f"/worklist?{upper}").status_code == 302
    assert study.pk


def test_a_link_ends_with_its_time_its_secret_and_its_client(site: Site) -> None:
    study = received(site, PatientID="7")
    made, secret = signer()
    assert Client().get(link(secret, patientId="7", left=-30)).status_code == 302  # clocks differ a little
    expired = Client().get(link(secret, patientId="7", left=-100))
    assert (
        expired.status_code == 410 and b"expired" in expired.content and b"open it again from there" in expired.content
    )
    browsers = [Client(), Client()]
    for browser in browsers:
        follow(browser, link(secret, patientId="7"))
    ApiClient.objects.update(is_active=False)
    assert Client().get(link(secret, patientId="7")).status_code == 403
    assert browsers[0].get("/dicom-web/studies").status_code == 401
    ApiClient.objects.update(is_active=True)
    assert rows(browsers[0]) == [study.study_instance_uid]
    new = links.new_secret(who=None, client=made.client)
    assert browsers[0].get("/dicom-web/studies").status_code == 401
    assert Client().get(link(secret, patientId="7")).status_code == 403
    assert Client().get(link(new, patientId="7")).status_code == 302


def test_the_secret_is_not_in_the_database(site: Site) -> None:
    made, secret = signer()
    assert secret not in made.secret_encrypted and made.secret == secret


class TestFrames:
    def framing(self, response: Any) -> tuple[str, bool]:
        (found,) = re.findall("frame-ancestors ([^;]*)", response["Content-Security-Policy"])
        return found, "X-Frame-Options" in response

    def test_only_pages_of_the_client_that_made_the_link_embed_what_it_opens(self, site: Site) -> None:
        study, other = received(site, PatientID="7"), received(site, PatientID="8")
        _, secret = signer(frame_ancestors=[EMR, "http://10.1.2.3:8080"])
        _, plain = signer("plain")
        allowed = (f"'self' {EMR} http://10.1.2.3:8080", False)
        own = ("'self'", True)
        browser = Client()
        assert self.framing(follow(browser, link(secret, "/worklist", patientId="7"))) == allowed
        viewer = f"/ohif/viewer?StudyInstanceUIDs={study.study_instance_uid}"
        assert self.framing(browser.get(viewer)) == (allowed if browser.get(viewer).status_code == 200 else own)
        follow(browser, link(plain, client="plain", patientId="8"))
        both = f"{viewer},{other.study_instance_uid}"
        assert self.framing(browser.get(both)) == own
        assert self.framing(browser.get(f"/ohif/viewer?StudyInstanceUIDs={other.study_instance_uid}")) == own
        assert self.framing(follow(Client(), f"/viewer?token={token_of(study)}")) == own
        assert self.framing(browser.get("/accounts/login/")) == own
        assert self.framing(Client().get(link(secret, patientId="7", left=-999))) == allowed
        assert self.framing(Client().get(link(secret, patientId="nobody"))) == allowed
        signed_in = caller(make_user("dewi"))
        assert self.framing(follow(signed_in, link(secret, "/viewer", patientId="7"))) in (allowed, own)
        assert self.framing(signed_in.get("/")) == own and self.framing(signed_in.get("/worklist?view=list")) == own

    def test_the_cookie_of_a_frame_elsewhere_is_kept_apart(self, site: Site) -> None:
        received(site, PatientID="7")
        _, secret = signer(frame_ancestors=[EMR])
        in_frame = {"headers": {"Sec-Fetch-Dest": "iframe"}}
        browser = Client()
        browser.get(link(secret, patientId="7"), secure=True, **in_frame)
        assert list(browser.cookies) == [guests.EMBEDDED]
        told = browser.cookies[guests.EMBEDDED].OutputString()
        assert {"HttpOnly", "Secure", "SameSite=None", "Partitioned", "Path=/"} <= set(told.split("; "))
        assert browser.get("/dicom-web/studies", secure=True).status_code == 200
        for more in ({"secure": True}, in_frame, {}):
            other = Client()
            other.get(link(secret, patientId="7"), **more)
            assert list(other.cookies) == [guests.COOKIE] and "SameSite=Lax" in str(other.cookies)
            assert bool(other.cookies[guests.COOKIE]["secure"]) == more.get("secure", False)

    @pytest.mark.parametrize(
        "origin",
        ["*", "https://*", "https://a.b/", "https://a.b/x", "https://a b", "https://a.b; script-src *", "a.b", "'self'",
         "https://*.b", "javascript:x", "https://a.b:x", "https://a.b,https://c", "https://-a", "https://é.id", "null"],
    )  # fmt: skip
    def test_what_is_no_origin_is_refused(self, site: Site, origin: str) -> None:
        made, _ = signer()
        made.frame_ancestors = [origin]
        with pytest.raises(ValidationError):
            made.full_clean()
        made.frame_ancestors = [" HTTPS://EMR.hospital.com ", "https://emr.hospital.com", "http://10.1.2.3:8080"]
        made.full_clean()
        assert made.frame_ancestors == ["https://emr.hospital.com", "http://10.1.2.3:8080"]


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
        assert walk(guest, hidden) == []
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
                if (told or (each.keys and response.status_code < 300)) and not doors.match(each.route):
                    holes.append(f"{each.route} {query}")
                if response.status_code >= 500 and response.status_code != 503:
                    holes.append(f"{each.route} {query}: {response.status_code}")
            for method, form in (("POST", "form"), ("POST", "json"), ("PATCH", "json"), ("DELETE", "json")):
                if ask(guest, method, each.path(mine), mine, {}, form).status_code < 300:
                    holes.append(f"{method} {each.route}")
        assert holes == []
        assert changed(before) == []
        assert shown > 20


class TestRest:
    def test_the_token_of_a_study_and_what_it_opens(self, site: Site) -> None:
        study = received(site)
        program = ApiProgram()
        found = program.get(f"studies/{study.study_instance_uid}/token").json()
        token = token_of(study)
        assert found == {
            "study_instance_uid": study.study_instance_uid,
            "token": token,
            "viewer_url": f"http://testserver/viewer?token={token}",
            "download_url": f"http://testserver/download?token={token}",
            "sante_url": f"sante://download?url=testserver:80&ssl=no&token={token}",
        }
        secure = program.client.get(f"/api/v1/studies/{study.study_instance_uid}/token", secure=True, SERVER_PORT="443")
        assert secure.json()["sante_url"].startswith("sante://download?url=testserver:443&ssl=yes&token=")
        follow(Client(), found["viewer_url"])
        assert program.delete(f"studies/{study.study_instance_uid}/token").status_code == 204
        assert Client().get(found["viewer_url"]).status_code == 404
        assert program.get(f"studies/{study.study_instance_uid}/token").json()["token"] != token
        events = AuditEvent.objects.filter(event__startswith="token.", agent="simrs").order_by("pk")
        assert [each.event for each in events] == ["token.asked", "token.asked", "token.revoked", "token.asked"]

    def test_it_needs_its_scope_and_a_study_that_is_shown(self, site: Site) -> None:
        study, elsewhere = received(site), received(make_site())
        reads = ApiProgram(scopes=["studies.read"], name="reads")
        path = f"studies/{study.study_instance_uid}/token"
        problem(reads.get(path), 403)
        problem(reads.delete(path), 403)
        problem(reads.post("links", {"study_instance_uid": study.study_instance_uid}, "application/json"), 403)
        problem(ApiProgram().get(f"studies/{elsewhere.study_instance_uid}/token"), 404, "study")
        Study.objects.filter(pk=study.pk).update(number_of_study_related_instances=0)
        problem(ApiProgram(name="again").get(path), 404, "study")
        doctor = caller(make_user("doctor", role="doctor"))
        assert doctor.get(f"/api/v1/{path}").status_code == 403

    def test_a_link_that_expires(self, site: Site) -> None:
        study = received(site, PatientID="7", AccessionNumber="A1")
        program = ApiProgram(name="SIMRS Khanza")
        asked = {"accession_number": "A1", "expires_in": 600, "for_whom": "dr. Sari"}
        answer = program.post("links", asked, "application/json")
        assert answer.status_code == 201, answer.content
        made = answer.json()
        assert "+00:00" in made["expires_at"]
        browser = Client()
        follow(browser, made["url"])
        assert rows(browser) == [study.study_instance_uid]
        event = AuditEvent.objects.get(event="link.made")
        assert event.detail["for"] == "dr. Sari" and event.detail["signature"] in made["url"]
        assert AuditEvent.objects.get(event="link.used").detail["signature"] == event.detail["signature"]
        listed = program.post("links", {"patient_id": "7", "page": "worklist"}, "application/json").json()
        assert b"study-card" in follow(Client(), listed["url"]).content
        assert LinkSigner.objects.get().secret_version == 1

    @pytest.mark.parametrize(
        ("given", "status", "field"),
        [
            ({}, 400, ""),
            ({"patient_id": "7", "accession_number": "A1"}, 400, ""),
            ({"patient_id": "7", "expires_in": 0}, 400, "expires_in"),
            ({"patient_id": "7", "expires_in": 604801}, 400, "expires_in"),
            ({"patient_id": "7", "expires_in": "60"}, 400, "expires_in"),
            ({"patient_id": "7", "expires_in": True}, 400, "expires_in"),
            ({"patient_id": 7}, 400, "patient_id"),
            ({"patient_id": "7", "page": "admin"}, 400, "page"),
            ({"accession_number": "A1", "page": "worklist"}, 400, "page"),
            ({"patient_id": "7", "client": "other"}, 400, "client"),
            ({"patient_id": "nobody"}, 404, ""),
            ({"study_instance_uid": "1.2.3"}, 404, ""),
        ],
    )
    def test_what_makes_no_link(self, site: Site, given: dict[str, Any], status: int, field: str) -> None:
        received(site, PatientID="7", AccessionNumber="A1")
        problem(ApiProgram().post("links", given, "application/json"), status, field)

    def test_links_are_made_by_programs(self, site: Site, chief: User) -> None:
        client = caller(chief)
        assert client.post("/api/v1/links", {"patient_id": "7"}, "application/json").status_code == 403


class TestPages:
    def test_the_study_page_hands_out_links_and_withdraws_them(self, site: Site, chief: User) -> None:
        study = received(site)
        page = f"/studies/{study.study_instance_uid}"
        radiologist = caller(make_user("radiologist", role="radiologist"))
        assert f"{page}/share" in radiologist.get(page).content.decode()
        dialog = radiologist.get(f"{page}/share").content.decode()
        token = token_of(study)
        assert f"http://testserver/viewer?token={token}" in dialog and "sante://download?url=testserver:80" in dialog
        assert "Withdraw" not in dialog
        assert radiologist.post(f"{page}/share", {"do": "revoke"}).status_code == 403
        assert caller(chief).post(f"{page}/share", {"do": "revoke"}).status_code == 302
        assert token_of(study) != token
        doctor = caller(make_user("doctor", role="doctor"))
        assert f"{page}/share" not in doctor.get(page).content.decode()
        assert doctor.get(f"{page}/share").status_code == 403

    def test_the_admin_revokes_tokens_and_makes_secrets(self, site: Site, chief: User) -> None:
        study = received(site)
        token = token_of(study)
        client = caller(chief)
        listed = client.get("/admin/pacs/studytoken/").content.decode()
        assert study.study_instance_uid in listed and token not in listed
        chosen = {"action": "revoke", "_selected_action": [study.token.pk]}
        client.post("/admin/pacs/studytoken/", chosen)
        assert token_of(study) != token
        program = ApiClient.objects.create(name="emr")
        form = {"client": program.pk, "frame_ancestors": "https://EMR.hospital.com, http://10.1.2.3"}
        answer = client.post("/admin/pacs/linksigner/add/", form, follow=True)
        made = LinkSigner.objects.get()
        assert made.frame_ancestors == ["https://emr.hospital.com", "http://10.1.2.3"]
        assert made.secret in answer.content.decode()
        assert made.secret not in client.get(f"/admin/pacs/linksigner/{made.pk}/change/").content.decode()
        bad = client.post("/admin/pacs/linksigner/add/", {"client": program.pk, "frame_ancestors": "https://*"})
        assert bad.status_code == 200 and "no origin" in bad.content.decode()
        before = made.secret
        client.post("/admin/pacs/linksigner/", {"action": "make_secret", "_selected_action": [made.pk]})
        made.refresh_from_db()
        assert made.secret != before and made.secret_version == 2
