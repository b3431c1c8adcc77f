"""A study finds its order: by rule, by somebody's decision, and back again."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from pacs.models import Correction, Instance, Removal, Series, Study, Volume
from pacs.services import corrections
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, PreconditionFailed
from radiology.models import AuditEvent, Job, Order, OrderOrigin, OrderStatus, Patient, RequestedProcedure, Site, User
from radiology.services.jobs import run_due
from radiology.signals import order_placed
from tests.factories import (
    default_site,
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_series,
    make_site,
    make_step,
    make_study,
    make_user,
)
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10
from worklist import tasks  # noqa: F401  (registers the handlers)
from worklist.models import (
    CaseReason,
    CaseState,
    PerformedProcedureStep,
    PerformedStepReference,
    ReconciliationCase,
    ReconciliationDecision,
    StepStatus,
    WorklistSettings,
)
from worklist.services.reconciliation import link, reconcile_study
from worklist.services.reconciliation_decisions import dismiss, mark_wrong_patient, undo
from worklist.signals import study_linked

pytestmark = pytest.mark.django_db
WIB = ZoneInfo("Asia/Jakarta")
DAY, TIME = f"{timezone.localtime(timezone=WIB):%Y%m%d}", f"{timezone.localtime(timezone=WIB):%H%M%S}"


@pytest.fixture
def site(settings: Any, tmp_path: Path) -> Site:
    """The default site, with an archive of this test's own."""
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    return Site.objects.default()


@pytest.fixture
def rina() -> User:
    return make_user("rina", role="radiographer")


def ordered(patient: Patient | None = None, **fields: Any) -> RequestedProcedure:
    """A CT thorax that is due now, its patient there."""
    status = fields.pop("status", StepStatus.ARRIVED)
    start = fields.pop("scheduled_start", timezone.now())
    values = {name: fields.pop(name) for name in ("modality", "body_part_examined") if name in fields}
    order = make_order(patient or make_patient(), **fields)
    procedure = make_requested_procedure(order, **values)
    make_step(procedure, scheduled_start=start, status=status)
    return procedure


def imaged(procedure: RequestedProcedure, **fields: Any) -> Study:
    """Images of now, as a console would name them that has this order before it."""
    order = procedure.order_ref
    requests = fields.pop("request_attributes", ())
    part = fields.pop("body_part_examined", procedure.body_part_examined)
    modality = fields.pop("modality", procedure.modality)
    patient = fields.pop("patient", order.patient_ref)
    values = {"accession_number": order.accession_number, "study_date": DAY, "study_time": TIME, **fields}
    study = make_study(patient, **values)
    make_series(study, modality=modality, body_part_examined=part, request_attributes=requests, instances=1)
    return study


def case_of(study: Study) -> ReconciliationCase:
    case = reconcile_study(study=study.pk)
    assert case is not None
    study.refresh_from_db()
    return case


def named_by(procedure: RequestedProcedure) -> dict[str, str]:
    step = procedure.scheduled_procedure_steps.get()
    return {
        "scheduled_procedure_step_id": step.scheduled_procedure_step_id,
        "requested_procedure_id": procedure.requested_procedure_id,
        "accession_number": procedure.order_ref.accession_number,
        "study_instance_uid": procedure.study_instance_uid,
    }


def test_what_nothing_contradicts_is_linked_by_itself() -> None:
    doctor = make_user("doctor", role="doctor")
    procedure = ordered(ordering_physician=doctor, referring_physician_name="HARTONO^DEWI")
    study = imaged(procedure, study_description="", referring_physician_name="")
    told = []
    study_linked.connect(receiver := lambda **facts: told.append(facts))
    try:
        case = case_of(study)
    finally:
        study_linked.disconnect(receiver)
    assert (case.state, case.rule, case.decided_by) == (CaseState.LINKED, "accession", None)
    assert (study.requested_procedure_ref, study.ordering_physician) == (procedure, doctor)
    assert (study.study_description, study.referring_physician_name) == ("CT Thorax", "HARTONO^DEWI")
    assert [(each["procedures"], each["before"]) for each in told] == [([procedure], [])]
    assert AuditEvent.objects.get(event="study.link").agent == "reconciliation: accession"
    version = study.version
    assert case_of(study).version == case.version
    assert study.version == version


