"""Why is my worklist empty? The pages over what devices ask."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from radiology.models import AuditAction
from radiology.services import audit
from tests.factories import (
    default_site,
    make_device,
    make_node,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_site,
    make_step,
    make_user,
)
from worklist.models import StepStatus, WorklistQuery, WorklistReach
from worklist.services.query_log import record_query
from worklist.services.worklist_rules import station_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def radiographer() -> Client:
    client = Client()
    client.force_login(make_user("rudi", role="radiographer"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def asked(keys: dict[str, Any], *, title: str = "CT1", node: Any = None, **outcome: Any) -> WorklistQuery:
    """A question of a device, written down."""
    node = node or make_node(title)
    record_query(station=station_of(node=node, title=title), node=node, address="10.0.0.7", keys=keys, **outcome)
    return WorklistQuery.objects.latest("id")


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().replace("&#x27;", "'").split())


def test_the_list_shows_what_devices_ask_and_how_much_they_are_told(radiographer: Client) -> None:
    assert "No device has asked for its worklist" in text_of(radiographer.get("/worklist/queries"))
    make_device("CT1", name="Somatom", node=make_node("CT1"))
    node = make_node("CT1", port=11114)
    asked({"00400100": {"00400002": "20261128-20261130", "00080060": "CT"}}, node=node, answered=12)
    asked({"00100010": "SARI*"}, title="MR1")
    asked({"00400100": {"00400003": "noon"}}, title="US1", error="ScheduledProcedureStepStartTime must be a time.")
    page = text_of(radiographer.get("/worklist/queries"))
    for said in ("Somatom", "28 Nov 2026 – 30 Nov 2026", "modality", "not registered as a device", "must be a time"):
        assert said in page, said
    only = text_of(radiographer.get("/worklist/queries?empty=1"))
    assert "MR1" in only and "Somatom" not in only
    assert "No query matches" in text_of(radiographer.get("/worklist/queries?title=XX"))


def test_the_list_is_live_and_costs_the_same_however_long_it_is(
    radiographer: Client, django_assert_max_num_queries: Any
) -> None:
    node = make_node("CT1")
    for number in range(60):
        asked({"00100020": str(number)}, node=node)
    with django_assert_max_num_queries(11):
        page = radiographer.get("/worklist/queries")
    headers = {"HX-Request": "true", "If-None-Match": page.context["etag"]}
    assert radiographer.get("/worklist/queries", headers=headers).status_code == 304
    asked({"00100020": "7"}, node=node)
    again = radiographer.get("/worklist/queries", headers=headers)
    assert again.status_code == 200 and "<html" not in again.content.decode()


def test_only_those_who_look_after_devices_of_that_site_see_them(radiographer: Client) -> None:
    elsewhere = asked({"00100010": "RAHASIA*"}, node=make_node("CT9", site=make_site("other")), title="CT9")
    assert "CT9" not in text_of(radiographer.get("/worklist/queries"))
    assert radiographer.get(f"/worklist/queries/{elsewhere.public_id}").status_code == 404
    doctor = Client()
    doctor.force_login(make_user("doc", role="doctor"), backend="django.contrib.auth.backends.ModelBackend")
    mine = asked({})
    for address in ("", "/try", f"/{mine.public_id}"):
        assert doctor.get(f"/worklist/queries{address}").status_code == 403
        assert Client().get(f"/worklist/queries{address}").status_code == 302


def test_each_examination_that_is_refused_says_by_what(radiographer: Client) -> None:
    now = timezone.now()
    room = make_room("CTROOM", name="CT room")
    device = make_device("CT1", room=room, node=make_node("CT1"), worklist_reach=WorklistReach.STATION)
    other = make_device("CT2", worklist_days_ahead=0)

    def add(name: str, *, order: Any = None, **fields: Any) -> Any:
        procedure = make_requested_procedure(make_order(make_patient(None, f"{name}^X"), **(order or {})))
        return make_step(procedure, scheduled_procedure_step_description=f"CT {name}", **fields)

    add("TOLD", device=device, scheduled_start=now)
    add("ELSEWHERE", device=other, scheduled_start=now)
    add("ENDED", device=device, scheduled_start=now, status=StepStatus.COMPLETED)
    add("WAITING", device=device, scheduled_start=None, room=None)
    add("HELD", device=device, scheduled_start=now + timedelta(hours=1), order={"status": "on-hold"})
    add("MAGNET", device=device, modality="MR", scheduled_start=now + timedelta(hours=2))
    query = asked({"00400100": {"00080060": "CT", "00400001": "CT1"}}, node=device.node)
    page = text_of(radiographer.get(f"/worklist/queries/{query.public_id}"))
    for said in (
        "On its worklist now: 1 examination",
        "This device is shown its own examinations only; this one is for CT2.",
        "Asks for station CT1; this one is scheduled for CT2.",
        "It is no longer open: Completed.",
        "It has no time yet: put it on the calendar.",
        "Its order is not active: On hold.",
        "Asks for modality CT; this one is MR.",
    ):
        assert said in page, said
    assert page.count("CT TOLD") == 1
    # Who is refused by the fewest keys comes first.
    assert page.index("CT MAGNET") < page.index("CT ELSEWHERE")


def test_one_can_look_for_the_patient_one_misses(radiographer: Client) -> None:
    device = make_device("CT1", node=make_node("CT1"), worklist_days_ahead=1)
    order = make_order(make_patient("RM-77", "SUSANTI^RINA"), accession_number="ACC77")
    make_step(make_requested_procedure(order), device=device, scheduled_start=timezone.now() + timedelta(days=40))
    make_step(make_requested_procedure(make_order(make_patient(None, "OTHER^X"))), status=StepStatus.CANCELLED)
    query = asked({"00400100": {"00080060": "CT"}}, node=device.node)
    address = f"/worklist/queries/{query.public_id}"
    assert "SUSANTI" not in text_of(radiographer.get(address))
    for sought in ("rina sus", "RM-77", "ACC77"):
        page = text_of(radiographer.get(address, {"sought": sought}))
        assert "RINA SUSANTI" in page and "This device is shown" in page and "OTHER" not in page, sought
    assert "No examination is planned for that" in text_of(radiographer.get(address, {"sought": "nobody"}))


def test_a_query_that_was_refused_says_which_key(radiographer: Client) -> None:
    query = asked({"00400100": {"00400003": "noon"}}, error="x", error_field="ScheduledProcedureStepStartTime")
    page = text_of(radiographer.get(f"/worklist/queries/{query.public_id}"))
    assert "refused (A900) because of the key “start time”" in page


def test_one_can_ask_as_any_device_of_the_site(radiographer: Client, django_assert_max_num_queries: Any) -> None:
    device = make_device("CT1", name="Somatom")
    start = datetime(2026, 11, 28, 2, 30, tzinfo=UTC)  # 09:30 in Jakarta
    for number in range(30):
        order = make_order(make_patient(None, f"SARI^N{number}"))
        make_step(make_requested_procedure(order), scheduled_start=start + timedelta(minutes=number))
    foreign = make_device("CT9", room=make_room(site=make_site("other")))
    empty = radiographer.get("/worklist/queries/try")
    assert "Somatom (CT1)" in text_of(empty) and str(foreign.public_id) not in text_of(empty)
    keys = {"date_from": "2026-11-28", "date_to": "2026-11-28", "time_from": "09:30", "time_to": "09:39"}
    with django_assert_max_num_queries(14):
        page = radiographer.get("/worklist/queries/try", {**keys, "modality": "CT", "patient_name": "sari*"})
    assert "On its worklist now: 10 examinations" in text_of(page)
    assert "Asks for 28 Nov 2026 09:30 – 09:39; this one starts 28 Nov 2026 09:40." in text_of(page)
    refused = radiographer.get("/worklist/queries/try", {"device": str(foreign.public_id)})
    assert refused.status_code == 400
    wrong = radiographer.get("/worklist/queries/try", {"date_from": "2026-11-29", "date_to": "2026-11-28"})
    assert wrong.status_code == 400 and "whose first date is the earlier" in text_of(wrong)
    as_device = text_of(radiographer.get("/worklist/queries/try", {"device": str(device.public_id)}))
    assert "It is shown: Steps of its modality" in as_device


def test_a_question_of_a_device_fills_the_form(radiographer: Client) -> None:
    device = make_device("CT1", node=make_node("CT1"))
    query = asked(
        {"00400100": {"00400002": "20261128-", "00400003": "0800-1200", "00080060": "CT"}, "00100010": "SARI*"},
        node=device.node,
    )
    link = radiographer.get(f"/worklist/queries/{query.public_id}").context["try_address"]
    form = radiographer.get(link).context["form"]
    assert form.keys() == query.keys and form.cleaned_data["device"] == str(device.public_id)


def test_callers_that_were_refused_are_shown_with_what_to_do(radiographer: Client) -> None:
    for reason in (3, 7):
        audit.record(
            event="dicom.refused",
            action=AuditAction.EXECUTE,
            succeeded=False,
            address="10.0.0.9",
            detail={"calling": f"NEW_CT{reason}", "called": "SINAR_X", "reason": reason},
        )
    page = text_of(radiographer.get("/worklist/queries"))
    assert "NEW_CT3" in page and "is not registered as a DICOM node" in page
    assert "called us “SINAR_X”, which is no AE title of ours" in page


def test_people_of_several_sites_ask_at_the_site_of_the_device() -> None:
    other = make_site("other")
    device = make_device("CT9", room=make_room(site=other))
    make_step(make_requested_procedure(make_order(make_patient("7", "JAUH^DI", site=other))), site=other)
    chief = Client()
    chief.force_login(make_user("chief", is_superuser=True), backend="django.contrib.auth.backends.ModelBackend")
    assert "DI JAUH" in text_of(chief.get("/worklist/queries/try", {"device": str(device.public_id)}))
    assert "DI JAUH" not in text_of(chief.get("/worklist/queries/try", {"modality": "CT"}))
    assert default_site() != other
