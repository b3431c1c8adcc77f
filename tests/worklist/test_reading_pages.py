"""The reading list as a page: what it says, what one press does, what it costs."""

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from radiology.models import Role, User
from radiology.services.reports import write_draft
from tests.factories import make_patient, make_reading, make_report, make_site, make_user
from worklist.models import Reading, ReadingArea
from worklist.reading_words import due_in
from worklist.services.reading import claim

pytestmark = pytest.mark.django_db
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def rahmat() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


@pytest.fixture
def sri() -> User:
    return make_user("sri", role=Role.RADIOLOGIST, first_name="Sri", last_name="Wahyuni")


@pytest.fixture
def signed_in(client: Client, rahmat: User) -> Client:
    client.force_login(rahmat, backend=MODEL_BACKEND)
    return client


def rows(client: Client, query: str = "") -> list[Reading]:
    return [row["line"].reading for row in client.get(f"/reading{query}").context["lines"]]


def counts(client: Client) -> dict[str, int]:
    return {name: count for name, _label, count, _address in client.get("/reading").context["tabs"]}


def plain(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "text", "meaning"),
    [
        (12, "12 min left", "waiting"),
        (16, "16 min left", ""),
        (119, "119 min left", ""),
        (120, "2 h left", ""),
        (47 * 60, "47 h left", ""),
        (49 * 60, "2 d left", ""),
        (-0.5, "late by 0 min", "urgent"),
        (-119, "late by 119 min", "urgent"),
        (-150, "late by 2 h", "urgent"),
        (-72 * 60, "late by 3 d", "urgent"),
    ],
)
def test_how_much_time_is_left_in_words(minutes: float, text: str, meaning: str) -> None:
    due = due_in(NOW + timedelta(minutes=minutes), NOW)
    assert (due.text, due.meaning) == (text, meaning)


def test_a_row_says_who_what_how_urgent_and_where_it_leads(signed_in: Client, sri: User) -> None:
    patient = make_patient("RM-7", "LESTARI^AYU", patient_sex="F", patient_birth_date="19800101")
    reading = make_reading(patient, priority="STAT", ago=timedelta(hours=3), images=3)
    order = reading.requested_procedure_ref.order_ref
    order.reason_for_the_requested_procedure = "Sesak <2 hari>"
    order.save()
    claim(who=sri, procedure=reading.requested_procedure_ref)
    page = signed_in.get("/reading").content.decode()
    said = plain(page)
    for text in ("Stat", "late by 2 h", "AYU LESTARI", "F · ", "RM-7", "CT Thorax", "3 images", "Sri Wahyuni"):
        assert text in said, text
    assert escape("Sesak <2 hari>") in page
    public_id = reading.requested_procedure_ref.public_id
    assert f'href="/reading/{public_id}"' in page
    assert f"StudyInstanceUIDs={reading.requested_procedure_ref.study_instance_uid}" in page
    assert f"/reading/{public_id}/claim" not in page and f"/reading/{public_id}/assign" in page


def test_views_filters_and_their_counts(signed_in: Client, rahmat: User) -> None:
    chest, head = make_reading(priority="HIGH"), make_reading(modality="MR", body_part_examined="HEAD")
    make_report(make_reading().requested_procedure_ref)
    write_draft(procedure=head.requested_procedure_ref, sections={"findings": "x"}, who=rahmat)
    ReadingArea.objects.create(user=rahmat, modality="CT")
    assert rows(signed_in) == [chest, head]
    others = {"cosign": 0, "preliminary": 0, "late": 0}
    assert counts(signed_in) == {"unread": 2, "mine": 1, "areas": 1, "drafts": 1, **others}
    assert rows(signed_in, "?view=mine") == rows(signed_in, "?view=drafts") == [head]
    assert rows(signed_in, "?view=areas") == rows(signed_in, "?priority=HIGH") == [chest]
    assert rows(signed_in, "?modality=MR") == [head]
    assert rows(signed_in, "?view=nonsense&priority=%00&modality=%00") == [chest, head]
    assert "Nothing here with this modality" in signed_in.get("/reading?modality=US").content.decode()
    assert "No report awaits" in signed_in.get("/reading?view=preliminary").content.decode()


def test_claim_let_go_and_next_by_one_press(signed_in: Client, rahmat: User, sri: User) -> None:
    stat, other = make_reading(priority="STAT"), make_reading()
    claim(who=sri, procedure=stat.requested_procedure_ref)
    taken = signed_in.post("/reading/next")
    assert taken["Location"] == f"/reading/{other.requested_procedure_ref.public_id}"
    other.refresh_from_db()
    assert other.claimed_by == rahmat
    none = signed_in.post("/reading/next", {"view": "unread", "modality": "CT", "next": "/elsewhere"}, follow=True)
    assert none.redirect_chain[-1][0] == "/reading?modality=CT" and "Nothing waits here" in none.content.decode()
    address = f"/reading/{stat.requested_procedure_ref.public_id}"
    told = signed_in.post(f"{address}/claim", {"next": "/reading?view=mine"}, follow=True)
    public_id = stat.requested_procedure_ref.public_id
    assert told.redirect_chain == [(f"/reading?view=mine#read-{public_id}", 302)]
    assert "Sri Wahyuni has been reading this since" in told.content.decode()
    signed_in.post(f"{address}/claim", {"take_over": "1"})
    stat.refresh_from_db()
    assert stat.claimed_by == rahmat
    assert f"{address}/release" in signed_in.get("/reading").content.decode()
    signed_in.post(f"{address}/release")
    stat.refresh_from_db()
    assert stat.claimed_by is None