def test_the_number_counts_as_received_but_for_blanks_and_its_issuer() -> None:
    procedure = ordered(accession_number="A-77", issuer_of_accession_number="RIS1")
    assert case_of(imaged(procedure, accession_number=" A-77 ")).state == CaseState.LINKED
    other = ordered(accession_number="A-78", issuer_of_accession_number="RIS1")
    of_other = imaged(other, accession_number="A-78", issuer_of_accession_number="RIS2")
    assert case_of(of_other).state == CaseState.OPEN
    assert case_of(imaged(ordered(accession_number="a-79"), accession_number="A-79")).state == CaseState.OPEN


def test_a_study_uid_and_request_attributes_link_too() -> None:
    by_uid, by_request = ordered(), ordered()
    study = imaged(by_uid, accession_number="", study_instance_uid=by_uid.study_instance_uid)
    assert case_of(study).rule == "study-uid"
    assert study.accession_number == by_uid.order_ref.accession_number
    study = imaged(by_request, accession_number="", request_attributes=[named_by(by_request)])
    assert case_of(study).rule == "request-attributes"


def test_one_study_may_serve_several_orders() -> None:
    first = ordered()
    second = ordered(first.order_ref.patient_ref, body_part_examined="ABDOMEN")
    study = imaged(first, request_attributes=[named_by(first), named_by(second)])
    case = case_of(study)
    assert (study.requested_procedure_ref, list(case.also_serves.all())) == (first, [second])


def test_what_the_device_reported_says_which_step_it_was(rina: User) -> None:
    procedure = ordered()
    study = imaged(procedure, accession_number="")
    assert case_of(study).state == CaseState.OPEN
    performed = PerformedProcedureStep.objects.create(
        site=study.site, sop_instance_uid="2.25.1", study_instance_uid=study.study_instance_uid,
        performed_procedure_step_status="COMPLETED",
    )  # fmt: skip
    step = procedure.scheduled_procedure_steps.get()
    PerformedStepReference.objects.create(performed_ref=performed, scheduled_ref=step)
    performed.save()
    run_due()
    study.refresh_from_db()
    assert study.requested_procedure_ref == procedure
    other = ordered()
    wrong = imaged(other)
    PerformedProcedureStep.objects.create(
        site=study.site, sop_instance_uid="2.25.2", study_instance_uid=wrong.study_instance_uid,
        performed_procedure_step_status="DISCONTINUED",
        discontinuation_reason=[["110514", "DCM", "Incorrect worklist entry selected"]],
    )  # fmt: skip
    assert case_of(wrong).reason == CaseReason.WRONG_ENTRY


def test_a_wrong_entry_that_the_device_reports_later_takes_a_link_back(rina: User) -> None:
    procedure = ordered()
    study = imaged(procedure)
    assert case_of(study).state == CaseState.LINKED
    PerformedProcedureStep.objects.create(
        site=study.site, sop_instance_uid="2.25.3", study_instance_uid=study.study_instance_uid,
        performed_procedure_step_status="DISCONTINUED", discontinuation_reason=[["110514", "DCM", "Wrong entry"]],
    )  # fmt: skip
    run_due()
    case = ReconciliationCase.objects.get()
    study.refresh_from_db()
    assert (case.state, case.reason, study.requested_procedure_ref) == (CaseState.OPEN, CaseReason.WRONG_ENTRY, None)
    decision = link(who=rina, case=case, procedure=procedure)
    run_due()
    decision.refresh_from_db()
    assert decision.undone_at is None


def test_an_order_made_for_images_does_not_hide_the_one_that_was_placed() -> None:
    alone = make_requested_procedure(make_order(origin=OrderOrigin.IMAGES))
    assert case_of(imaged(alone, study_instance_uid=alone.study_instance_uid)).state == CaseState.LINKED
    patient = make_patient(None, "SITOMPUL^EKO", patient_birth_date="19330303")
    placed = ordered(patient, accession_number="A-1001001")
    made = make_requested_procedure(make_order(patient, accession_number="A-1001007", origin=OrderOrigin.IMAGES))
    case = case_of(imaged(made, study_instance_uid=made.study_instance_uid))
    assert (case.state, case.reason) == (CaseState.OPEN, CaseReason.ACCESSION_UNKNOWN)
    assert case.candidates[0]["procedure"] == placed.pk


