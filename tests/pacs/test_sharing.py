"""Handing out tokens and links: over `/api/v1`, on the study's page, in the administration."""

import json
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from pacs.models import LinkSigner, Study
from radiology.models import ApiClient, AuditEvent, Site, User
from radiology.services import configuration
from tests.factories import make_site, make_user
from tests.pacs.api_client import ApiProgram, problem
from tests.pacs.guests import EMR, follow, link, received, rows, signer, token_of
from tests.pacs.visibility import caller

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_wrong_links() -> None:
    cache.clear()


@pytest.fixture
def chief(site: Site) -> User:
    return make_user("chief", is_superuser=True, is_staff=True)


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
        told = caller(chief).get(f"{page}/history").content.decode()
        assert "Token revoked" in told and "Token handed out" in told and "token." not in told
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

    def test_the_configuration_file_has_signers_without_their_secrets(self, site: Site, chief: User) -> None:
        made, secret = signer(frame_ancestors=[EMR])
        text = configuration.export(who=chief)
        assert json.loads(text)["link_signers"] == [{"client": ["simrs"], "frame_ancestors": [EMR]}]
        assert secret not in text and made.secret_encrypted not in text
        made.delete()
        configuration.apply(who=chief, text=text)
        again = LinkSigner.objects.get()
        assert again.frame_ancestors == [EMR] and again.secret == ""
        assert Client().get(link("", patientId="1")).status_code == 403
        assert configuration.plan(text=text) == []
