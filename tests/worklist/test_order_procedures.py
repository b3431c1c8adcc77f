"""What is added to an order, or called off from it, by a program is so for the devices that ask."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from radiology.models import Order
from tests.factories import default_site, make_device, make_patient, make_procedure
from tests.pacs.api_client import ApiProgram
from tests.radiology.test_api_orders import post, wanted
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.modality_worklist import WorklistSearch
from worklist.services.worklist_rules import Station

pytestmark = pytest.mark.django_db


@pytest.fixture
def start() -> datetime:
    return timezone.now().replace(microsecond=0) + timedelta(hours=1)


@pytest.fixture
def simrs(start: datetime) -> ApiProgram:
    make_procedure("DXTHXPA", "Foto Thorax PA", modality="DX")
    make_procedure("USABD", "USG Abdomen", modality="US")
    make_device("US1", modality="US")
    make_patient("001234")
    return ApiProgram(scopes=("studies.read", "orders.write"))


def told() -> list[str]:
    """What a device that calls under a title of its own is told to do."""
    search = WorklistSearch(station=Station(default_site(), "XX"), keys={}, now=timezone.now())
    steps = search.rows(ScheduledProcedureStep.objects.all())
    return sorted(step.scheduled_procedure_step_description for step in steps)


def test_devices_are_told_of_an_added_procedure_and_no_more_of_one_called_off(
    simrs: ApiProgram, start: datetime
) -> None:
    made = post(simrs, wanted(requested_start=start.isoformat())).json()
    assert told() == ["Foto Thorax PA"]
    path = f"orders/{made['public_id']}/procedures"
    added: Any = post(simrs, {"procedures": [{"code": "USABD"}]}, path, Idempotency_Key="k-1")
    post(simrs, {"procedures": [{"code": "USABD"}]}, path, Idempotency_Key="k-1")
    assert told() == ["Foto Thorax PA", "USG Abdomen"]
    abdomen = ScheduledProcedureStep.objects.get(modality="US")
    assert abdomen.scheduled_station_ae_titles == ["US1"] and abdomen.scheduled_start == start
    chest = added.json()["procedures"][0]["public_id"]
    assert post(simrs, {"reason": "sudah di luar"}, f"{path}/{chest}/cancel").status_code == 200
    assert told() == ["USG Abdomen"]
    step = ScheduledProcedureStep.objects.get(modality="DX")
    assert (step.status, step.status_reason) == (StepStatus.CANCELLED, "sudah di luar")
    assert Order.objects.get().status_reason == ""
    post(simrs, {}, f"{path}/{chest}/reinstate")
    assert told() == ["Foto Thorax PA", "USG Abdomen"]
    post(simrs, {"reason": "sudah di luar"}, f"{path}/{chest}/cancel")
    last = added.json()["procedures"][1]["public_id"]
    assert post(simrs, {"reason": "pulang"}, f"{path}/{last}/cancel").json()["status"] == "revoked"
    assert told() == []