def contradiction(name: str) -> tuple[Study, CaseReason]:
    """Images that name an order in full, but for one thing."""
    patient = make_patient("MRN-7", "LESTARI^DEWI", patient_birth_date="19850405", patient_sex="F")
    match name:
        case "patient":
            return imaged(ordered(), patient=patient), CaseReason.PATIENT_DIFFERS
        case "birth date":
            study = imaged(ordered(patient))
            said = {"00100010": "LESTARI^DEWI", "00100020": "MRN-7", "00100030": "19990101"}
            study.attributes = {tag: {"vr": "LO", "Value": [value]} for tag, value in said.items()}
            study.save()
            return study, CaseReason.PATIENT_DIFFERS
        case "modality":
            return imaged(ordered(patient), modality="MR"), CaseReason.MODALITY_DIFFERS
        case "no modality":
            return imaged(ordered(patient), modality="SR"), CaseReason.MODALITY_DIFFERS
        case "body part":
            return imaged(ordered(patient), body_part_examined="KNEE"), CaseReason.BODY_PART_DIFFERS
        case "called off":
            return imaged(ordered(patient, status=StepStatus.CANCELLED)), CaseReason.CALLED_OFF
        case "other day":
            start = timezone.now() - timedelta(days=2)
            return imaged(ordered(patient, scheduled_start=start)), CaseReason.OTHER_TIME
        case "orders":
            one, other = ordered(patient), ordered(patient)
            return imaged(one, study_instance_uid=other.study_instance_uid), CaseReason.ORDERS_CONTRADICT
        case "unknown number":
            procedure = ordered(patient)
            study = imaged(procedure, accession_number="X1", study_instance_uid=procedure.study_instance_uid)
            return study, CaseReason.ACCESSION_UNKNOWN
        case "two procedures":
            procedure = ordered(patient)
            make_step(make_requested_procedure(procedure.order_ref))
            return imaged(procedure), CaseReason.SEVERAL_PROCEDURES
        case "served":
            procedure = ordered(patient)
            assert reconcile_study(study=imaged(procedure).pk)
            return imaged(procedure), CaseReason.SERVED_ALREADY
        case "somebody else":
            device = make_device("CT-ROOM")
            mine = make_requested_procedure(make_order())
            make_step(mine, device=device, status=StepStatus.ARRIVED, scheduled_start=timezone.now())
            theirs = make_requested_procedure(make_order(patient))
            make_step(theirs, device=device, scheduled_start=timezone.now() + timedelta(hours=1))
            study = imaged(theirs)
            Series.objects.filter(study_ref=study).update(source_ae_title="CT-ROOM")
            return study, CaseReason.SOMEBODY_ELSE_ARRIVED
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "patient", "birth date", "modality", "no modality", "body part", "called off", "other day", "orders",
        "unknown number", "two procedures", "served", "somebody else",
    ],
)  # fmt: skip
def test_what_contradicts_waits_for_somebody_and_says_why(name: str) -> None:
    study, reason = contradiction(name)
    case = case_of(study)
    assert (case.state, case.reason) == (CaseState.OPEN, reason)
    assert study.requested_procedure_ref is None
    assert case.candidates


def test_images_without_any_order_are_unscheduled_unless_the_site_expects_one() -> None:
    study = make_study(series=1)
    assert reconcile_study(study=study.pk) is None
    settings = WorklistSettings.objects.create(site=default_site(), expects_orders=True)
    assert case_of(study).reason == CaseReason.NO_ORDER
    settings.expects_orders = False
    settings.save()
    assert reconcile_study(study=study.pk) is None
    assert not ReconciliationCase.objects.exists()


def test_a_site_may_want_to_be_asked_each_time() -> None:
    WorklistSettings.objects.create(site=default_site(), links_by_itself=False)
    procedure = ordered()
    case = case_of(imaged(procedure))
    assert case.state == CaseState.OPEN
    assert case.candidates[0]["procedure"] == procedure.pk


def test_orders_of_another_site_are_none() -> None:
    elsewhere = make_patient("MRN-9", site=make_site())
    procedure = ordered(elsewhere)
    study = imaged(procedure, patient=make_patient("MRN-9"), study_instance_uid=procedure.study_instance_uid)
    assert reconcile_study(study=study.pk) is None


