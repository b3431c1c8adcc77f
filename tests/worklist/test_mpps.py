"""MPPS over real sockets: what a device reports, what it is told, and what examinations and orders become."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from pacs.models import ApplicationEntity
from radiology.models import AuditEvent, OrderStatus, ProcedureStatus
from tests.daemons import Daemon
from tests.factories import make_node, make_order, make_patient, make_site, make_step
from tests.parallel import at_once
from tests.worklist.mpps import Modality, begun, ended, item, modality, of, reason
from worklist.models import PerformedProcedureStep, ScheduledProcedureStep, StepStatus
from worklist.services.dicom_json import tag_of

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def node(committed_db: None) -> ApplicationEntity:
    return make_node("CT1")


@pytest.fixture
def step(node: ApplicationEntity) -> ScheduledProcedureStep:
    return make_step()


@pytest.fixture
def ct1(dimse_server: Daemon, node: ApplicationEntity) -> Iterator[Modality]:
    with modality(dimse_server.port) as opened:
        yield opened


def states(step: ScheduledProcedureStep) -> tuple[str, str, str]:
    """What step, procedure and order are."""
    step = ScheduledProcedureStep.objects.select_related("requested_procedure_ref__order_ref").get(pk=step.pk)
    procedure = step.requested_procedure_ref
    return step.status, procedure.status, procedure.order_ref.status


def test_a_step_is_begun_changed_and_completed(ct1: Modality, step: ScheduledProcedureStep) -> None:
    uid, image = generate_uid(), generate_uid()
    status = ct1.create(begun(step), uid)
    assert (status.Status, status.AffectedSOPInstanceUID) == (0x0000, uid)
    assert states(step) == (StepStatus.STARTED, ProcedureStatus.IN_PROGRESS, OrderStatus.ACTIVE)
    assert ct1.set(of(PerformedProcedureStepDescription="CT Thorax native"), uid).Status == 0
    assert ct1.set(ended(images=[image]), uid).Status == 0
    assert states(step) == (StepStatus.COMPLETED, ProcedureStatus.COMPLETED, OrderStatus.COMPLETED)
    row = PerformedProcedureStep.objects.get()
    step.refresh_from_db()
    assert (row.performed_procedure_step_description, row.version) == ("CT Thorax native", 3)
    assert row.started_at == step.started_at and row.ended_at == step.ended_at and not step.is_inferred
    assert row.patient_ref == step.requested_procedure_ref.order_ref.patient_ref and row.warnings == []
    events = AuditEvent.objects.filter(event__startswith="dicom.mpps").order_by("id")
    assert [each.event for each in events] == ["dicom.mpps.create", "dicom.mpps.set", "dicom.mpps.set"]
    assert {each.study_instance_uid for each in events} == {step.requested_procedure_ref.study_instance_uid}


def test_what_the_standard_refuses_is_refused(ct1: Modality, step: ScheduledProcedureStep) -> None:
    uid = generate_uid()
    assert ct1.set(ended(), uid).Status == 0x0112  # before N-CREATE: the device tries again
    assert ct1.get(uid)[0] == 0x0112
    assert ct1.create(begun(step, PerformedProcedureStepStatus="COMPLETED"), uid).Status == 0x0106
    assert ct1.create(begun(step), uid).Status == 0
    assert ct1.create(begun(step), uid).Status == 0x0111
    assert ct1.set(of(PerformedProcedureStepStatus="DONE"), uid).Status == 0x0106
    for status in ("COMPLETED", "DISCONTINUED"):
        empty = ct1.set(ended(status, PerformedSeriesSequence=[]), uid)
        assert (empty.Status, empty.AttributeIdentifierList) == (0x0121, tag_of("PerformedSeriesSequence"))
    assert states(step)[0] == StepStatus.STARTED
    assert ct1.set(ended(), uid).Status == 0
    again = ct1.set(of(PerformedProcedureStepDescription="late"), uid)
    assert (again.Status, again.ErrorID) == (0x0110, 0xA710)
    assert PerformedProcedureStep.objects.get().performed_procedure_step_description == "CT Thorax"


REQUIRED = [
    "Modality",
    "ScheduledStepAttributesSequence",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
]


def test_required_attributes_are_named_when_they_are_missing(ct1: Modality, step: ScheduledProcedureStep) -> None:
    for keyword in REQUIRED:
        missing = ct1.create(begun(step, **{keyword: None}), generate_uid())
        assert (missing.Status, missing.AttributeIdentifierList) == (0x0120, tag_of(keyword)), keyword
        assert keyword in missing.ErrorComment
        empty = begun(step)
        empty[keyword].value = [] if keyword.endswith("Sequence") else ""
        assert ct1.create(empty, generate_uid()).Status == 0x0121, keyword
    without = begun(step, ScheduledStepAttributesSequence=[item(step, StudyInstanceUID="")])
    assert ct1.create(without, generate_uid()).Status == 0x0121
    for keyword in ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"):
        assert ct1.create(begun(step, **{keyword: "X"}), generate_uid()).Status == 0x0106
    assert not PerformedProcedureStep.objects.exists() and states(step)[0] == StepStatus.SCHEDULED


def test_what_devices_leave_out_is_not_required(ct1: Modality, step: ScheduledProcedureStep) -> None:
    some = begun(
        step, StudyID=None, PerformedLocation=None, ReferencedPatientSequence=None, PerformedSeriesSequence=None,
        PatientSex=None, SpecificCharacterSet=None,
    )  # fmt: skip
    uid = generate_uid()
    assert ct1.create(some, uid).Status == 0
    assert ct1.set(ended("COMPLETED", PerformedSeriesSequence=None), uid).Status == 0x0120
    assert ct1.set(ended(), uid).Status == 0


def test_without_a_uid_the_device_is_given_one(ct1: Modality, step: ScheduledProcedureStep) -> None:
    status = ct1.create(begun(step))
    made = PerformedProcedureStep.objects.get().sop_instance_uid
    assert (status.Status, status.AffectedSOPInstanceUID) == (0, made)
    assert ct1.set(ended(), made).Status == 0


def test_all_or_some_attributes_are_given_back(dimse_server: Daemon, step: ScheduledProcedureStep) -> None:
    uid = generate_uid()
    with modality(dimse_server.port, syntax=ImplicitVRLittleEndian) as ct1:
        sent = begun(step, CommentsOnThePerformedProcedureStep="naïve", ScanningSequence=["SE", "GR"])
        assert ct1.create(sent, uid).Status == 0
        status, found = ct1.get(uid)
        assert status == 0
        sent.SpecificCharacterSet = "ISO_IR 192"
        assert found == sent
        status, found = ct1.get(uid, [tag_of("PatientID"), tag_of("PerformedProcedureStepStatus")])
        assert status == 0
        assert [each.keyword for each in found] == ["PatientID", "PerformedProcedureStepStatus"]
        status, found = ct1.get(uid, [tag_of("PatientID"), tag_of("PatientComments")])
        assert (status, len(found)) == (0x0001, 1)


def test_a_node_sees_and_changes_its_own_sites_steps_only(dimse_server: Daemon, step: ScheduledProcedureStep) -> None:
    make_node("MR9", site=make_site())
    make_node("WS1", may_report_steps=False)
    uid = generate_uid()
    with modality(dimse_server.port) as ct1:
        assert ct1.create(begun(step), uid).Status == 0
    with modality(dimse_server.port, calling="MR9") as other:
        assert other.get(uid)[0] == 0x0112
        assert other.set(ended(), uid).Status == 0x0112
    with modality(dimse_server.port, calling="WS1") as workstation:
        assert workstation.create(begun(step), generate_uid()).Status == 0x0124
        assert workstation.set(ended(), uid).Status == 0x0124
        assert workstation.get(uid)[0] == 0


def test_one_performed_step_answers_several(ct1: Modality, node: ApplicationEntity) -> None:
    order = make_order(make_patient(), procedures=2)
    both = [make_step(each) for each in order.requested_procedures.order_by("pk")]
    uid = generate_uid()
    assert ct1.create(begun(*both), uid).Status == 0
    assert {states(each)[0] for each in both} == {StepStatus.STARTED}
    assert ct1.set(ended(), uid).Status == 0
    assert {states(each) for each in both} == {("COMPLETED", "completed", "completed")}


def test_one_step_is_performed_in_several_and_appended_to(ct1: Modality, step: ScheduledProcedureStep) -> None:
    first, second, appended = generate_uid(), generate_uid(), generate_uid()
    for uid in (first, second):
        assert ct1.create(begun(step), uid).Status == 0
    assert ct1.set(ended(), first).Status == 0
    assert states(step)[0] == StepStatus.STARTED
    assert ct1.set(ended("DISCONTINUED"), second).Status == 0
    assert states(step) == ("COMPLETED", "completed", "completed")
    assert ct1.create(begun(step), appended).Status == 0
    assert states(step) == ("STARTED", "in-progress", "active")
    assert ct1.set(ended(), appended).Status == 0
    assert states(step) == ("COMPLETED", "completed", "completed")


def test_a_discontinued_step_says_why(ct1: Modality, step: ScheduledProcedureStep) -> None:
    uid = generate_uid()
    ct1.create(begun(step), uid)
    why = reason("110513", "Discontinued for unspecified reason")
    changes = ended("DISCONTINUED", PerformedProcedureStepDiscontinuationReasonCodeSequence=why)
    assert ct1.set(changes, uid).Status == 0
    step.refresh_from_db()
    assert (step.status, step.status_reason) == ("DISCONTINUED", "Discontinued for unspecified reason")
    assert states(step)[1:] == (ProcedureStatus.DISCONTINUED, OrderStatus.REVOKED)


def test_a_change_keeps_whose_examination_it_is(ct1: Modality, step: ScheduledProcedureStep) -> None:
    uid = generate_uid()
    ct1.create(begun(step), uid)
    other = of(PatientID="SOMEBODY-ELSE", PatientName="ELSE^SOMEBODY", Modality="MR", ContrastBolusAgent="Iohexol")
    assert ct1.set(other, uid).Status == 0
    row = PerformedProcedureStep.objects.get()
    assert row.attributes["00100020"]["Value"] == [step.requested_procedure_ref.order_ref.patient_ref.patient_id]
    assert (row.modality, row.attributes["00180010"]["Value"]) == ("CT", ["Iohexol"])


def test_many_at_once_make_one_and_lose_nothing(dimse_server: Daemon, step: ScheduledProcedureStep) -> None:
    uid = generate_uid()

    def make(number: int) -> int:
        with modality(dimse_server.port) as ct1:
            return int(ct1.create(begun(step), uid).Status)

    statuses = at_once(make, threads=4)
    assert sorted(statuses) == [0, 0x0111, 0x0111, 0x0111]
    keywords = ["ContrastBolusAgent", "ProtocolName", "BodyPartExamined", "CommentsOnThePerformedProcedureStep"]

    def change(number: int) -> int:
        with modality(dimse_server.port) as ct1:
            return int(ct1.set(of(**{keywords[number]: "CHEST"}), uid).Status)

    assert at_once(change, threads=4) == [0, 0, 0, 0]
    kept: dict[str, Any] = PerformedProcedureStep.objects.get().attributes
    assert all(f"{tag_of(keyword):08X}" in kept for keyword in keywords)
