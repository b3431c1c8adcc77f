"""Webhooks in the administration, the configuration file and `/api/v1`."""

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from standardwebhooks import Webhook as Verifier

from integrations.models import Webhook, WebhookDelivery, WebhookNetwork
from integrations.webhooks import events, services
from integrations.webhooks.deliver import send_test
from radiology.errors import RadiologyError
from radiology.models import AuditEvent, Job, JobState, Role
from radiology.services import configuration, jobs
from tests.factories import make_site, make_token, make_user
from tests.integrations.webhook_receiver import allow, make_webhook, receiving
from tests.pacs.api_client import ApiProgram, problem
from tests.radiology.admin_client import administrator, post, signed_in, superuser, texts

pytestmark = pytest.mark.django_db

LIST = "integrations_webhookdelivery_changelist"


@pytest.fixture
def chief() -> Client:
    return signed_in(superuser())


def form(address: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": "SIMRS",
        "url": address,
        "events": ["order.status", "study.complete"],
        "base_url": "https://pacs.hospital.com",
        "is_active": "on",
        "site": "1",
        **fields,
    }


def happen(number: int) -> list[WebhookDelivery]:
    for n in range(number):
        about = [events.Happening(1, "one", {"n": n})]
        events.tell(event="study.complete", about=lambda about=about: about)  # type: ignore[misc]
    return list(WebhookDelivery.objects.order_by("pk"))


class TestAdmin:
    def test_entered_tried_and_given_another_secret(self, chief: Client) -> None:
        allow()
        with receiving(204, 500) as receiver:
            made = post(chief, "integrations_webhook_add", form(receiver.url))
            (secret,) = re.findall(r"whsec_[\w+/=]+", " ".join(texts(made)))
            webhook = Webhook.objects.get()
            assert (
                secret
                not in chief.get(reverse("admin:integrations_webhook_change", args=[webhook.pk])).content.decode()
            )
            test = reverse("admin:integrations_webhook_test_this", args=[webhook.pk])
            assert "It took the test: 204" in texts(chief.get(test, follow=True))[-1]
            assert Verifier(secret).verify(receiver.got[0].body, receiver.got[0].headers)["type"] == "webhook.test"
            assert "It answered 500" in texts(chief.get(test, follow=True))[-1]
        assert "does not answer" in texts(chief.get(test, follow=True))[-1]
        chosen = {"action": "rotate_selected", "_selected_action": [webhook.pk]}
        assert "SIMRS: copy this secret" in texts(post(chief, "integrations_webhook_changelist", chosen))[-1]
        assert not WebhookDelivery.objects.exists()
        assert AuditEvent.objects.filter(event="webhook", detail__changed=["secret"]).count() == 2

    @pytest.mark.parametrize(
        ("fields", "field"), [({"events": []}, "events"), ({"url": "ftp://x/"}, "url"), ({"base_url": "x"}, "base_url")]
    )
    def test_what_is_malformed_is_said_at_its_field(self, chief: Client, fields: Any, field: str) -> None:
        response = post(chief, "integrations_webhook_add", form("https://a.example/", **fields))
        assert field in response.context["adminform"].form.errors and not Webhook.objects.exists()

    def test_dead_letters_are_seen_and_sent_again(self, chief: Client) -> None:
        allow()
        with receiving() as receiver:
            make_webhook(receiver.url)
            rows = happen(5)
            Job.objects.filter(pk=rows[1].job_id).update(state=JobState.DEAD, error="It answered 404.")
            Job.objects.filter(pk=rows[4].job_id).update(state=JobState.DEAD)
            jobs.run_due()
            found = chief.get(reverse(f"admin:{LIST}"), {"state": "dead"})
            assert [row.pk for row in found.context["cl"].result_list] == [rows[4].pk, rows[1].pk]
            assert "It answered 404." in found.content.decode()
            chosen = {"action": "again", "_selected_action": [rows[1].pk]}
            assert "1 delivery will be sent again." in texts(post(chief, LIST, chosen))
            jobs.run_due()
            chosen = {"action": "range_again", "_selected_action": [rows[1].pk, rows[3].pk]}
            assert "3 deliveries will be sent again." in texts(post(chief, LIST, chosen))
            jobs.run_due()
        assert [json.loads(got.body)["data"]["n"] for got in receiver.got] == [0, 2, 3, 1, 1, 2, 3]
        assert AuditEvent.objects.filter(event="webhook.sent_again").count() == 2
        page = chief.get(reverse("admin:integrations_webhookdelivery_change", args=[rows[1].pk])).content.decode()
        assert "study.complete" in page and str(rows[1].public_id) in page

    def test_ended_it_is_off_the_list(self, chief: Client) -> None:
        webhook, _ = make_webhook("https://a.example/")
        happen(2)
        chosen = {"action": "end_selected", "_selected_action": [webhook.pk]}
        assert "1 webhook was ended." in texts(post(chief, "integrations_webhook_changelist", chosen))
        assert not list(chief.get(reverse("admin:integrations_webhook_changelist")).context["cl"].result_list)
        assert set(Job.objects.values_list("state", flat=True)) == {JobState.CANCELLED}

    def test_paused_and_taken_up_again_what_waited_goes_at_once(self, chief: Client) -> None:
        webhook, _ = make_webhook("https://a.example/", is_active=False)
        Webhook.objects.update(is_active=True)
        happen(1)
        Webhook.objects.update(is_active=False)
        jobs.run_due()
        assert jobs.claim() is None
        post(chief, "integrations_webhook_change", form("https://a.example/"), webhook.pk)
        assert jobs.claim() is not None

    def test_administrators_see_their_own_site_and_others_nothing(self) -> None:
        other = make_site()
        webhook, _ = make_webhook("https://a.example/")
        happen(1)
        elsewhere = signed_in(administrator("elsewhere", other))
        for name in ("webhook", "webhookdelivery", "webhooknetwork"):
            page = elsewhere.get(reverse(f"admin:integrations_{name}_changelist"))
            assert page.status_code == 200 and not list(page.context["cl"].result_list)
        for action in ("test_this", "resume_this"):
            address = reverse(f"admin:integrations_webhook_{action}", args=[webhook.pk])
            assert elsewhere.get(address).status_code in {302, 404}
        assert Webhook.objects.get().old_secret_until is None
        clerk = signed_in(make_user("clerk", role=Role.DESK, is_staff=True))
        assert clerk.get(reverse("admin:integrations_webhook_changelist")).status_code == 403

    def test_lists_ask_the_database_little_however_many_rows(
        self, chief: Client, django_assert_max_num_queries: Any
    ) -> None:
        for number in range(20):
            make_webhook("https://a.example/", name=f"hook {number}")
        happen(3)
        for name in ("webhook", "webhookdelivery"):
            with django_assert_max_num_queries(12):
                chief.get(reverse(f"admin:integrations_{name}_changelist"))


