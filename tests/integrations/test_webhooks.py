"""Events reach the programs that want them: signed, in order, again and again until they are taken."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from integrations.models import Webhook, WebhookDelivery
from integrations.webhooks import circuit, deliver, events, sending, services
from pacs.models import Study, Volume
from pacs.signals import studies_stored
from radiology.errors import Conflict
from radiology.models import Job, JobState, OrderStatus, Site
from radiology.services import jobs
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.order_states import move_order
from radiology.services.orders import place_order
from tests.factories import make_order, make_patient, make_procedure, make_site, make_step, make_study, make_token
from tests.integrations.webhook_receiver import Receiver, allow, make_webhook, receiving, silent
from tests.many_rows import multiply
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10
from worklist.models import CompletedBy, StepStatus, StudyCompletion
from worklist.services.completion import settle_completion
from worklist.services.steps import move_step

pytestmark = pytest.mark.django_db


@pytest.fixture
def site(settings: Any, tmp_path: Path) -> Site:
    """The default site, with an archive of its own."""
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    return Site.objects.default()


def happen(number: int = 1, *, subject: str = "", site: Site | None = None) -> None:
    """So many events about one subject, or each about its own."""
    where = (site or Site.objects.default()).pk
    about = [events.Happening(where, subject or f"s{n}", {"n": n}) for n in range(number)]
    for each in about:
        events.tell(event="study.received", site_id=where, about=lambda each=each: [each])  # type: ignore[misc]


def told(receiver: Receiver) -> list[Any]:
    return [json.loads(each.body)["data"]["n"] for each in receiver.got]


def let_time_pass(seconds: float = 0) -> None:
    """What waits is due; with `seconds`, only what would be due by then, and rests end likewise."""
    by = timezone.now() + (timedelta(seconds=seconds) if seconds else timedelta(days=9))
    Job.objects.filter(state=JobState.PENDING, next_attempt_at__lte=by).update(next_attempt_at=timezone.now())
    Webhook.objects.filter(down_until__lte=by).update(down_until=timezone.now())


def states() -> list[str]:
    return list(Job.objects.filter(kind=events.KIND).order_by("pk").values_list("state", flat=True))


class TestSignature:
    def test_an_independent_receiver_verifies_it(self) -> None:
        allow()
        with receiving() as receiver:
            _, secret = make_webhook(receiver.url)
            happen()
            assert jobs.run_due() == 1
            (got,) = receiver.got
        assert got.path == "/hook?from=sinar"
        body = Verifier(secret).verify(got.body, got.headers)
        assert body["type"] == "study.received" and body["data"] == {"n": 0}
        delivery = WebhookDelivery.objects.get()
        assert got.headers["webhook-id"] == str(delivery.public_id)
        assert (delivery.status_code, delivery.attempts) == (204, 1) and delivery.delivered_at
        assert states() == [JobState.DONE]
        with pytest.raises(WebhookVerificationError):
            Verifier(secret).verify(got.body.replace(b"0", b"1"), got.headers)

    def test_for_a_day_after_a_change_both_secrets_sign(self) -> None:
        allow()
        with receiving() as receiver:
            webhook, old = make_webhook(receiver.url)
            new = services.rotate_secret(webhook=webhook)
            happen()
            jobs.run_due()
            (got,) = receiver.got
            assert Verifier(old).verify(got.body, got.headers) == Verifier(new).verify(got.body, got.headers)
            Webhook.objects.update(old_secret_until=timezone.now())
            happen()
            jobs.run_due()
        Verifier(new).verify(receiver.got[1].body, receiver.got[1].headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(old).verify(receiver.got[1].body, receiver.got[1].headers)

    def test_no_secret_stands_in_the_database(self) -> None:
        _, secret = make_webhook("https://simrs.example.org/")
        with connection.cursor() as cursor:
            cursor.execute("SELECT row_to_json(w)::text FROM integrations_webhook w")
            assert secret.removeprefix("whsec_") not in cursor.fetchone()[0]


class TestAgain:
    def test_what_is_not_taken_comes_again_under_the_same_id(self) -> None:
        allow()
        with receiving(500, 404, 200, body=b"no\x00 <b>") as receiver:
            make_webhook(receiver.url)
            happen()
            jobs.run_due()
            delivery = WebhookDelivery.objects.get()
            assert (delivery.status_code, delivery.response_excerpt) == (500, "no <b>")
            assert states() == [JobState.PENDING] and delivery.job.next_attempt_at > timezone.now()
            assert jobs.run_due() == 0, "it waits"
            for _ in range(2):
                let_time_pass()
                jobs.run_due()
        assert len({got.headers["webhook-id"] for got in receiver.got}) == 1 and len(receiver.got) == 3
        assert len({got.body for got in receiver.got}) == 1
        delivery.refresh_from_db()
        assert delivery.attempts == 3 and delivery.delivered_at and states() == [JobState.DONE]

    def test_a_receiver_dead_for_a_day_loses_nothing_and_no_order(self, free_port: Any) -> None:
        allow()
        webhook, _ = make_webhook(f"http://127.0.0.1:{free_port()}/")
        for name in [f"{subject}{n}" for n in range(4) for subject in "abc"]:
            about = [events.Happening(webhook.site_id, name[0], {"n": name})]
            events.tell(event="study.received", about=lambda about=about: about)  # type: ignore[misc]
        for _ in range(30):
            jobs.run_due()
            let_time_pass()
        assert set(states()) == {JobState.PENDING}
        webhook.refresh_from_db()
        assert webhook.failures >= 30 and webhook.last_error
        with receiving() as receiver:
            Webhook.objects.update(url=receiver.url)
            jobs.run_due()
        came = told(receiver)
        assert sorted(came) == sorted(f"{s}{n}" for s in "abc" for n in range(4))
        for subject in "abc":
            assert [each for each in came if each[0] == subject] == [f"{subject}{n}" for n in range(4)]
        webhook.refresh_from_db()
        assert (webhook.failures, webhook.down_until) == (0, None)

    def test_a_later_event_waits_for_the_one_before_it(self) -> None:
        allow()
        with receiving(400, 204) as receiver:
            make_webhook(receiver.url)
            happen(2, subject="one")
            jobs.run_due()
            assert told(receiver) == [0]
            let_time_pass()
            jobs.run_due()
        assert told(receiver) == [0, 0, 1]

    def test_what_is_refused_for_itself_becomes_a_dead_letter_and_holds_up_nobody(self) -> None:
        allow()
        with receiving(*[410] * deliver.MOST_REFUSED, 204) as receiver:
            make_webhook(receiver.url)
            happen(2, subject="one")
            for _ in range(deliver.MOST_REFUSED):
                jobs.run_due()
                let_time_pass()
            jobs.run_due()
        assert states() == [JobState.DEAD, JobState.DONE]
        assert told(receiver) == [0] * deliver.MOST_REFUSED + [1]
        assert "410" in Job.objects.get(state=JobState.DEAD).error

    def test_a_worker_that_died_after_the_answer_does_not_send_twice(self) -> None:
        allow()
        with receiving() as receiver:
            make_webhook(receiver.url)
            happen()
            job = jobs.claim()
            assert job
            deliver.deliver(job)
            Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
            assert jobs.run_due() == 1
        assert len(receiver.got) == 1 and states() == [JobState.DONE]

    def test_a_person_sends_again_what_got_through(self) -> None:
        allow()
        with receiving() as receiver:
            make_webhook(receiver.url)
            happen(3, subject="one")
            jobs.run_due()
            first = [got.headers["webhook-id"] for got in receiver.got]
            assert services.send_again(deliveries=WebhookDelivery.objects.all()) == 3
            assert services.send_again(deliveries=WebhookDelivery.objects.all()) == 0, "they wait already"
            jobs.run_due()
        assert told(receiver) == [0, 1, 2, 0, 1, 2]
        assert [got.headers["webhook-id"] for got in receiver.got][3:] == first


class TestDeadTarget:
    def test_it_takes_one_attempt_and_then_no_time_of_others(self, free_port: Any) -> None:
        allow()
        with receiving() as receiver:
            make_webhook(f"http://127.0.0.1:{free_port()}/", name="dead")
            happen(50)
            make_webhook(receiver.url, name="alive")
            happen(5)
            ran = jobs.run_due()
        assert sorted(told(receiver)) == [0, 1, 2, 3, 4]
        assert ran == 6, "of 55 deliveries to the dead one, one was tried"
        assert Webhook.objects.get(name="dead").failures == 1
        let_time_pass(15)
        assert jobs.run_due() == 1, "after its rest, one tries again"
        assert Webhook.objects.get(name="dead").failures == 2

    def test_after_its_rest_only_one_worker_tries(self) -> None:
        webhook, _ = make_webhook("https://a.example.org/")
        circuit.failed(webhook, error="gone", is_silent=True)
        let_time_pass(15)
        one, other = Webhook.objects.get(), Webhook.objects.get()
        circuit.begin(one)
        with pytest.raises(jobs.Postponed) as postponed:
            circuit.begin(other)
        assert postponed.value.until > timezone.now() + timedelta(seconds=sending.TOTAL_SECONDS)

    def test_while_it_rests_new_events_rest_too(self, free_port: Any) -> None:
        allow()
        make_webhook(f"http://127.0.0.1:{free_port()}/")
        happen()
        jobs.run_due()
        happen(3)
        assert jobs.run_due() == 0
        assert set(Job.objects.values_list("attempts", flat=True)) == {0, 1}

    def test_one_that_says_when_to_come_back_is_left_alone_until_then(self) -> None:
        allow()
        with receiving(429, 204, headers={"Retry-After": "300"}) as receiver:
            make_webhook(receiver.url)
            happen(2)
            jobs.run_due()
            let_time_pass(290)
            jobs.run_due()
            assert told(receiver) == [0]
            let_time_pass(310)
            jobs.run_due()
        assert sorted(told(receiver)) == [0, 0, 1]

    def test_an_event_that_breaks_the_receiver_does_not_stop_the_others(self) -> None:
        allow()
        with receiving(500, 204) as receiver:
            make_webhook(receiver.url)
            happen(4)
            jobs.run_due()
            assert len(receiver.got) == 4
        assert sorted(states()) == [JobState.DONE] * 3 + [JobState.PENDING]

    def test_one_that_fails_does_not_hurry_those_that_failed_before(self) -> None:
        allow()
        with receiving(404, 500) as receiver:
            make_webhook(receiver.url)
            happen(2)
            jobs.run_due()
            assert jobs.run_due() == 0 and len(receiver.got) == 2
        assert not Job.objects.filter(next_attempt_at__lte=timezone.now()).exists()

    def test_silence_and_dripping_end_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sending, "TOTAL_SECONDS", 0.5)
        allow()
        for drip in (b"", b"H", b"HTTP/1.1 200 OK\r\nX: y\r\n"):
            with silent(drip=drip) as port:
                webhook, _ = make_webhook(f"http://127.0.0.1:{port}/", name=f"silent {drip!r}")
                started = timezone.now()
                happen()
                jobs.run_due()
                assert timezone.now() - started < timedelta(seconds=3)
                webhook.refresh_from_db()
                assert webhook.failures == 1, drip
                Webhook.objects.update(is_active=False)
                Job.objects.update(state=JobState.CANCELLED)

    def test_a_paused_webhook_keeps_what_waits(self) -> None:
        allow()
        with receiving() as receiver:
            webhook, _ = make_webhook(receiver.url)
            happen(3)
            Webhook.objects.update(is_active=False)
            jobs.run_due()
            happen()
            assert not receiver.got and states() == [JobState.PENDING] * 3
            Webhook.objects.update(is_active=True)
            services.resume(webhook=webhook)
            jobs.run_due()
            assert sorted(told(receiver)) == [0, 1, 2]

    def test_an_ended_webhook_is_sent_nothing(self) -> None:
        allow()
        with receiving() as receiver:
            webhook, _ = make_webhook(receiver.url)
            happen(2)
            services.end(webhook=webhook)
            happen(2)
            jobs.run_due()
            assert not receiver.got and states() == [JobState.CANCELLED] * 2
            make_webhook(receiver.url)  # its name is free

    def test_putting_off_reads_its_own_jobs_only(self) -> None:
        webhook, _ = make_webhook("https://a.example.org/")
        happen(3)
        multiply(Job.objects.first(), times=5000, ordering_key="'other:' || n", idempotency_key="NULL")
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE radiology_job")
        plan = circuit._waiting(webhook).filter(next_attempt_at__lt=timezone.now()).explain()
        assert "job_ordering" in plan and f">= '{webhook.ordering_prefix}'" in plan, plan

    def test_a_slow_target_waits_its_turn(self) -> None:
        allow()
        webhook, _ = make_webhook("https://slow.example.org/")
        happen(3)
        circuit.succeeded(webhook, took=timedelta(seconds=5))
        assert Job.objects.filter(next_attempt_at__gt=timezone.now() + timedelta(seconds=3)).count() == 3


class TestEvents:
    def data(self) -> list[tuple[str, Any]]:
        rows = WebhookDelivery.objects.order_by("pk")
        return [(row.event, json.loads(row.body)["data"]) for row in rows]

    def test_an_order_from_being_placed_to_its_end(self, site: Site) -> None:
        make_webhook("https://simrs.example.org/")
        patient = make_patient("MRN-9", "RAHASIA^NAMA")
        step = make_step()
        move_step(step=step, to=StepStatus.ARRIVED)
        move_step(step=step, to=StepStatus.STARTED)
        order = step.requested_procedure_ref.order_ref
        move_order(order=order, to=OrderStatus.REVOKED)
        seen = [
            (event, data["status"], data["procedures"][0]["status"],
             data["procedures"][0]["scheduled_procedure_steps"][0]["status"])
            for event, data in self.data()
        ]  # fmt: skip
        assert seen == [
            ("order.status", "active", "requested", "ARRIVED"),
            ("order.status", "active", "in-progress", "STARTED"),
            ("order.status", "revoked", "discontinued", "DISCONTINUED"),
        ]
        assert patient.patient_name not in str(self.data())
        (last,) = self.data()[-1:]
        assert last[1]["links"]["order"] == f"https://pacs.hospital.com/api/v1/orders/{order.public_id}"

    def test_an_order_that_is_refused_tells_nobody(self, site: Site) -> None:
        make_webhook("https://simrs.example.org/")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            happen()
            raise ZeroDivisionError
        with pytest.raises(Conflict):
            move_order(order=make_order(status=OrderStatus.ENTERED_IN_ERROR), to=OrderStatus.ACTIVE)
        assert not WebhookDelivery.objects.exists() and not Job.objects.filter(kind=events.KIND).exists()

    def test_a_study_is_received_once_and_complete_once(self, site: Site) -> None:
        make_webhook("https://simrs.example.org/")
        first = ct(PatientName="RAHASIA^NAMA", AccessionNumber="ACC1")
        store(site, part10(first))
        second = ct(StudyInstanceUID=first.StudyInstanceUID, PatientName="RAHASIA^NAMA", seed=4)
        store(site, part10(second))
        study = Study.objects.get()
        settle_completion(study=study, performed=[], last_at=study.created_at, is_quiet=True)
        assert StudyCompletion.objects.get().how == CompletedBy.QUIET
        assert [(event, data["study_instance_uid"]) for event, data in self.data()] == [
            ("study.received", first.StudyInstanceUID),
            ("study.complete", first.StudyInstanceUID),
        ]
        received = self.data()[0][1]
        assert received["accession_number"] == "ACC1" and received["modalities_in_study"] == ["CT"]
        assert received["links"]["viewer"].endswith(f"/viewer?StudyInstanceUIDs={first.StudyInstanceUID}")
        assert "RAHASIA" not in str(self.data())

    def test_only_the_site_and_only_those_who_want_it(self) -> None:
        other = make_site()
        make_webhook("https://simrs.example.org/", events=["order.placed"])
        token, _ = make_token("idle", scopes=["webhooks.write", "studies.read"])
        make_webhook("https://idle.example.org/", name="idle", who=token)
        token.client.is_active = False
        token.client.save()
        happen()
        happen(site=other)
        assert not WebhookDelivery.objects.exists()

    def test_it_costs_storing_nothing_without_a_webhook_and_little_with_one(self) -> None:
        studies = [make_study().pk for _ in range(20)]

        def cost(**keywords: Any) -> int:
            with CaptureQueriesContext(connection) as queries:
                studies_stored.send(sender=Study, instances=[], **keywords)
            return sum("integrations_" in each["sql"] or "radiology_job" in each["sql"] for each in queries)

        cost(studies=studies, new=studies)
        known, new = cost(studies=studies, new=[]), cost(studies=studies, new=studies)
        make_webhook("https://simrs.example.org/")
        assert cost(studies=studies, new=[]) == known
        assert cost(studies=studies, new=studies) == new + 2, "one look anyway, and one insert each of jobs and events"
        assert WebhookDelivery.objects.count() == 20


def test_an_order_placed_at_any_door_is_told(site: Site) -> None:
    make_webhook("https://simrs.example.org/", events=["order.placed"])
    make_procedure(code="CTX")
    order = place_order(site=site, patient=make_patient(), procedures=[ProcedureRequest(code="CTX")])
    (row,) = WebhookDelivery.objects.all()
    assert (row.event, row.subject) == ("order.placed", str(order.public_id))
    assert json.loads(row.body)["data"]["procedures"][0]["scheduled_procedure_steps"][0]["status"] == "SCHEDULED"
