"""The home page of who works at the devices: it leads with today's board."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from radiology.models import Role
from tests.factories import let_it_be_noon, make_device, make_site, make_step, make_user
from worklist.models import StepStatus
from worklist.services.steps import move_step

pytestmark = pytest.mark.django_db
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def _noon() -> None:
    let_it_be_noon()


@pytest.fixture
def signed_in(client: Client) -> Client:
    client.force_login(make_user("rina", role=Role.RADIOGRAPHER), backend=MODEL_BACKEND)
    return client


def counts(client: Client) -> dict[str, int]:
    return {name: count for name, _label, count in client.get("/").context["today"].groups}


def test_it_leads_with_todays_counts_each_of_which_opens_the_board_at_it(signed_in: Client) -> None:
    now = timezone.now()
    make_step(scheduled_start=now + timedelta(hours=1))
    make_step(scheduled_start=now - timedelta(hours=1))  # nobody came yet
    for to in (StepStatus.ARRIVED, StepStatus.STARTED, StepStatus.COMPLETED, StepStatus.NO_SHOW, StepStatus.CANCELLED):
        move_step(step=make_step(scheduled_start=now), to=to)
    make_step(scheduled_start=now + timedelta(days=1))
    make_step(device=make_device("CT9", room=None), scheduled_start=now + timedelta(days=2))
    assert counts(signed_in) == {"scheduled": 2, "arrived": 1, "started": 1, "done": 1, "problem": 1}
    page = signed_in.get("/").content.decode()
    assert page.index('id="today"') < page.index('id="q"') < page.index('id="recent"')
    assert "1 late" in page
    assert 'href="/worklist?view=board"' in page
    link = "/worklist?view=board&by=status&status=arrived"
    assert link.replace("&", "&amp;") in page
    board = signed_in.get(link)
    assert [card.group for card in board.context["board"].cards] == ["arrived"]


def test_the_counts_are_those_of_the_board_and_of_ones_own_site(signed_in: Client) -> None:
    make_step(scheduled_start=None)
    move_step(step=make_step(scheduled_start=timezone.now() - timedelta(days=1)), to=StepStatus.STARTED)
    there = make_step(scheduled_start=timezone.now())
    there.site = make_site()
    there.save()
    board = signed_in.get("/worklist?view=board").context["board"]
    assert counts(signed_in) == board.counts == {"scheduled": 1, "arrived": 0, "started": 1, "done": 0, "problem": 0}


@pytest.mark.parametrize("role", [Role.DOCTOR, Role.RADIOLOGIST])
def test_who_moves_no_examinations_has_no_board_there(client: Client, role: Role) -> None:
    client.force_login(make_user("dewi", role=role), backend=MODEL_BACKEND)
    answer = client.get("/")
    assert answer.status_code == 200 and 'id="today"' not in answer.content.decode()
    assert client.get("/worklist/today").status_code == 204


def test_it_follows_by_itself_and_is_silent_while_nothing_happens(signed_in: Client) -> None:
    step = make_step(scheduled_start=timezone.now())
    part = signed_in.get("/worklist/today", headers=HTMX)
    assert f'data-live="{escape(part["ETag"])}"' in part.content.decode()
    assert part.status_code == 200 and "<html" not in part.content.decode()
    same = signed_in.get("/worklist/today", headers={**HTMX, "If-None-Match": part["ETag"]})
    assert same.status_code == 304
    move_step(step=step, to=StepStatus.ARRIVED)
    other = signed_in.get("/worklist/today", headers={**HTMX, "If-None-Match": part["ETag"]})
    assert other.status_code == 200


@pytest.mark.parametrize("examinations", [1, 30])
def test_it_costs_one_query_however_many_examinations_there_are(signed_in: Client, examinations: int) -> None:
    for _number in range(examinations):
        make_step(scheduled_start=timezone.now())
    signed_in.get("/")
    with CaptureQueriesContext(connection) as queries:
        assert signed_in.get("/").status_code == 200
    of_steps = [query["sql"] for query in queries if "worklist_scheduledprocedurestep" in query["sql"]]
    assert len(of_steps) == 1, of_steps
