"""Webhooks are told of critical results: raised, told further, acknowledged, withdrawn; never what was found."""

import json
from typing import Any

import pytest
from django.db import transaction

from integrations.models import WebhookDelivery
from radiology.models import User
from radiology.services.critical_results import acknowledge, withdraw
from tests.integrations.webhook_receiver import make_webhook
from tests.radiology.critical import READ, examination, let_the_time_run_out, people, raised

pytestmark = pytest.mark.django_db


def told() -> list[Any]:
    return [json.loads(each.body) for each in WebhookDelivery.objects.order_by("pk")]


def test_each_change_is_told_in_its_transaction(db: None) -> None:
    radiologist, doctor = people()
    make_webhook("https://simrs.example/hook", events=["report.critical"])
    result = raised(examination(doctor, accession_number="A-77"), radiologist, "Pneumotoraks")
    let_the_time_run_out()
    acknowledge(result=result, how=READ, who=doctor)
    other = raised(examination(doctor), radiologist, "Emboli")
    withdraw(result=other, reason="Artefak", who=radiologist)
    assert [each["data"]["change"] for each in told()] == [
        "raised", "escalated", "acknowledged", "raised", "withdrawn",
    ]  # fmt: skip
    last = told()[2]
    assert last["type"] == "report.critical" and last["data"]["accession_number"] == "A-77"
    assert (last["data"]["state"], last["data"]["acknowledged_how"]) == ("acknowledged", "read")
    assert last["data"]["links"]["critical_result"].endswith(f"/critical/{result.public_id}")
    everything = json.dumps(told())
    for secret in ("Pneumotoraks", "Sari", "Hidayat", "Artefak"):
        assert secret not in everything


def test_what_is_rolled_back_is_told_nobody(db: None) -> None:
    radiologist, _doctor = people()
    make_webhook("https://simrs.example/hook", events=["report.critical"])
    with transaction.atomic():
        raised(examination(), radiologist)
        transaction.set_rollback(True)
    assert told() == [] and User.objects.filter(pk=radiologist.pk).exists()
