"""The list of a doctor's results, and a result on one page."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from radiology.models import AuditEvent, HoldKind, PersonalResult, ReportSeal, Role, User
from radiology.services.critical_results import raise_critical
from radiology.services.report_holds import hold
from radiology.services.reports import withdraw_report
from radiology.signals import order_placed
from tests.factories import (
    make_case,
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_site,
    make_step,
    make_user,
)
from tests.worklist.results import added, awaited, doctor, imaged, long_ago, radiologist, row_of, signed, tie
from worklist.models import CaseState
from worklist.services.reading_rows import refresh_readings

pytestmark = pytest.mark.django_db
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def sari() -> User:
    return doctor()


@pytest.fixture
def rahmat() -> User:
    return radiologist()


def client_of(who: User) -> Client:
    client = Client()
    client.force_login(who, backend=MODEL_BACKEND)
    return client


@pytest.fixture
def hers(sari: User) -> Client:
    return client_of(sari)


def names(response: Any) -> list[str]:
    return [line["patient"].display_name for line in response.context["lines"]]


def test_it_lists_what_is_published_newest_first_with_its_state_and_what_it_means(
    hers: Client, sari: User, rahmat: User
) -> None:
    signed(awaited("LESTARI^AYU", ordering_physician=sari), rahmat, "preliminary", impression="Pneumonia, left.")
    wrong = signed(awaited("WIBOWO^BUDI", ordering_physician=sari), rahmat, impression="Fracture.").report_ref
    withdraw_report(report=wrong, version=wrong.version, reason="other patient", who=rahmat)
    signed(awaited("SARI^CITRA"), rahmat, impression="Not hers.")
    awaited("HALIM^DODI", ordering_physician=sari)
    response = hers.get("/results")
    assert names(response) == ["BUDI WIBOWO", "AYU LESTARI"]
    page = response.content.decode()
    assert "Preliminary" in page and "Pneumonia, left." in page and page.count('class="new-mark"') == 2
    assert "Withdrawn: do not use what it said." in page and "Fracture." not in page
    assert names(hers.get("/results?view=awaited")) == ["DODI HALIM"]


def test_each_filter_leaves_what_it_says(hers: Client, sari: User, rahmat: User) -> None:
    tie(sari, "place", "Melati")
    ct = awaited("LESTARI^AYU", ordering_physician=sari)
    mr = awaited("WIBOWO^BUDI", current_patient_location="Melati", procedure={"modality": "MR"})
    for each in (ct, mr):
        signed(each, rahmat)
    PersonalResult.objects.filter(requested_procedure_ref=ct).update(at=timezone.now() - timedelta(days=9))
    raise_critical(procedure=ct, finding="Bleeding", category="red", who=rahmat)
    patient = mr.order_ref.patient_ref
    for query, found in (
        ("", ["BUDI WIBOWO", "AYU LESTARI"]),
        ("view=critical", ["AYU LESTARI"]),
        ("modality=MR", ["BUDI WIBOWO"]),
        ("whose=ordered", ["AYU LESTARI"]),
        ("whose=place", ["BUDI WIBOWO"]),
        ("period=week", ["BUDI WIBOWO"]),
        (f"patient={patient.public_id}", ["BUDI WIBOWO"]),
        ("patient=nonsense&view=nonsense&at=nonsense&period=x&whose=%00", ["BUDI WIBOWO", "AYU LESTARI"]),
        ("q=lest", ["AYU LESTARI"]),
        (f"q={patient.patient_id}", ["BUDI WIBOWO"]),
        (f"q={ct.order_ref.accession_number}", ["AYU LESTARI"]),
        ("q=nobody", []),
    ):
        assert names(hers.get(f"/results?{query}")) == found, query


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("SCHEDULED", "Scheduled: "),
        ("ARRIVED", "The patient is there"),
        ("STARTED", "Being examined"),
        ("COMPLETED", "Examined; the report is to come"),
        ("NO SHOW", "The patient did not come"),
        ("CANCELLED", "Ordered; no time is set yet"),
    ],
)
def test_what_is_awaited_says_how_far_it_is(hers: Client, sari: User, status: str, told: str) -> None:
    make_step(awaited(ordering_physician=sari), device=make_device(), status=status)
    assert told in hers.get("/results?view=awaited").content.decode()


def test_images_without_a_report_say_that_it_is_to_come(hers: Client, sari: User) -> None:
    imaged(awaited(ordering_physician=sari), series=1, instances=2)
    assert "Examined; the report is to come" in hers.get("/results?view=awaited").content.decode()


def test_images_that_another_procedure_was_made_with_are_those_of_both(hers: Client, sari: User, rahmat: User) -> None:
    study = imaged(awaited(ordering_physician=sari), series=1, instances=2)
    also = awaited(patient=study.patient_ref, ordering_physician=sari)
    make_case(study, state=CaseState.LINKED).also_serves.add(also)
    refresh_readings([also.pk])
    list_ = hers.get("/results?view=awaited").content.decode()
    assert list_.count("Examined; the report is to come") == 2 and "Ordered; no time" not in list_
    assert hers.get(f"/results/{also.public_id}").context["study"] == study
    assert client_of(rahmat).get(f"/reading/{also.public_id}").context["study"] == study
    assert client_of(rahmat).get(f"/reading/{also.public_id}/news").json()["images"] == 2


def test_it_goes_on_page_by_page_and_back(hers: Client, sari: User, rahmat: User) -> None:
    for number in range(53):
        signed(awaited(f"P{number:02d}^A", ordering_physician=sari), rahmat)
    first = hers.get("/results")
    assert len(first.context["lines"]) == 50
    second = hers.get(first.context["older"])
    assert names(second) == ["A P02", "A P01", "A P00"]
    assert names(hers.get(second.context["newer"])) == names(first)


def test_it_follows_and_says_nothing_while_nothing_happens(hers: Client, sari: User, rahmat: User) -> None:
    procedure = awaited(ordering_physician=sari)
    version = signed(procedure, rahmat)
    etag = hers.get("/results").context["etag"]
    again = {**HTMX, "If-None-Match": etag}
    assert hers.get("/results", headers=again).status_code == 304
    added(version.report_ref, "More.", rahmat)
    answer = hers.get("/results", headers=again)
    assert answer.status_code == 200 and "With addendum" in answer.content.decode()
    head = hers.get("/results/head")
    assert hers.get("/results/head", headers={"If-None-Match": head["ETag"]}).status_code == 304


def test_the_list_costs_no_more_the_more_there_is(hers: Client, sari: User, rahmat: User) -> None:
    def cost(path: str, **headers: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert hers.get(path, headers=headers).status_code == 200
        return len(queries)

    paths = {
        "/results": 9,
        "/results?view=awaited": 11,
        "/results?q=lestari": 16,
        "/results/count": 5,
        "/results/head": 9,
    }
    signed(awaited(ordering_physician=sari), rahmat)
    make_step(awaited(ordering_physician=sari), device=make_device())
    hers.get("/results")
    for path, most in paths.items():
        assert cost(path) <= most, path
    for _ in range(4):
        signed(awaited(ordering_physician=sari), rahmat)
        imaged(awaited(ordering_physician=sari))
    for path, most in paths.items():
        assert cost(path) <= most, path


def test_all_are_marked_as_seen_and_new_again(hers: Client, sari: User, rahmat: User) -> None:
    for _ in range(2):
        signed(awaited(ordering_physician=sari), rahmat)
    long_ago(*PersonalResult.objects.all())
    page = hers.get("/results").content.decode()
    until = re.search(r'name="until" value="([^"]+)"', page)
    assert until is not None
    answer = hers.post("/results/seen", {"until": until[1], "next": "/results?view=new"}, follow=True)
    assert names(answer) == [] and "2 results are marked as seen." in answer.content.decode()
    undo = re.search(r'action="(/results/seen/[^"]+/undo)"', answer.content.decode())
    assert undo is not None
    back = hers.post(undo[1], {"next": "/results?view=new"}, follow=True)
    assert len(names(back)) == 2 and "2 results are new again." in back.content.decode()
    assert AuditEvent.objects.filter(event="results.seen").count() == 2
    assert hers.post("/results/seen", {"until": "nonsense"}).status_code == 400
    assert hers.get("/results/seen").status_code == 405


def test_what_one_filters_away_stays_new(hers: Client, sari: User, rahmat: User) -> None:
    for modality in ("CT", "MR"):
        signed(awaited(ordering_physician=sari, procedure={"modality": modality}), rahmat)
    long_ago(*PersonalResult.objects.all())
    hers.post("/results/seen", {"until": timezone.now().isoformat(), "modality": "MR"})
    assert [row.modality for row in PersonalResult.objects.filter(is_new=True)] == ["CT"]


def test_opening_it_is_having_seen_it_and_is_told_in_the_audit(hers: Client, sari: User, rahmat: User) -> None:
    procedure = awaited(ordering_physician=sari, reason_for_the_requested_procedure="Cough for weeks?")
    version = signed(procedure, rahmat, findings="Shadow.", impression="Pneumonia.")
    study = imaged(procedure, series=2, instances=1)
    response = hers.get(f"/results/{procedure.public_id}")
    page = response.content.decode()
    for told in ("Pneumonia.", "Shadow.", "Cough for weeks?", "Rahmat Hidayat", "Letter (PDF)", "version 1"):
        assert told in page, told
    assert f'data-viewer="/viewer?StudyInstanceUIDs={study.study_instance_uid}"' in page
    assert page.index("Pneumonia.") < page.index("Shadow.")
    assert response.context["was_new"] and len(response.context["series"]) == 2
    assert not row_of(sari, procedure).is_new
    assert AuditEvent.objects.filter(
        event="report", action="R", detail__report=str(version.report_ref.public_id)
    ).exists()
    assert not hers.get(f"/results/{procedure.public_id}").context["was_new"]
    added(version.report_ref, "A nodule as well.", rahmat)
    assert names(hers.get("/results?view=new")) == ["AYU LESTARI"]
    assert "Changed" in hers.get("/results").content.decode()
    assert "A nodule as well." in hers.get(f"/results/{procedure.public_id}").content.decode()


def test_a_report_that_is_held_is_not_shown_to_who_waits_for_it(hers: Client, sari: User, rahmat: User) -> None:
    procedure = awaited(ordering_physician=sari)
    version = signed(procedure, rahmat, findings="Shadow.", impression="Pneumonia.")
    study = imaged(procedure, series=1, instances=1)
    before = hers.get("/results").context["etag"]
    hold(procedures={procedure.pk}, kind=HoldKind.PATIENT, study_instance_uid=study.study_instance_uid)
    assert hers.get("/results", headers={**HTMX, "If-None-Match": before}).status_code == 200
    for address in ("/results", "/"):
        shown = hers.get(address).content.decode()
        assert "Pneumonia." not in shown and "Shadow." not in shown, address
    page = hers.get(f"/results/{procedure.public_id}").content.decode()
    assert "Pneumonia." not in page and "Shadow." not in page and "Letter (PDF)" not in page
    assert "neither signed nor given out" in page
    (entry,) = hers.get("/api/v1/results").json()["data"]
    assert entry["impression"] == ""
    seal = ReportSeal.objects.get(version_ref=version)
    assert "being checked" in hers.get(f"/verify/{seal.token}").content.decode()
    hers.get(f"/reports/{version.report_ref.public_id}")
    hers.post("/results/seen", {"until": timezone.now().isoformat()})
    assert row_of(sari, procedure).is_new, "nobody has read it"


@pytest.mark.parametrize("address", ["/reports/{0}", "/reports/{0}/pdf"])
def test_the_report_itself_and_its_letter_count_as_seen_too(
    hers: Client, sari: User, rahmat: User, address: str
) -> None:
    procedure = awaited(ordering_physician=sari)
    version = signed(procedure, rahmat)
    assert hers.get(address.format(version.report_ref.public_id)).status_code == 200
    assert not row_of(sari, procedure).is_new


def test_one_who_did_not_order_reads_it_and_it_stays_new_to_who_did(sari: User, rahmat: User) -> None:
    procedure = awaited(ordering_physician=sari)
    signed(procedure, rahmat)
    other = client_of(make_user("rina", role=Role.RADIOGRAPHER))
    assert other.get(f"/results/{procedure.public_id}").status_code == 200
    assert row_of(sari, procedure).is_new
    assert names(other.get("/results")) == []
    far = client_of(doctor("far", site=make_site()))
    assert far.get(f"/results/{procedure.public_id}").status_code == 404
    assert Client().get(f"/results/{procedure.public_id}").status_code == 302


def test_a_result_leads_to_the_next_and_the_former_one_also_when_it_is_not_new_any_more(
    hers: Client, sari: User, rahmat: User
) -> None:
    old, middle, young = (awaited(f"{name}^A", ordering_physician=sari) for name in ("OLD", "MIDDLE", "YOUNG"))
    for each in (old, middle, young):
        signed(each, rahmat)
    page = hers.get(f"/results/{middle.public_id}?view=new").context
    assert page["older"] == f"/results/{old.public_id}?view=new"
    assert page["newer"] == f"/results/{young.public_id}?view=new"
    assert hers.get(page["older"]).context["older"] == ""
    assert page["back"] == "/results?view=new"


def test_what_is_awaited_says_so_and_what_nobody_awaits_has_no_page(hers: Client, sari: User) -> None:
    page = hers.get(f"/results/{awaited(ordering_physician=sari).public_id}").content.decode()
    assert "There is no report yet." in page and "Ordered; no time is set yet" in page
    assert hers.get(f"/results/{make_requested_procedure().public_id}").status_code == 404


def test_former_studies_stand_below_with_what_they_meant(hers: Client, sari: User, rahmat: User) -> None:
    patient = make_patient(None, "LESTARI^AYU")
    before, now = (awaited(patient=patient, ordering_physician=sari) for _ in range(2))
    imaged(before, series=1, instances=1, study_date="20230101", study_description="CT Thorax earlier")
    imaged(now, series=1, instances=1)
    signed(before, rahmat, impression="Clear lungs.")
    signed(now, rahmat)
    page = hers.get(f"/results/{now.public_id}").content.decode()
    assert "CT Thorax earlier" in page and "Clear lungs." in page


def beside_tag(response: Any) -> str:
    """The version with which the part about the patient's critical results is asked for again."""
    found = re.search(r'id="critical-beside"[^>]* data-live="([^"]+)"', response.content.decode())
    assert found is not None
    return unescape(found[1])


