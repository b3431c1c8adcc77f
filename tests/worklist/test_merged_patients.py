"""What patients merged into one another mean for performed steps and for studies that wait for their order."""

from typing import Any

import pytest
from django.utils import timezone

from pacs.models import ApplicationEntity, Study
from radiology.models import Order, OrderOrigin, Patient, PatientMerge, PatientMergeItem, RequestedProcedure, User
from radiology.services.jobs import run_due
from radiology.services.merges import merge_patients, undo_merge
from tests.factories import (
    make_node,
    make_order,
    make_patient,
    make_requested_procedure,
    make_series,
    make_step,
    make_study,
    make_user,
)
from tests.worklist.mpps import begun
from worklist.models import (
    CaseState,
    PerformedProcedureStep,
    PerformedWarning,
    ReconciliationCase,
    ScheduledProcedureStep,
    StepStatus,
)
from worklist.services.performed import create_performed
from worklist.services.reconciliation import reconcile_study

pytestmark = pytest.mark.django_db
BORN = {"patient_birth_date": "19700101"}


@pytest.fixture
def chief() -> User:
    return make_user("chief", is_superuser=True)


@pytest.fixture
def node() -> ApplicationEntity:
    return make_node("CT1")


@pytest.fixture
def merged() -> Patient:
    return make_patient("RM-OLD", "Wibowo^Budi", **BORN)


@pytest.fixture
def survivor() -> Patient:
    return make_patient("RM-NEW", "Wibowo^Budi", **BORN)


def report(node: ApplicationEntity, attributes: Any) -> PerformedProcedureStep:
    return create_performed(node=node, sop_instance_uid="", attributes=attributes.to_json_dict())


def unscheduled(patient: Patient) -> Any:
    return begun(PatientID=patient.patient_id, PatientName=patient.patient_name, PatientBirthDate="19700101")


def merge(who: User, merged: Patient, survivor: Patient) -> PatientMerge:
    return merge_patients(who=who, survivor=survivor, merged=merged, reason="registered twice")


def test_a_step_under_a_merged_number_is_the_survivors_and_says_so(
    chief: User, node: ApplicationEntity, merged: Patient, survivor: Patient
) -> None:
    step = make_step(make_requested_procedure(make_order(merged)))
    attributes = begun(step)  # the device's worklist is from before
    done = merge(chief, merged, survivor)
    performed = report(node, attributes)
    assert performed.patient_ref == survivor
    assert performed.warnings == [PerformedWarning.FORMER_NUMBER]
    assert performed.warning_texts == ["It names the patient by a number that was merged into another."]
    kept = PatientMergeItem.objects.get(merge=done, row_id=performed.pk, is_late=True)
    assert kept.kind == "worklist.performedprocedurestep.patient_ref"


def test_a_step_under_the_survivors_number_says_nothing(
    chief: User, node: ApplicationEntity, merged: Patient, survivor: Patient
) -> None:
    merge(chief, merged, survivor)
    assert report(node, unscheduled(survivor)).warnings == []
    assert report(node, begun(make_step())).warnings == []
    assert not PatientMergeItem.objects.filter(is_late=True).exists()


def test_an_undo_gives_back_what_came_under_the_merged_number(
    chief: User, node: ApplicationEntity, merged: Patient, survivor: Patient
) -> None:
    ordered = make_step(make_requested_procedure(make_order(merged)))
    done = merge(chief, merged, survivor)
    of_order, of_itself, of_survivor = (
        report(node, attributes) for attributes in (begun(ordered), unscheduled(merged), unscheduled(survivor))
    )
    order = Order.objects.filter(origin=OrderOrigin.IMAGES).earliest("pk")
    assert {of_order.patient_ref, of_itself.patient_ref, order.patient_ref} == {survivor}
    undo_merge(who=chief, merge=done)
    for each in (of_order, of_itself, of_survivor, order):
        each.refresh_from_db()
    assert (of_order.patient_ref, of_order.warnings) == (merged, [])
    assert (of_itself.patient_ref, of_itself.warnings, order.patient_ref) == (merged, [], merged)
    assert of_survivor.patient_ref == survivor