def test_one_decision_moves_number_patient_and_order_and_undo_restores_all(rina: User) -> None:
    right, wrong = make_patient("MRN-2", "LESTARI^WAYAN"), make_patient("MRN-1", "SANTOSO^BUDI")
    doctor = make_user("doctor", role="doctor")
    procedure = ordered(right, ordering_physician=doctor)
    study = imaged(procedure, patient=wrong, accession_number="MISTYPED", study_description="Knee")
    case = case_of(study)
    decision = link(who=rina, case=case, procedure=procedure, version=case.version)
    study.refresh_from_db()
    assert (study.patient_ref, study.accession_number) == (right, procedure.order_ref.accession_number)
    assert (study.requested_procedure_ref, study.ordering_physician) == (procedure, doctor)
    assert study.study_description == "CT Thorax"
    assert study.overlay["attributes"]["00100020"]["Value"] == ["MRN-2"]
    case.refresh_from_db()
    assert (case.state, case.decided_by, case.decided_by_hand) == (CaseState.LINKED, rina, True)
    undo(who=rina, decision=decision)
    undo(who=rina, decision=decision)
    study.refresh_from_db()
    case.refresh_from_db()
    assert (study.patient_ref, study.accession_number, study.study_description) == (wrong, "MISTYPED", "Knee")
    assert (study.requested_procedure_ref, study.ordering_physician) == (None, None)
    assert study.overlay["attributes"]["00100020"]["Value"] == ["MRN-1"]
    assert case.state == CaseState.OPEN
    assert not Correction.objects.filter(undone_at=None).exists()
    run_due()
    study.refresh_from_db()
    assert study.requested_procedure_ref is None


def test_what_was_linked_by_itself_and_taken_back_is_not_linked_by_itself_again(rina: User) -> None:
    procedure = ordered()
    study = imaged(procedure)
    case = case_of(study)
    undo(who=rina, decision=case.decisions.get())
    assert case_of(study).state == CaseState.OPEN
    assert study.requested_procedure_ref is None
    order_placed.send(sender=Order, order=procedure.order_ref, procedures=[procedure])
    run_due()
    assert case_of(study).reason == CaseReason.TAKEN_BACK


def test_a_link_may_be_put_right_by_another_and_both_be_taken_back(rina: User) -> None:
    patient = make_patient()
    one, other = ordered(patient), ordered(patient)
    study = imaged(one)
    case = case_of(study)
    first = case.decisions.get()
    second = link(who=rina, case=case, procedure=other, version=case.version)
    with pytest.raises(Conflict):
        undo(who=rina, decision=first)
    undo(who=rina, decision=second)
    study.refresh_from_db()
    case.refresh_from_db()
    assert (study.requested_procedure_ref, study.accession_number) == (one, one.order_ref.accession_number)
    assert (case.state, case.rule) == (CaseState.LINKED, "accession")
    with pytest.raises(InvalidValue):
        link(who=rina, case=case, procedure=one)


def test_of_two_who_decide_the_second_is_told_who_was_first(rina: User) -> None:
    one, other = ordered(), ordered()
    case = case_of(imaged(one, accession_number="X"))
    seen = case.version
    budi = make_user("budi", role="radiographer")
    link(who=rina, case=case, procedure=one, version=seen)
    for decide in (
        lambda: link(who=budi, case=case, procedure=other, version=seen),
        lambda: dismiss(who=budi, case=case, version=seen),
        lambda: mark_wrong_patient(who=budi, case=case, version=seen),
    ):
        with pytest.raises(PreconditionFailed, match="rina"):
            decide()
    assert ReconciliationDecision.objects.count() == 1


def test_only_those_who_may_decide_and_only_at_their_site(rina: User) -> None:
    case = case_of(imaged(procedure := ordered(), accession_number="X"))
    with pytest.raises(NotAllowed):
        link(who=make_user("doctor", role="doctor"), case=case, procedure=procedure)
    stranger = make_user("stranger", site=make_site(), role="radiographer")
    with pytest.raises(NotFound):
        link(who=stranger, case=case, procedure=procedure)
    elsewhere = make_requested_procedure(make_order(make_patient(site=stranger.site)))
    with pytest.raises(NotFound):
        link(who=rina, case=case, procedure=elsewhere)


