"""The schedule by REST: rooms, devices, free times, steps found, put on the calendar and moved."""

import json
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from radiology.models import OrderStatus, Site
from tests.factories import (
    make_device,
    make_order,
    make_patient,
    make_procedure,
    make_requested_procedure,
    make_room,
    make_site,
    make_step,
)
from tests.pacs.api_client import ApiProgram, problem
from tests.radiology.test_api_description import require_as_described
from worklist.models import OpeningHours, ScheduledProcedureStep, StepStatus

pytestmark = pytest.mark.django_db
STEP = "/scheduled-procedure-steps/{step}"
JAKARTA = ZoneInfo("Asia/Jakarta")
DAY = timezone.now().astimezone(JAKARTA).date() + timedelta(days=3)


def at(clock: str) -> datetime:
    return datetime.combine(DAY, time.fromisoformat(clock), JAKARTA)


@pytest.fixture
def simrs(db: None) -> ApiProgram:
    return ApiProgram(scopes=["studies.read", "schedule.write", "steps.write"])


def tag(step: ScheduledProcedureStep) -> dict[str, str]:
    step.refresh_from_db()
    return {"If_Match": f'"{step.version}"'}


def address(step: ScheduledProcedureStep, *more: str) -> str:
    return "/".join(["scheduled-procedure-steps", str(step.public_id), *more])


def post(program: ApiProgram, path: str, given: Any = None, **headers: str) -> Any:
    return program.post(path, json.dumps(given or {}), "application/json", **headers)


def test_rooms_devices_and_free_times(simrs: ApiProgram, django_assert_max_num_queries: Any) -> None:
    device = make_device("CT1", room=make_room("CT1"))
    make_device("MR1", modality="MR"), make_device("CT9", room=make_room(site=make_site()))
    OpeningHours.objects.create(room=device.room, weekday=DAY.weekday(), opens=time(8), closes=time(9))
    make_procedure("CTTHX", duration=30)
    rooms = simrs.get("rooms", modality="CT").json()["data"]
    assert [(each["code"], each["modalities"]) for each in rooms] == [("CT1", ["CT"])]
    assert rooms[0]["opening_hours"] == [{"weekday": DAY.weekday(), "opens": "08:00", "closes": "09:00"}]
    assert len(simrs.get("rooms").json()["data"]) == 2
    devices = simrs.get("devices", room="CT1").json()["data"]
    assert [(each["station_ae_title"], each["room"]) for each in devices] == [("CT1", "CT1")]
    with django_assert_max_num_queries(12):
        found = simrs.get("slots", procedure="CTTHX", start=at("08:10").isoformat(), days="1").json()["data"]
    assert [(each["room"], datetime.fromisoformat(each["start"])) for each in found] == [
        ("CT1", at("08:15")),
        ("CT1", at("08:30")),
    ]
    problem(simrs.get("slots"), 400, "procedure")
    problem(simrs.get("slots", procedure="NONE"), 404, "procedure")
    problem(simrs.get("slots", modality="CT", room="NONE"), 404, "room")
    problem(simrs.get("slots", modality="CT", start="2026-03-02"), 400, "start")
    problem(simrs.get("slots", modality="CT", duration="9999"), 400, "duration")


