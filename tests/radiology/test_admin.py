"""What administrators do in the admin, and what it does not let them do."""

import os
import re
import subprocess
import sys
from typing import Any
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from radiology.models import (
    ApiClient,
    ApiToken,
    AuditEvent,
    Job,
    JobState,
    Order,
    Patient,
    RequestedProcedure,
    Scope,
    User,
)
from radiology.services import access, jobs
from tests.daemons import ROOT
from tests.radiology.admin_client import PASSWORD, errors, patient, patient_form, post, signed_in, superuser, texts

pytestmark = pytest.mark.django_db


@pytest.fixture
def chief() -> Client:
    return signed_in(superuser())


class TestDoor:
    def test_strangers_are_sent_to_the_sign_in_of_the_house(self, client: Client) -> None:
        response = client.get("/admin/radiology/patient/", follow=True)
        assert unquote(response.redirect_chain[-1][0]) == "/accounts/login/?next=/admin/radiology/patient/"

    def test_the_admin_has_no_sign_in_of_its_own(self, client: Client) -> None:
        """It would let people in without their second factor and without a limit of attempts."""
        superuser()
        response = client.post("/admin/login/?next=/admin/", {"username": "chief", "password": PASSWORD})
        assert response.status_code == 302
        assert response["Location"].startswith("/accounts/login/")
        assert "_auth_user_id" not in client.session

    def test_people_who_are_no_staff_stay_out(self) -> None:
        client = signed_in(User.objects.create_user("doctor", password=PASSWORD))
        assert client.get("/admin/").status_code == 302
        assert client.get("/admin/", follow=True).status_code == 403

    def test_its_policy_lets_the_menu_work_and_no_script_in_the_page(self, chief: Client) -> None:
        policy = chief.get("/admin/")["Content-Security-Policy"]
        directives = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
        assert "'unsafe-eval'" in directives["script-src"]
        assert "'unsafe-inline'" not in directives["script-src"]
        assert "'unsafe-inline'" in directives["style-src"]
        elsewhere = chief.get("/accounts/password/change/")["Content-Security-Policy"]
        assert "unsafe" not in elsewhere

    def test_the_first_page_lists_the_groups_of_the_menu(self, chief: Client) -> None:
        groups = [str(group["name"]) for group in chief.get("/admin/").context["app_list"]]
        assert groups == [
            "People",
            "Orders",
            "Reports",
            "Schedule",
            "Images",
            "Nodes",
            "Storage",
            "Imports & transfers",
            "Jobs & audit",
            "Sign-in",
        ]

    def test_it_speaks_the_language_that_somebody_chose(self) -> None:
        user = User.objects.create_superuser("chief", "chief@example.org", PASSWORD, language="id", theme="dark")
        page = signed_in(user).get("/admin/").content.decode()
        assert 'lang="id"' in page
        assert 'class="dark"' in page