def test_a_step_of_the_merged_patients_order_goes_back_with_the_order_whatever_it_named(
    chief: User, node: ApplicationEntity, merged: Patient, survivor: Patient
) -> None:
    ordered = make_step(make_requested_procedure(make_order(merged)))
    done = merge(chief, merged, survivor)
    ordered.refresh_from_db()
    fresh = ScheduledProcedureStep.objects.get(pk=ordered.pk)
    performed = report(node, begun(fresh))
    assert (performed.patient_ref, performed.warnings) == (survivor, [])
    undo_merge(who=chief, merge=done)
    performed.refresh_from_db()
    assert performed.patient_ref == merged


def test_a_merge_of_a_merge_is_followed_and_undone_step_by_step(
    chief: User, node: ApplicationEntity, merged: Patient, survivor: Patient
) -> None:
    last = make_patient("RM-LAST", "Wibowo^Budi", **BORN)
    first, second = merge(chief, merged, survivor), merge(chief, Patient.objects.get(pk=survivor.pk), last)
    performed = report(node, unscheduled(merged))
    assert performed.patient_ref == last
    undo_merge(who=chief, merge=second)
    performed.refresh_from_db()
    assert performed.patient_ref == survivor
    undo_merge(who=chief, merge=first)
    performed.refresh_from_db()
    assert performed.patient_ref == merged


def waiting_study(patient: Patient, procedure: RequestedProcedure) -> Study:
    """Images of another patient's number that name the order."""
    now = timezone.localtime()
    study = make_study(
        patient,
        accession_number=procedure.order_ref.accession_number,
        study_date=f"{now:%Y%m%d}",
        study_time=f"{now:%H%M%S}",
    )
    make_series(study, modality=procedure.modality, body_part_examined=procedure.body_part_examined, instances=1)
    return study


def test_a_study_that_waits_is_looked_at_anew_when_its_patient_is_merged_and_when_that_is_undone(
    chief: User, merged: Patient, survivor: Patient
) -> None:
    procedure = make_requested_procedure(make_order(survivor))
    make_step(procedure, scheduled_start=timezone.now(), status=StepStatus.ARRIVED)
    study = waiting_study(merged, procedure)
    reconcile_study(study=study.pk)
    before = ReconciliationCase.objects.get()
    assert before.state == CaseState.OPEN
    merge(chief, merged, survivor)
    run_due()
    study.refresh_from_db()
    assert study.requested_procedure_ref == procedure
    assert ReconciliationCase.objects.get().state == CaseState.LINKED


def test_a_study_whose_candidates_are_the_merged_patients_is_looked_at_anew(
    chief: User, merged: Patient, survivor: Patient
) -> None:
    procedure = make_requested_procedure(make_order(merged))
    make_step(procedure, scheduled_start=timezone.now(), status=StepStatus.ARRIVED)
    study = waiting_study(survivor, procedure)
    reconcile_study(study=study.pk)
    [candidate] = ReconciliationCase.objects.get().candidates
    done = merge(chief, merged, survivor)
    study.refresh_from_db()
    run_due()
    study.refresh_from_db()
    assert study.requested_procedure_ref == procedure
    assert candidate["procedure"] == procedure.pk
    assert done.moved["radiology.order.patient_ref"] == 1


def test_an_open_case_shows_that_its_candidate_is_another_patient_again_after_an_undo(
    chief: User, merged: Patient, survivor: Patient
) -> None:
    procedure = make_requested_procedure(make_order(survivor))
    make_step(procedure, scheduled_start=timezone.now(), status=StepStatus.ARRIVED)
    done = merge(chief, merged, survivor)
    study = waiting_study(survivor, procedure)
    Study.objects.filter(pk=study.pk).update(
        attributes={
            "00100020": {"vr": "LO", "Value": ["RM-OLD"]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wibowo^Budi"}]},
            "00100030": {"vr": "DA", "Value": ["19700101"]},
        },
        accession_number="",
    )
    case = ReconciliationCase.objects.create(site=study.site, study_ref=study, decided_by_hand=True)
    reconcile_study(study=study.pk)
    case.refresh_from_db()
    agreed = case.candidates
    undo_merge(who=chief, merge=done)
    run_due()
    case.refresh_from_db()
    assert Study.objects.get(pk=study.pk).patient_ref == merged
    assert case.candidates != agreed