def test_steps_are_found_by_all_that_they_are_asked_for(simrs: ApiProgram, django_assert_max_num_queries: Any) -> None:
    device = make_device("CT1", room=make_room("CT1"))
    order = make_order(make_patient("001234"), accession_number="A1")
    mine = make_step(make_requested_procedure(order), device=device, scheduled_start=at("09:00"))
    other = make_step(modality="MR", scheduled_start=at("10:00") + timedelta(days=2))
    waits = make_step(scheduled_start=None)
    make_step(make_requested_procedure(make_order(make_patient(site=make_site()))))
    old = timezone.now() - timedelta(days=1)
    ScheduledProcedureStep.objects.exclude(pk=other.pk).update(updated_at=old)

    def found(**asked: str) -> list[str]:
        response = simrs.get("scheduled-procedure-steps", **asked)
        assert response.status_code == 200, response.content
        return [each["public_id"] for each in response.json()["data"]]

    everything = [str(each.public_id) for each in (mine, other, waits)]
    assert found() == everything
    for asked in (
        {"date": f"{DAY:%Y%m%d}"},
        {"date": f"{DAY - timedelta(days=1):%Y%m%d}-{DAY + timedelta(days=1):%Y%m%d}"},
        {"room": "CT1"},
        {"station_ae_title": "CT1"},
        {"accession_number": "A1"},
        {"patient_id": "001234", "modality": "CT", "status": "SCHEDULED"},
    ):
        assert found(**asked) == everything[:1], asked
    assert found(updated_since=(old + timedelta(hours=1)).isoformat()) == everything[1:2]
    assert found(status="ARRIVED") == []
    for asked in ({"date": "yesterday"}, {"status": "HERE"}, {"updated_since": "1"}, {"colour": "red"}):
        problem(simrs.get("scheduled-procedure-steps", **asked), 400, next(iter(asked)))
    pages, next_ = [], "/api/v1/scheduled-procedure-steps?limit=1"
    while next_:
        page = simrs.get(next_).json()
        pages += [each["public_id"] for each in page["data"]]
        next_ = page.get("next", "")
    assert pages == everything
    with django_assert_max_num_queries(8):
        found()
    entry = simrs.get(address(mine)).json()
    assert (entry["accession_number"], entry["patient"]["patient_id"], entry["room"]) == ("A1", "001234", "CT1")


def test_a_step_is_put_on_the_calendar_and_taken_off(simrs: ApiProgram) -> None:
    make_device("CT1", room=make_room("CT1")), make_device("CT2", room=make_room("CT2"))
    step = make_step(scheduled_start=None)
    body = {"start": at("09:00").isoformat(), "room": "CT1", "duration": 30, "reason": "patient asked"}
    problem(simrs.patch(address(step), body), 428, "If-Match")
    placed = simrs.patch(address(step), body, **tag(step))
    require_as_described(placed, STEP, "patch")
    entry = placed.json()
    assert (entry["room"], entry["device"], entry["scheduled_station_ae_titles"]) == ("CT1", None, ["CT1"])
    assert datetime.fromisoformat(entry["scheduled_end"]) == at("09:30")
    assert placed["ETag"].startswith('"2-')
    assert simrs.patch(address(step), body, If_Match='"1"').status_code == 200, "the same again is harmless"
    stale = simrs.patch(address(step), {"room": "CT2"}, If_Match='"1"')
    require_as_described(stale, STEP, "patch")
    problem(stale, 412)
    moved = simrs.patch(address(step), {"room": "CT2", "device": "CT2"}, If_Match=placed["ETag"]).json()
    assert (moved["room"], moved["device"], moved["scheduled_start"]) == ("CT2", "CT2", entry["scheduled_start"])
    back = simrs.patch(address(step), {"device": "CT1"}, **tag(step)).json()
    assert (back["room"], back["device"]) == ("CT1", "CT1"), "a device stands in its room"
    off = simrs.patch(address(step), {"room": None, "start": None}, **tag(step)).json()
    assert (off["room"], off["scheduled_start"]) == (None, None)


