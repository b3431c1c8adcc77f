"""The radiographers' board: what it shows of a day, in how many queries, and what one click does."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from radiology.models import Priority, Role, User
from tests.factories import (
    let_it_be_noon,
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_site,
    make_step,
    make_study,
    make_user,
)
from worklist.models import BoardPreference, ScheduledProcedureStep, StepStatus
from worklist.services import board as boards
from worklist.services.steps import move_step

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=ZoneInfo("Asia/Jakarta"))


@pytest.fixture
def radiographer() -> User:
    return make_user("rina", role=Role.RADIOGRAPHER)


@pytest.fixture
def signed_in(client: Client, radiographer: User) -> Client:
    client.force_login(radiographer, backend="django.contrib.auth.backends.ModelBackend")
    return client


def today(who: User) -> boards.BoardFilter:
    return boards.BoardFilter(day=boards.day_of(who.site))


def step_at(start: datetime | None, *, priority: str = Priority.ROUTINE, **fields: object) -> ScheduledProcedureStep:
    procedure = make_requested_procedure(make_order(priority=priority))
    return make_step(procedure, scheduled_start=start, **fields)


def test_the_day_is_the_sites_and_ends_at_its_midnight(radiographer: User) -> None:
    shown = [step_at(NOON.replace(hour=0, minute=0)), step_at(NOON.replace(hour=23, minute=59))]
    step_at(NOON.replace(hour=0, minute=0) + timedelta(days=1))
    step_at(NOON.replace(hour=0, minute=0) - timedelta(minutes=1))
    found = boards.board(who=radiographer, wanted=boards.BoardFilter(day=NOON.date()), now=NOON)
    assert [card.step for card in found.cards] == shown


def test_urgent_comes_first_what_is_over_comes_last_and_nobody_late_is_overlooked(radiographer: User) -> None:
    early = step_at(NOON - timedelta(hours=1))
    later = step_at(NOON + timedelta(hours=1))
    urgent = step_at(NOON + timedelta(hours=2), priority=Priority.STAT)
    done = move_step(step=step_at(NOON - timedelta(hours=2), priority=Priority.STAT), to=StepStatus.COMPLETED)
    waiting = move_step(step=step_at(NOON), to=StepStatus.ARRIVED, at=NOON - timedelta(hours=1))
    found = boards.board(who=radiographer, wanted=boards.BoardFilter(day=NOON.date()), now=NOON)
    assert [card.step for card in found.cards] == [urgent, early, waiting, later, done]
    assert [card.is_late for card in found.cards] == [False, True, False, False, False]
    assert [card.waits_long for card in found.cards] == [False, False, True, False, False]
    assert found.counts == {"scheduled": 3, "arrived": 1, "started": 0, "done": 1, "problem": 0}


def test_what_has_no_time_yet_and_what_still_runs_from_yesterday_stay_in_sight(radiographer: User) -> None:
    without = step_at(None)
    running = move_step(step=step_at(timezone.now() - timedelta(days=1)), to=StepStatus.STARTED)
    step_at(timezone.now() - timedelta(days=1))
    found = boards.board(who=radiographer, wanted=today(radiographer))
    assert {card.step for card in found.cards} == {without, running}


def test_another_sites_examinations_are_not_shown(radiographer: User) -> None:
    step_at(timezone.now())
    there = make_user("other", site=make_site(), role=Role.RADIOGRAPHER)
    assert boards.board(who=there, wanted=today(there)).cards == []


def test_five_hundred_examinations_cost_as_many_queries_as_one(
    signed_in: Client, radiographer: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    devices = [make_device(f"CT{number}") for number in range(4)]
    start = boards.bounds(radiographer.site, boards.day_of(radiographer.site))[0]
    patient = make_patient()
    for number in range(500):
        make_step(
            make_requested_procedure(make_order(patient), duration=1),
            device=devices[number % 4],
            scheduled_start=start + timedelta(minutes=number),
        )
    with django_assert_max_num_queries(14):
        answer = signed_in.get(reverse("studies"), {"view": "board"})
    assert answer.content.count(b"data-step=") == 500


def test_a_part_that_asks_again_gets_nothing_until_something_happened(signed_in: Client) -> None:
    step = step_at(timezone.now())
    page = signed_in.get("/worklist?view=board")
    asks = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TRIGGER": "board", "HTTP_IF_NONE_MATCH": page.context["etag"]}
    unchanged = signed_in.get("/worklist?view=board", **asks)
    # Only the turn of a minute may lie between the two.
    assert unchanged.status_code == 304 or unchanged.context["etag"] != page.context["etag"]
    study = make_study(step.requested_procedure_ref.order_ref.patient_ref, series=1, instances=2)
    study.requested_procedure_ref = step.requested_procedure_ref
    study.save()
    changed = signed_in.get("/worklist?view=board", **asks)
    assert changed.status_code == 200
    assert "2 images" in changed.content.decode()


def test_one_click_moves_an_examination_and_the_notice_takes_it_back(signed_in: Client) -> None:
    step = step_at(timezone.now())
    address = reverse("examination-move", args=[step.public_id])
    values = {"to": "ARRIVED", "version": step.version, "next": "/worklist?view=board"}
    answer = signed_in.post(address, values, follow=True)
    step.refresh_from_db()
    assert step.status == StepStatus.ARRIVED
    assert "has arrived" in answer.content.decode()
    undo = f"{address}?to=SCHEDULED&version={step.version}"
    assert undo.replace("&", "&amp;") in answer.content.decode()
    signed_in.post(undo)
    step.refresh_from_db()
    assert (step.status, step.arrived_at) == (StepStatus.SCHEDULED, None)


@pytest.mark.parametrize(
    ("values", "status"), [({"to": "NONSENSE"}, 404), ({"to": "COMPLETED", "version": "99"}, 412), ({}, 404)]
)
def test_moves_that_make_no_sense_are_refused(signed_in: Client, values: dict[str, str], status: int) -> None:
    step = step_at(timezone.now())
    assert signed_in.post(reverse("examination-move", args=[step.public_id]), values).status_code == status
    step.refresh_from_db()
    assert step.status == StepStatus.SCHEDULED


def test_only_who_may_moves_and_only_what_one_may_see(client: Client) -> None:
    step = step_at(timezone.now())
    address = reverse("examination-move", args=[step.public_id])
    client.force_login(make_user("doctor", role=Role.DOCTOR), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(address, {"to": "ARRIVED"}).status_code == 403
    client.force_login(
        make_user("elsewhere", site=make_site(), role=Role.RADIOGRAPHER),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    assert client.post(address, {"to": "ARRIVED"}).status_code == 404
    assert client.get(reverse("examination", args=[step.public_id])).status_code == 404


def test_doctors_get_the_list_of_studies_and_radiographers_both(client: Client, radiographer: User) -> None:
    client.force_login(make_user("doctor", role=Role.DOCTOR), backend="django.contrib.auth.backends.ModelBackend")
    assert "pacs/studies.html" in [each.name for each in client.get("/worklist").templates]
    client.force_login(radiographer, backend="django.contrib.auth.backends.ModelBackend")
    assert "worklist/board.html" in [each.name for each in client.get("/worklist").templates]
    for address in ("/worklist?view=studies", "/worklist?q=", "/worklist?modality=CT"):
        assert "pacs/studies.html" in [each.name for each in client.get(address).templates]


def test_the_board_opens_as_one_left_it_but_never_on_another_day(signed_in: Client, radiographer: User) -> None:
    signed_in.get(
        "/worklist?view=board&by=status&status=arrived&day=2026-01-05",
        HTTP_HX_REQUEST="true",
        HTTP_HX_TRIGGER="board-filter",
    )
    assert BoardPreference.objects.get(user=radiographer).query == "view=board&by=status&status=arrived"
    answer = signed_in.get("/worklist", follow=True)
    assert answer.context["by"] == "status"
    assert answer.context["is_today"]


@pytest.mark.parametrize(
    "query", ["day=2026-99-99", "day=0001-01-01", "room=x", "room=99999999999", "by=%00", "status=x"]
)
def test_nonsense_in_the_address_shows_the_board_of_today(signed_in: Client, query: str) -> None:
    answer = signed_in.get(f"/worklist?view=board&{query}")
    assert answer.status_code == 200
    assert answer.context["is_today"]


def test_the_corridor_screen_names_nobody(signed_in: Client) -> None:
    let_it_be_noon()
    patient = make_patient("RM-778899", "SANTOSO^AGUS")
    step = make_step(
        make_requested_procedure(make_order(patient, accession_number="ACC004711")), device=make_device("CT7")
    )
    move_step(step=step, to=StepStatus.STARTED)
    text = signed_in.get(reverse("corridor")).content.decode()
    assert "4711" in text
    for secret in ("SANTOSO", "AGUS", "778899", "ACC00"):
        assert secret not in text


@pytest.mark.parametrize("by", ["room", "status", "list"])
def test_nothing_that_was_typed_becomes_markup(signed_in: Client, by: str) -> None:
    let_it_be_noon()
    bad = "<b>&\"'"
    order = make_order(
        make_patient(f"M{bad}", f"SANTOSO^{bad}"), accession_number=f"A{bad}", current_patient_location=f"L{bad}"
    )
    procedure = make_requested_procedure(order, requested_procedure_description=f"P{bad}")
    make_step(procedure, device=make_device("CT1", room=make_room("R1", name=f"R{bad}")), modality=f"C{bad}"[:5])
    make_room("R2", name=f"Z{bad}")
    step = make_step(procedure, scheduled_start=None, status_reason=f"W{bad}")
    assert step.scheduled_start is None
    page = signed_in.get(f"/worklist?view=board&by={by}").content.decode()
    assert "<b>" not in page
    shown = page.count("&lt;b&gt;&amp;")
    assert shown >= 9, "the name, number, procedure, place and reason of both cards stand there"
