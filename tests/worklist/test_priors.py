"""What was examined before: which former studies, in which order, with what was said of them."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from pacs.models import Study
from radiology.models import Patient, RequestedProcedure, Role, User
from radiology.services.merges import merge_patients
from radiology.services.reports import sign_report, withdraw_report, write_draft
from tests.factories import make_patient, make_reading, make_report, make_series, make_site, make_study, make_user
from worklist.services.priors import Prior, priors_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def rahmat() -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST)


@pytest.fixture
def patient() -> Patient:
    return make_patient("RM-1")


@pytest.fixture
def now(patient: Patient) -> RequestedProcedure:
    """What is to be read: a CT of the chest."""
    return make_reading(patient).requested_procedure_ref


def former(patient: Patient, days: int, modality: str = "CT", part: str = "CHEST", **fields: Any) -> Study:
    at = timezone.now() - timedelta(days=days)
    study = make_study(patient, sort_at=at, study_description=fields.pop("study_description", ""), **fields)
    make_series(study, modality=modality, body_part_examined=part)
    return study


def shown(found: list[Prior]) -> list[Study]:
    return [each.study for each in found]


def test_the_same_region_comes_first_then_the_same_modality_then_the_newest(
    rahmat: User, patient: Patient, now: RequestedProcedure
) -> None:
    head = former(patient, 1, part="HEAD")
    knee = former(patient, 2, modality="DX", part="KNEE")
    film = former(patient, 3, modality="DX", part="THORAX")
    older = former(patient, 400, part="LUNG")
    newer = former(patient, 90, part="", study_description="CT Toraks kontras")
    found = priors_of(who=rahmat, procedure=now)
    assert shown(found) == [newer, older, film, head, knee]
    assert [(each.same_region, each.same_modality) for each in found] == [
        (True, True), (True, True), (True, False), (False, True), (False, False),
    ]  # fmt: skip
    assert shown(priors_of(who=rahmat, procedure=now, most=2)) == [newer, older]


def test_what_is_later_deleted_anothers_or_no_image_is_no_prior(
    rahmat: User, patient: Patient, now: RequestedProcedure
) -> None:
    former(patient, -1)
    former(patient, 5, deleted_at=timezone.now())
    former(patient, 5, modality="SR")
    former(make_patient("RM-2"), 5)
    former(make_patient("RM-1", site=make_site()), 5)
    assert priors_of(who=rahmat, procedure=now) == []


def test_merged_patients_bring_their_studies(rahmat: User, patient: Patient, now: RequestedProcedure) -> None:
    twin = make_patient("RM-9", patient.patient_name)
    theirs = former(twin, 30)
    merge_patients(who=make_user("chief", is_superuser=True), survivor=patient, merged=twin, reason="twice")
    assert shown(priors_of(who=rahmat, procedure=now)) == [theirs]
    stayed = former(twin, 20)
    assert shown(priors_of(who=rahmat, procedure=now)) == [stayed, theirs]


def test_a_prior_says_what_its_report_concludes(rahmat: User, patient: Patient, now: RequestedProcedure) -> None:
    before = make_reading(patient, ago=timedelta(days=30)).requested_procedure_ref
    write_draft(procedure=before, sections={"impression": "Not yet."}, who=rahmat)
    (prior,) = priors_of(who=rahmat, procedure=now)
    assert (prior.report, prior.impression) == (None, "")
    report = before.reports.get()
    sign_report(report=report, version=report.version, who=rahmat)
    report.refresh_from_db()
    report = write_draft(procedure=before, sections={"impression": "TB."}, version=report.version, who=rahmat)
    sign_report(report=report, version=report.version, reason="missed", who=rahmat)
    (prior,) = priors_of(who=rahmat, procedure=now)
    assert prior.report == report and prior.impression == "TB."
    report.refresh_from_db()
    withdraw_report(report=report, version=report.version, reason="wrong", who=rahmat)
    assert priors_of(who=rahmat, procedure=now)[0].report is None


def test_the_number_of_queries_is_fixed(
    rahmat: User, patient: Patient, now: RequestedProcedure, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        before = make_reading(patient, ago=timedelta(days=number + 2))
        make_report(before.requested_procedure_ref)
    procedure = RequestedProcedure.objects.select_related("order_ref__patient_ref").get(pk=now.pk)
    with django_assert_max_num_queries(9):  # two of them for the rights
        assert len(priors_of(who=rahmat, procedure=procedure)) == 8