class TestPatients:
    def test_a_new_name_is_found_by_its_words_at_once(self, chief: Client) -> None:
        made = patient()
        post(chief, "radiology_patient_change", patient_form(made, patient_name="LESTARI^AYU^^DR"), made.pk)
        made.refresh_from_db()
        assert made.patient_name_sort == "lestari ayu"
        assert sorted(word.word for word in made.name_words.all()) == ["ayu", "dr", "lestari"]
        assert made.version == 2
        found = chief.get("/admin/radiology/patient/", {"q": "ayu lest"}).context["cl"].result_list
        assert list(found) == [made]

    def test_a_form_that_was_overtaken_is_refused(self, chief: Client) -> None:
        made = patient()
        opened = patient_form(made, patient_sex="F")
        post(chief, "radiology_patient_change", patient_form(made, patient_birth_date="19800229"), made.pk)
        response = post(chief, "radiology_patient_change", opened, made.pk)
        assert "Somebody else changed this" in errors(response)
        made.refresh_from_db()
        assert (made.patient_birth_date, made.patient_sex, made.version) == ("19800229", "", 2)

    def test_an_identity_that_is_taken_is_refused_in_words(self, chief: Client) -> None:
        patient(patient_id="RM-1")
        other = patient(patient_id="RM-2")
        response = post(chief, "radiology_patient_change", patient_form(other, patient_id="RM-1"), other.pk)
        assert "another patient" in errors(response)

    def test_records_of_patients_cannot_be_deleted(self, chief: Client) -> None:
        made = patient()
        assert post(chief, "radiology_patient_delete", {"post": "yes"}, made.pk).status_code == 403
        post(chief, "radiology_patient_changelist", {"action": "delete_selected", "_selected_action": made.pk})
        assert Patient.objects.filter(pk=made.pk).exists()

    def test_each_change_leaves_a_trace_without_values(self, chief: Client) -> None:
        made = patient()
        post(chief, "radiology_patient_change", patient_form(made, patient_name="RAHASIA^NAMA"), made.pk)
        event = AuditEvent.objects.get(event="admin")
        assert (event.agent, event.action, event.patient_ref_id) == ("chief", "U", made.pk)
        assert event.detail == {"model": "radiology.Patient", "id": made.pk, "changed": ["Name"]}

    @pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "${1}"])
    def test_markup_in_a_name_stays_text(self, chief: Client, text: str) -> None:
        made = patient(name=f"{text}^A", patient_id=text)
        order = Order.objects.create(patient_ref=made, accession_number="<b>1", reason_for_the_requested_procedure=text)
        pages = ["/admin/radiology/patient/", f"/admin/radiology/patient/{made.pk}/change/", "/admin/radiology/order/"]
        pages += [f"/admin/radiology/order/{order.pk}/change/", f"/admin/radiology/patient/{made.pk}/history/"]
        for address in pages:
            page = chief.get(address).content.decode()
            assert "<script>alert" not in page
            assert "<img src=x" not in page
            assert "<b>1" not in page
            assert "49" not in page or text != "{{7*7}}" or "{{7*7}}" in page
        found = chief.get(
            "/admin/autocomplete/",
            {"app_label": "radiology", "model_name": "order", "field_name": "patient_ref", "term": text},
        )
        assert found["Content-Type"] == "application/json"
        searched = chief.get("/admin/radiology/patient/", {"q": text}).content.decode()
        assert "<script>alert" not in searched


class TestOrders:
    def test_a_procedure_gets_the_uid_of_its_study_to_come(self, chief: Client) -> None:
        order = Order.objects.create(patient_ref=patient(), accession_number="A1")
        post(
            chief,
            "radiology_requestedprocedure_add",
            {"order_ref": order.pk, "requested_procedure_id": "RP1", "modality": "CT", "study_instance_uid": ""},
        )
        assert re.fullmatch(r"2\.25\.\d+", RequestedProcedure.objects.get().study_instance_uid)

    def test_a_malformed_uid_is_refused(self, chief: Client) -> None:
        order = Order.objects.create(patient_ref=patient(), accession_number="A1")
        response = post(
            chief, "radiology_requestedprocedure_add", {"order_ref": order.pk, "study_instance_uid": "../../etc/passwd"}
        )
        assert "A UID has digits and dots" in errors(response)