def test_what_cannot_be_is_refused_with_what_is_there(simrs: ApiProgram) -> None:
    device = make_device("CT1", room=make_room("CT1"))
    there = make_step(device=device, scheduled_start=at("09:00"))
    step = make_step(scheduled_start=None)
    taken = simrs.patch(address(step), {"start": at("09:05").isoformat(), "room": "CT1"}, **tag(step))
    require_as_described(taken, STEP, "patch")
    assert problem(taken, 409, "start")["existing"]["public_id"] == str(there.public_id)
    for body, field in [
        ({"start": "2020-01-01T09:00:00+07:00", "room": "CT1"}, "start"),
        ({"start": "tomorrow", "room": "CT1"}, "start"),
        ({"start": 5, "room": "CT1"}, "start"),
        ({"start": at("09:00").isoformat()}, "room"),
        ({"room": "CT1"}, "start"),
        ({"start": at("09:00").isoformat(), "room": "NONE"}, "room"),
        ({"start": at("09:00").isoformat(), "room": "CT1", "device": "NONE"}, "device"),
        ({"start": at("09:00").isoformat(), "room": "CT1", "duration": "long"}, "duration"),
        ({"start": at("09:00").isoformat(), "room": "CT1", "anyway": "yes"}, "anyway"),
        ({"colour": "red"}, "colour"),
        ({}, ""),
    ]:
        problem(simrs.patch(address(step), body, **tag(step)), 400, field)
    closed = {"start": at("09:05").isoformat(), "room": "CT1", "anyway": True, "reason": "emergency"}
    OpeningHours.objects.create(room=device.room, weekday=(DAY.weekday() + 3) % 7, opens=time(8), closes=time(9))
    problem(simrs.patch(address(step), closed, **tag(step)), 403)
    step.refresh_from_db()
    assert (step.version, step.room) == (1, None)


def test_steps_are_moved_through_their_states(simrs: ApiProgram) -> None:
    step = make_step(device=make_device())
    happened = timezone.now().replace(microsecond=0) - timedelta(minutes=3)
    arrived = post(simrs, address(step, "arrive"), {"at": happened.isoformat()})
    require_as_described(arrived, f"{STEP}/arrive", "post")
    assert datetime.fromisoformat(arrived.json()["arrived_at"]) == happened
    assert post(simrs, address(step, "arrive")).json()["version"] == 2
    assert post(simrs, address(step, "start"), If_Match='"2"').json()["status"] == "STARTED"
    refused = post(simrs, address(step, "no-show"))
    require_as_described(refused, f"{STEP}/no-show", "post")
    problem(refused, 409, "status")
    problem(post(simrs, address(step, "complete"), **{"If-Match": '"2"'}), 412)
    assert post(simrs, address(step, "complete")).json()["ended_at"] is not None
    step.requested_procedure_ref.order_ref.refresh_from_db()
    assert step.requested_procedure_ref.order_ref.status == OrderStatus.COMPLETED
    other = make_step()
    assert post(simrs, address(other, "no-show")).json()["status"] == StepStatus.NO_SHOW
    assert post(simrs, address(make_step(), "cancel"), {"reason": "twice"}).json()["status_reason"] == "twice"
    assert post(simrs, address(make_step(), "discontinue")).json()["status"] == StepStatus.DISCONTINUED
    problem(post(simrs, address(make_step(), "arrive"), {"at": "now"}), 400, "at")
    problem(post(simrs, address(make_step(), "arrive"), {"when": "now"}), 400, "when")


def test_each_change_needs_its_scope_and_ones_own_site(site: Site) -> None:
    step = make_step(device=make_device())
    reads = ApiProgram(name="reads", scopes=["studies.read"])
    schedules = ApiProgram(name="schedules", scopes=["studies.read", "schedule.write"])
    performs = ApiProgram(name="performs", scopes=["studies.read", "steps.write"])
    blind = ApiProgram(name="blind", scopes=["schedule.write", "steps.write"])
    elsewhere = ApiProgram(name="elsewhere", scopes=["studies.read", "schedule.write", "steps.write"], site=make_site())
    for program, patch, move in ((reads, 403, 403), (schedules, 200, 403), (performs, 403, 200), (blind, 403, 403)):
        assert program.patch(address(step), {"duration": 40}, **tag(step)).status_code == patch
        assert post(program, address(step, "arrive")).status_code == move
    for response in (
        elsewhere.get(address(step)),
        elsewhere.patch(address(step), {"duration": 50}, **tag(step)),
        post(elsewhere, address(step, "start")),
    ):
        problem(response, 404, "step")
    assert elsewhere.get("rooms").json()["data"] == elsewhere.get("devices").json()["data"] == []


@pytest.fixture
def site(db: None) -> Site:
    return Site.objects.default()
