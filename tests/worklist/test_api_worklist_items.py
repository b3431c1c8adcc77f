"""`GET /api/v1/worklist-items`: what a device sees, for programs."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.factories import (
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_site,
    make_step,
)
from tests.pacs.api_client import ApiProgram, problem

pytestmark = pytest.mark.django_db


def test_items_are_those_of_the_device_or_of_the_site_as_plain_members(django_assert_max_num_queries: Any) -> None:
    now = timezone.now()
    one, two = make_device("CT1"), make_device("MR1", modality="MR")
    patient = make_patient("RM-1", "WIBOWO^BUDI", identifiers=[("NIK", "3171")])
    for number, device in enumerate((one, two, one)):
        procedure = make_requested_procedure(make_order(patient), modality=device.modality)
        make_step(procedure, device=device, scheduled_start=now + timedelta(hours=number))
    foreign = make_device("CT9", room=make_room(site=make_site("other")))
    program = ApiProgram(scopes=["studies.read"])
    with django_assert_max_num_queries(9):
        answer = program.get("worklist-items", device=str(one.public_id)).json()
    first, second = answer["data"]
    assert (first["patient_name"], first["patient_id"]) == ("WIBOWO^BUDI", "RM-1")
    assert first["other_patient_ids_sequence"] == [
        {"patient_id": "3171", "issuer_of_patient_id": "", "type_of_patient_id": "TEXT"}
    ]
    (step,) = second["scheduled_procedure_step_sequence"]
    assert step["scheduled_station_ae_title"] == ["CT1"] and step["modality"] == "CT"
    assert len(program.get("worklist-items").json()["data"]) == 3
    assert len(program.get("worklist-items", modality="M?", patient_name="wib*").json()["data"]) == 1
    problem(program.get("worklist-items", device=str(foreign.public_id)), 400, "device")
    problem(
        program.get("worklist-items", scheduled_procedure_step_start_date="x"), 400, "ScheduledProcedureStepStartDate"
    )
    problem(ApiProgram(scopes=["studies.write"], name="writes").get("worklist-items"), 403)


def test_pages_follow_one_another() -> None:
    procedure = make_requested_procedure()
    for number in range(5):
        make_step(procedure, scheduled_start=timezone.now() + timedelta(minutes=number // 2))
    program = ApiProgram(scopes=["studies.read"])
    found: list[str] = []
    answer = program.get("worklist-items", limit="2").json()
    for _ in range(5):
        found += [item["public_id"] for item in answer["data"]]
        if "next" not in answer:
            break
        answer = program.get(answer["next"]).json()
    assert len(found) == len(set(found)) == 5