def test_the_next_after_this_one_is_another(signed_in: Client) -> None:
    first, second = make_reading(priority="STAT"), make_reading()
    key = str(first.requested_procedure_ref.public_id)
    taken = signed_in.post("/reading/next", {"after": key})
    assert taken["Location"].endswith(str(second.requested_procedure_ref.public_id))


def test_a_colleague_is_given_an_examination_in_a_dialog(signed_in: Client, sri: User) -> None:
    reading = make_reading()
    doctor, elsewhere = make_user("doctor", role=Role.DOCTOR), make_user("far", role=Role.RADIOLOGIST, site=make_site())
    address = f"/reading/{reading.requested_procedure_ref.public_id}/assign"
    dialog = signed_in.get(address, headers=HTMX)
    assert [each.username for each in dialog.context["colleagues"]] == ["sri"]
    assert dialog.content.decode().startswith("<dialog") or "<dialog" in dialog.content.decode()
    assert "<html" in signed_in.get(address).content.decode()
    for to in (doctor.public_id, elsewhere.public_id, uuid.uuid4(), "nonsense"):
        answer = signed_in.post(address, {"to": str(to)})
        assert answer.status_code in {400, 404}, to
    signed_in.post(address, {"to": str(sri.public_id)})
    reading.refresh_from_db()
    assert reading.assigned_to == sri
    assert "for Sri Wahyuni" in plain(signed_in.get("/reading").content.decode())
    claim(who=sri, procedure=reading.requested_procedure_ref)
    assert "Taking it over is written down." in signed_in.get(address, headers=HTMX).content.decode()


def test_it_is_silent_while_nothing_happens_and_tells_what_does(signed_in: Client, sri: User) -> None:
    reading = make_reading()
    version = signed_in.get("/reading", headers=HTMX).context["etag"]

    def changed() -> bool:
        nonlocal version
        answer = signed_in.get("/reading", headers={**HTMX, "If-None-Match": version})
        if answer.status_code == 304:
            return False
        version = answer.context["etag"]
        return True

    assert not changed()
    claim(who=sri, procedure=reading.requested_procedure_ref)
    assert changed() and not changed()
    Reading.objects.update(active_at=timezone.now() - timedelta(minutes=61))
    assert changed() and not changed()
    study = reading.study_ref
    assert study is not None
    study.number_of_study_related_instances += 1
    study.save()
    assert changed()
    patient = reading.requested_procedure_ref.order_ref.patient_ref
    patient.patient_id = "RM-CORRECTED"
    patient.save()
    assert changed() and not changed()
    make_report(reading.requested_procedure_ref)
    assert changed()


def test_pages_go_on_by_place_and_back(signed_in: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worklist.reading_list_pages.PAGE", 2)
    wanted = [make_reading(ago=timedelta(minutes=50 - number)) for number in range(5)]
    seen, address = [], "/reading?priority=ROUTINE"
    for _ in range(3):
        answer = signed_in.get(address)
        seen += [row["line"].reading for row in answer.context["lines"]]
        address = answer.context["older"]
    assert seen == wanted and address == ""
    back = signed_in.get(answer.context["newer"])
    assert [row["line"].reading for row in back.context["lines"]] == wanted[2:4]
    assert rows(signed_in, "?at=tampered") == wanted[:2]


@pytest.mark.parametrize("path", ["/reading", "/reading/head", "/"])
def test_it_costs_the_same_however_many_wait(signed_in: Client, path: str) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert signed_in.get(path).status_code == 200
        return sum("worklist_reading" in query["sql"] or "radiology_user" in query["sql"] for query in queries)

    claim(who=make_user("r0", role=Role.RADIOLOGIST), procedure=make_reading().requested_procedure_ref)
    cost()  # what a session keeps from then on
    few = cost()
    for number in range(12):
        reading = make_reading()
        claim(who=make_user(f"x{number}", role=Role.RADIOLOGIST), procedure=reading.requested_procedure_ref)
    assert cost() == few <= 8


def test_only_who_writes_reports_has_it(client: Client, rahmat: User) -> None:
    reading = make_reading()
    client.force_login(make_user("doctor", role=Role.DOCTOR), backend=MODEL_BACKEND)
    assert client.get("/reading").status_code == 403 and client.get("/reading/head").status_code == 204
    home = client.get("/").content.decode()
    assert 'id="reading-head"' not in home and 'href="/reading"' not in home
    address = f"/reading/{reading.requested_procedure_ref.public_id}"
    for path in ("/reading/next", f"{address}/claim", f"{address}/release", f"{address}/assign"):
        assert client.post(path).status_code in {403, 404}, path
    client.force_login(make_user("far", role=Role.RADIOLOGIST, site=make_site()), backend=MODEL_BACKEND)
    assert rows(client) == [] and client.post(f"{address}/claim").status_code == 404


def test_the_home_page_leads_with_the_head_of_the_list(signed_in: Client) -> None:
    readings = [make_reading(ago=timedelta(minutes=50 - number)) for number in range(7)]
    page = signed_in.get("/")
    assert [row["line"].reading for row in page.context["reading"]["lines"]] == readings[:5]
    text = page.content.decode()
    assert text.index('id="reading-head"') < text.index('id="q"') and 'href="/reading"' in text
    part = signed_in.get("/reading/head", headers=HTMX)
    assert signed_in.get("/reading/head", headers={**HTMX, "If-None-Match": part["ETag"]}).status_code == 304
    chief = Client()
    chief.force_login(make_user("chief", is_superuser=True), backend=MODEL_BACKEND)
    both = chief.get("/").content.decode()
    assert 'id="today"' in both and 'id="reading-head"' in both