def test_a_critical_result_is_acknowledged_in_place_and_told_wherever_the_patient_is_shown(
    hers: Client, sari: User, rahmat: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = make_patient(None, "LESTARI^AYU")
    first, second = (awaited(patient=patient, ordering_physician=sari) for _ in range(2))
    study = imaged(second, series=1, instances=1)
    for each in (first, second):
        signed(each, rahmat)
    raised, _ = raise_critical(procedure=first, finding="Pneumothorax", category="red", who=rahmat)
    acknowledge = f'action="/critical/{raised.public_id}/acknowledge"'
    part = f"/critical/patient/{patient.public_id}"
    for address in (
        f"/results/{first.public_id}",
        f"/results/{second.public_id}",
        f"/patients/{patient.public_id}",
        f"/studies/{study.study_instance_uid}",
        f"/reports/{second.reports.get().public_id}",
        part,
    ):
        page = hers.get(address).content.decode()
        assert "Pneumothorax" in page and acknowledge in page, address
        assert page.count(acknowledge) == 1, address
    pages = (f"/patients/{patient.public_id}", f"/studies/{study.study_instance_uid}", part)
    now = timezone.now()
    with monkeypatch.context() as still:
        still.setattr(timezone, "now", lambda: now)
        shown = [beside_tag(hers.get(address)) for address in pages]
        assert set(shown) == {hers.get(part)["ETag"]}
        assert hers.get(part, headers={"If-None-Match": shown[0]}).status_code == 304
    assert "Another critical result of this patient" in hers.get(f"/results/{second.public_id}").content.decode()
    assert "Pneumothorax" in hers.get("/").content.decode()
    here = f"/results/{first.public_id}?view=critical"
    assert hers.post(f"/critical/{raised.public_id}/acknowledge", {"next": here}).headers["Location"] == here
    again = hers.get(part, headers={"If-None-Match": shown[0]})
    assert again.status_code == 200 and "Pneumothorax" not in again.content.decode()
    assert hers.get(part, headers={"If-None-Match": again["ETag"]}).status_code == 304
    assert names(hers.get("/results?view=critical")) == []
    far = client_of(doctor("far", site=make_site()))
    assert far.get(part).status_code == 404


def test_the_home_page_of_a_doctor_leads_with_the_results_critical_ones_first(
    hers: Client, sari: User, rahmat: User
) -> None:
    critical = awaited("WIBOWO^BUDI", ordering_physician=sari)
    signed(critical, rahmat)
    signed(awaited("LESTARI^AYU", ordering_physician=sari), rahmat)
    raise_critical(procedure=critical, finding="Bleeding", category="red", who=rahmat)
    response = hers.get("/")
    page = response.content.decode()
    assert [line["patient"].display_name for line in response.context["results"]["lines"]] == [
        "BUDI WIBOWO",
        "AYU LESTARI",
    ]
    assert page.index('id="results-head"') < page.index('id="q"')
    assert response.context["results"]["counts"]["new"] == 2
    assert 'hx-get="/results/count"' in page
    assert "2 new results" in hers.get("/results/count").content.decode()
    for role in (Role.RADIOLOGIST, Role.RADIOGRAPHER, Role.DESK, Role.ADMINISTRATOR):
        made = make_user(f"x{role}", role=role, is_staff=role == Role.ADMINISTRATOR)
        other = client_of(made).get("/").content.decode()
        assert "results-head" not in other and "/results/count" not in other


def test_a_doctor_whom_nobody_tied_is_told_how_results_come(hers: Client) -> None:
    page = hers.get("/results").content.decode()
    assert "ties your account to the number or name" in page


def test_a_result_costs_a_fixed_number_of_statements(hers: Client, sari: User, rahmat: User) -> None:
    patient = make_patient(None, "LESTARI^AYU")

    def cost() -> int:
        procedure = awaited(patient=patient, ordering_physician=sari)
        imaged(procedure, series=2, instances=1)
        signed(procedure, rahmat)
        with CaptureQueriesContext(connection) as queries:
            assert hers.get(f"/results/{procedure.public_id}").status_code == 200
        return len(queries)

    first = cost()
    assert first <= 36
    for _ in range(3):
        cost()
    assert cost() <= first + 4, "former studies and their reports cost four more, however many"


def test_an_order_is_awaited_as_soon_as_it_is_placed(
    hers: Client, sari: User, django_capture_on_commit_callbacks: Any
) -> None:
    order = make_order(ordering_physician=sari, procedures=1)
    with django_capture_on_commit_callbacks(execute=True):
        order_placed.send(sender=type(order), order=order, procedures=list(order.requested_procedures.all()))
    assert len(names(hers.get("/results?view=awaited"))) == 1