class TestTokens:
    @staticmethod
    def make(chief: Client, **data: Any) -> Any:
        client = ApiClient.objects.create(name="hospital system")
        return post(chief, "radiology_apitoken_add", {"client": client.pk, "scopes": ["studies.read"], **data})

    def test_the_text_is_shown_exactly_once_and_opens_what_was_chosen(self, chief: Client) -> None:
        response = self.make(chief, scopes=["studies.read", "studies.write"])
        [message] = [text for text in texts(response) if "Copy this token" in text]
        text = message.rpartition(": ")[2].removesuffix(".")
        token = access.token_of_text(text=text)
        assert token is not None
        assert token.scopes == [Scope.STUDIES_READ, Scope.STUDIES_WRITE]
        assert text in response.content.decode()
        for address in ("/admin/radiology/apitoken/", f"/admin/radiology/apitoken/{token.pk}/change/", "/admin/"):
            assert text not in chief.get(address).content.decode()
        stored = str(list(ApiToken.objects.values())) + str(list(AuditEvent.objects.values()))
        assert text not in stored

    def test_a_token_without_scope_or_already_expired_is_not_made(self, chief: Client) -> None:
        assert "required" in errors(self.make(chief, scopes=[]))
        ApiClient.objects.all().delete()
        response = self.make(chief, expires_at_0="2001-01-01", expires_at_1="00:00")
        assert "passed already" in errors(response)
        assert not ApiToken.objects.exists()

    def test_revoking_shuts_it_out(self, chief: Client) -> None:
        token, text = access.issue_token(name="viewer", scopes=["studies.read"])
        response = post(
            chief, "radiology_apitoken_changelist", {"action": "revoke", "_selected_action": [str(token.pk)]}
        )
        assert texts(response) == ["1 token was revoked."]
        assert access.token_of_text(text=text) is None
        assert AuditEvent.objects.filter(event="admin", detail__model="radiology.ApiToken").exists()

    def test_tokens_are_neither_changed_nor_deleted(self, chief: Client) -> None:
        token, _ = access.issue_token(name="viewer", scopes=["studies.read"])
        changed = post(
            chief, "radiology_apitoken_change", {"client": token.client_id, "scopes": ["studies.delete"]}, token.pk
        )
        assert changed.status_code == 403
        assert post(chief, "radiology_apitoken_delete", {"post": "yes"}, token.pk).status_code == 403
        token.refresh_from_db()
        assert token.scopes == ["studies.read"]


class TestJobs:
    def test_a_web_process_knows_the_kinds_of_work_too(self) -> None:
        program = (
            "from radiology.admin.operations import KindFilter; "
            "print([kind for kind, _ in KindFilter.lookups(None, None, None)])"
        )
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "-v0", "-c", program],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "radiology.settings.test"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "'radiology.forget_done_jobs'" in done.stdout, done.stderr
        assert "'pacs.collect_unfinished'" in done.stdout

    def test_retry_and_cancel(self, chief: Client) -> None:
        dead = Job.objects.create(kind="a", state=JobState.DEAD, attempts=20, error="no answer")
        waiting = jobs.enqueue(kind="b")
        done = Job.objects.create(kind="c", state=JobState.DONE)
        chosen = [str(job.pk) for job in (dead, waiting, done)]
        response = post(chief, "radiology_job_changelist", {"action": "retry", "_selected_action": chosen})
        assert texts(response) == ["1 job will be tried again."]
        response = post(chief, "radiology_job_changelist", {"action": "cancel", "_selected_action": chosen[1:]})
        assert texts(response) == ["1 job was cancelled."]
        states = {job.kind: (job.state, job.attempts) for job in Job.objects.all()}
        assert states == {"a": ("pending", 0), "b": ("cancelled", 0), "c": ("done", 0)}

    def test_who_may_only_look_may_not_act(self) -> None:
        user = User.objects.create_user("watcher", password=PASSWORD, is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_job"))
        job = jobs.enqueue(kind="b")
        client = signed_in(user)
        assert client.get("/admin/radiology/job/").status_code == 200
        post(client, "radiology_job_changelist", {"action": "cancel", "_selected_action": [str(job.pk)]})
        job.refresh_from_db()
        assert job.state == JobState.PENDING


class TestAcquiredDataIsReadOnly:
    @pytest.mark.parametrize(
        "model",
        [
            "pacs_study",
            "pacs_series",
            "pacs_instance",
            "pacs_location",
            "pacs_heldobject",
            "pacs_requestattributes",
            "radiology_auditevent",
            "radiology_job",
            "radiology_patientnameword",
        ],
    )
    def test_nothing_is_added_changed_or_deleted(self, chief: Client, model: str) -> None:
        assert post(chief, f"{model}_add", {}).status_code == 403
        page = chief.get(reverse(f"admin:{model}_changelist"))
        assert b"delete_selected" not in page.content
        event = AuditEvent.objects.create(event="x", action="R")
        if model == "radiology_auditevent":
            assert post(chief, f"{model}_change", {"event": "y"}, event.pk).status_code == 403
            assert post(chief, f"{model}_delete", {"post": "yes"}, event.pk).status_code == 403