def test_the_configuration_file_moves_webhooks_without_their_secrets() -> None:
    allow("10.1.0.0/16")
    token, _ = make_token("simrs", scopes=["webhooks.write", "studies.read"])
    webhook, secret = make_webhook("https://a.example/", who=token, events=["study.complete"])
    services.end(webhook=make_webhook("https://b.example/", name="gone")[0])
    text = configuration.export(who=None)
    assert secret not in text and webhook.secret_encrypted not in text and "b.example" not in text
    assert configuration.plan(text=text) == []
    WebhookNetwork.objects.all().delete()
    Webhook.objects.all().delete()
    assert [each.name for each in configuration.apply(who=None, text=text)] == ["10.1.0.0/16", "simrs"]
    made = Webhook.objects.get()
    assert (made.client, made.is_active) == (token.client, False), "it has no secret yet"
    configuration.apply(who=None, text=text)
    made.refresh_from_db()
    happen(1)
    assert made.is_active and not made.is_at_work and not WebhookDelivery.objects.exists(), "nothing goes out unsigned"
    with pytest.raises(RadiologyError, match="no secret"):
        send_test(made)


class TestApi:
    def subscribe(self, program: ApiProgram, **body: Any) -> Any:
        sent = {"url": "https://simrs.example.org/hook", "events": ["study.complete"], **body}
        return program.post("webhooks", json.dumps(sent), "application/json")

    def test_a_program_subscribes_is_told_and_ends_it(self) -> None:
        allow()
        program = ApiProgram()
        with receiving() as receiver:
            response = self.subscribe(program, url=receiver.url)
            made = response.json()
            assert response.status_code == 201 and response["Location"] == made["links"]["self"]
            assert "secret" not in program.get(made["links"]["self"]).json()
            assert [each["public_id"] for each in program.get("webhooks").json()["data"]] == [made["public_id"]]
            path = made["links"]["test"].partition("/api/v1/")[2]
            assert program.post(path).json()["taken"] is True
            happen(1)
            jobs.run_due()
            assert Verifier(made["secret"]).verify(receiver.got[1].body, receiver.got[1].headers)["data"] == {"n": 0}
            (told,) = program.get(made["links"]["deliveries"]).json()["data"]
            assert (told["state"], told["status"], told["attempts"]) == ("done", 204, 1)
            assert told["public_id"] == receiver.got[1].headers["webhook-id"]
            path = made["links"]["secret"].partition("/api/v1/")[2]
            assert program.post(path).json()["secret"] != made["secret"]
            assert program.delete(f"webhooks/{made['public_id']}").status_code == 204
            assert program.get("webhooks").json()["data"] == []
            problem(program.get(f"webhooks/{made['public_id']}"), 404, "webhook")
        assert WebhookDelivery.objects.get().webhook.base_url == "http://testserver"

    def test_a_test_that_fails_says_why(self, free_port: Any) -> None:
        program = ApiProgram()
        made = self.subscribe(program, url=f"https://127.0.0.1:{free_port()}/").json()
        told = program.post(f"webhooks/{made['public_id']}/test").json()
        assert told["taken"] is False and "an administrator must allow" in told["answer"]

    def test_tests_are_few_a_minute(self) -> None:
        program = ApiProgram()
        made = self.subscribe(program, url="https://127.0.0.1:9/").json()
        path = f"webhooks/{made['public_id']}/test"
        assert [program.post(path).status_code for _ in range(6)] == [200] * 6
        refused = program.post(path)
        assert problem(refused, 429) and int(refused["Retry-After"]) <= 10

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"events": []}, "events"),
            ({"events": ["report.read"]}, "events"),
            ({"events": "study.complete"}, "events"),
            ({"url": "file:///etc/passwd"}, "url"),
            ({"url": 7}, "url"),
            ({"name": "x" * 101}, "name"),
            ({"secret": "mine"}, ""),
        ],
    )
    def test_what_is_malformed_is_named(self, body: dict[str, Any], field: str) -> None:
        problem(self.subscribe(ApiProgram(), **body), 400, field)

    def test_only_what_the_token_may_read(self) -> None:
        problem(self.subscribe(ApiProgram(scopes=["studies.read"])), 403)
        orders = ApiProgram(scopes=["webhooks.write", "orders.write"], name="orders")
        problem(self.subscribe(orders), 403)
        assert self.subscribe(orders, events=["order.placed"]).status_code == 201

    def test_another_programs_webhooks_are_not_there(self) -> None:
        made = self.subscribe(ApiProgram()).json()
        other = ApiProgram(name="other")
        assert other.get("webhooks").json()["data"] == []
        for method, path in (
            ("get", ""),
            ("delete", ""),
            ("post", "/test"),
            ("post", "/secret"),
            ("get", "/deliveries"),
        ):
            problem(getattr(other, method)(f"webhooks/{made['public_id']}{path}"), 404, "webhook")

    def test_twenty_are_enough_and_a_name_is_taken_once(self) -> None:
        program = ApiProgram()
        assert self.subscribe(program, name="mine").status_code == 201
        problem(self.subscribe(program, name="mine"), 409, "name")
        for _ in range(19):
            self.subscribe(program)
        problem(self.subscribe(program), 409)

    def test_lists_cost_the_same_however_long(self, django_assert_max_num_queries: Any) -> None:
        program = ApiProgram()
        made = self.subscribe(program).json()
        for _ in range(5):
            self.subscribe(program)
        happen(20)
        with django_assert_max_num_queries(8):
            assert len(program.get("webhooks").json()["data"]) == 6
        with django_assert_max_num_queries(8):
            answer = program.get(made["links"]["deliveries"], limit="15").json()
        assert len(answer["data"]) == 15 and len(program.get(answer["next"]).json()["data"]) == 5