def test_images_without_an_order_get_one_when_they_shall_be_billed(rina: User) -> None:
    WorklistSettings.objects.create(site=default_site(), expects_orders=True)
    study = make_study(series=1, accession_number="CON-1")
    case = case_of(study)
    plain = dismiss(who=rina, case=case, version=case.version)
    case.refresh_from_db()
    assert case.state == CaseState.DISMISSED
    with pytest.raises(Conflict):
        dismiss(who=rina, case=case)
    undo(who=rina, decision=plain)
    billed = dismiss(who=rina, case=case, makes_order=True)
    study.refresh_from_db()
    order = Order.objects.get()
    assert study.requested_procedure_ref is not None and study.requested_procedure_ref.order_ref == order
    assert (order.origin, order.status, order.accession_number) == (
        OrderOrigin.IMAGES, OrderStatus.COMPLETED, "CON-1",
    )  # fmt: skip
    undo(who=rina, decision=billed)
    order.refresh_from_db()
    study.refresh_from_db()
    assert (order.status, order.accession_number, study.requested_procedure_ref_id) == (
        OrderStatus.ENTERED_IN_ERROR, "", None,
    )  # fmt: skip
    run_due()
    dismiss(who=rina, case=case, makes_order=True)


def test_images_of_the_wrong_patient_are_hidden_with_what_still_comes_and_come_back(site: Site, rina: User) -> None:
    WorklistSettings.objects.create(site=site, expects_orders=True)
    first = ct(InstanceNumber=1)
    stored = store(site, part10(first))
    run_due()
    study = Study.objects.get()
    case = ReconciliationCase.objects.get()
    decision = mark_wrong_patient(who=rina, case=case, version=case.version, reason="two babies swapped")
    late = ct(
        StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID, InstanceNumber=2, seed=1
    )
    store(site, part10(late))
    store(site, part10(first))
    run_due()
    assert not Study.objects.visible_to(rina).exists()
    assert Instance.objects.filter(removed_at=None).count() == 0
    removal = Removal.objects.get()
    assert (removal.code, removal.reason) == ("113038", "two babies swapped")
    undo(who=rina, decision=decision)
    study = Study.objects.visible_to(rina).get()
    assert study.number_of_study_related_instances == 2
    assert stored.study_instance_uid == study.study_instance_uid
    case.refresh_from_db()
    assert case.state == CaseState.OPEN


def test_a_new_study_is_matched_by_a_job_and_so_is_one_whose_order_comes_later(site: Site) -> None:
    patient = make_patient("MRN-5", "SANTOSO^BUDI")
    store(site, part10(ct(PatientID="MRN-5", AccessionNumber="ACC-5", StudyDate=DAY, StudyTime=TIME)))
    assert Job.objects.filter(kind="worklist.reconcile").count() == 1
    run_due()
    study = Study.objects.get()
    assert study.requested_procedure_ref is None
    procedure = ordered(patient, accession_number="ACC-5")
    order_placed.send(sender=Order, order=procedure.order_ref, procedures=[procedure])
    run_due()
    study.refresh_from_db()
    assert study.requested_procedure_ref == procedure


def test_only_the_first_image_of_a_study_asks_for_a_match(site: Site) -> None:
    first = ct()
    fixed = {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID}
    for image in (first, ct(**fixed, InstanceNumber=2), ct(**fixed, InstanceNumber=3)):
        store(site, part10(image))
    assert Job.objects.filter(kind="worklist.reconcile").count() == 1


def test_a_correction_by_hand_is_matched_and_one_that_leaves_the_order_opens_the_case(site: Site, rina: User) -> None:
    procedure = ordered()
    study = imaged(procedure, accession_number="MISTYPED")
    number = procedure.order_ref.accession_number
    corrections.correct_study(who=rina, study=study, version=study.version, changes={"AccessionNumber": number})
    run_due()
    study.refresh_from_db()
    assert study.requested_procedure_ref == procedure
    other = make_patient("MRN-8", "LESTARI^DEWI")
    corrections.assign_patient(who=rina, study=study, version=study.version, patient=other)
    run_due()
    case = ReconciliationCase.objects.get()
    study.refresh_from_db()
    assert (case.state, study.requested_procedure_ref_id) == (CaseState.OPEN, None)


def test_matching_costs_the_same_however_many_orders_there_are(django_assert_max_num_queries: Any) -> None:
    for _ in range(30):
        ordered()
    study = imaged(ordered(), accession_number="X")
    with django_assert_max_num_queries(32):
        reconcile_study(study=study.pk)
