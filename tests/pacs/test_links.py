"""Links that a hospital system signs itself: what they open, when they end, and who may show it in a frame."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pacs import guests
from pacs.models import Study
from pacs.services import links
from radiology.models import ApiClient, AuditEvent, Site, User
from radiology.services.merges import merge_patients
from tests.factories import make_patient, make_site, make_user
from tests.pacs.guests import EMR, follow, link, received, rows, signer, token_of
from tests.pacs.visibility import caller

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_wrong_links() -> None:
    cache.clear()


@pytest.fixture
def chief(site: Site) -> User:
    return make_user("chief", is_superuser=True, is_staff=True)


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
