"""MPPS that contradicts the schedule, comes from nowhere, or is hostile: nothing lost, nothing wrong silently."""

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.utils import timezone
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import build_context
from pynetdicom.dimse_primitives import N_CREATE

from pacs.models import ApplicationEntity
from radiology.models import Order, OrderOrigin, OrderStatus, Patient, ProcedureStatus, RequestedProcedure
from radiology.services.merges import merge_patients
from tests.daemons import Daemon, dimse_daemon
from tests.factories import (
    make_device,
    make_node,
    make_order,
    make_patient,
    make_requested_procedure,
    make_step,
    make_user,
)
from tests.pacs.dimse_client import associate
from tests.parallel import at_once
from tests.worklist.mpps import MPPS, Modality, begun, ended, item, modality, moment, of, reason
from worklist.models import PerformedProcedureStep, PerformedWarning, ScheduledProcedureStep, StepStatus
from worklist.services.steps import move_step

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


def status_of(step: ScheduledProcedureStep) -> str:
    return ScheduledProcedureStep.objects.get(pk=step.pk).status


def only() -> PerformedProcedureStep:
    return PerformedProcedureStep.objects.get()


def test_a_wrong_worklist_entry_is_taken_back(ct1: Modality, step: ScheduledProcedureStep) -> None:
    move_step(step=step, to=StepStatus.ARRIVED)
    uid = generate_uid()
    assert ct1.create(begun(step), uid).Status == 0
    assert status_of(step) == StepStatus.STARTED
    why = ended("DISCONTINUED", PerformedProcedureStepDiscontinuationReasonCodeSequence=reason("110514"))
    assert ct1.set(why, uid).Status == 0
    assert status_of(step) == StepStatus.ARRIVED
    order = Order.objects.get()
    assert (order.status, order.requested_procedures.get().status) == (OrderStatus.ACTIVE, ProcedureStatus.REQUESTED)
    row = only()
    assert row.is_wrong_entry and row.warnings == [PerformedWarning.WRONG_ENTRY]
    again = generate_uid()
    assert ct1.create(begun(step), again).Status == 0 and ct1.set(ended(), again).Status == 0
    assert status_of(step) == StepStatus.COMPLETED


def test_what_nobody_ordered_becomes_an_order_of_its_patient(ct1: Modality) -> None:
    make_device("CT1")
    uid, study = generate_uid(), generate_uid()
    unknown = item(StudyInstanceUID=study, ScheduledProcedureStepID="OLD-77", AccessionNumber="EXT-5")
    assert ct1.create(begun(ScheduledStepAttributesSequence=[unknown]), uid).Status == 0
    order = Order.objects.get()
    procedure = order.requested_procedures.get()
    step = procedure.scheduled_procedure_steps.get()
    assert (order.origin, order.accession_number, order.patient_ref.patient_id) == (
        OrderOrigin.IMAGES,
        "EXT-5",
        "MRN-U1",
    )
    assert (procedure.study_instance_uid, procedure.requested_procedure_description) == (study, "CT Thorax")
    assert (step.status, step.modality, step.device) == (StepStatus.STARTED, "CT", step.room.devices.get())
    assert only().is_unscheduled and only().patient_ref == order.patient_ref and only().warnings == []
    second = generate_uid()
    assert ct1.create(begun(ScheduledStepAttributesSequence=[unknown]), second).Status == 0  # the same study goes on
    assert ct1.set(ended(), uid).Status == 0
    assert status_of(step) == StepStatus.STARTED
    assert ct1.set(ended(), second).Status == 0
    assert status_of(step) == StepStatus.COMPLETED
    assert Order.objects.get().status == OrderStatus.COMPLETED


def test_one_unscheduled_study_from_many_sides_is_one_order(dimse_server: Daemon, node: ApplicationEntity) -> None:
    study = generate_uid()

    def make(_: int) -> int:
        with modality(dimse_server.port) as ct1:
            attributes = begun(ScheduledStepAttributesSequence=[item(StudyInstanceUID=study)])
            return int(ct1.create(attributes, generate_uid()).Status)

    assert at_once(make, threads=4) == [0] * 4
    assert (Order.objects.count(), ScheduledProcedureStep.objects.count(), Patient.objects.count()) == (1, 1, 1)
    assert PerformedProcedureStep.objects.filter(references__scheduled_ref__isnull=False).count() == 4


def test_an_ambiguous_identity_gets_a_patient_of_its_own(ct1: Modality) -> None:
    known = make_patient("MRN-U1", "LAIN^SEKALI", patient_birth_date="19500505")
    study = generate_uid()
    assert ct1.create(begun(ScheduledStepAttributesSequence=[item(StudyInstanceUID=study)])).Status == 0
    patient = only().patient_ref
    assert patient is not None and patient != known and patient.provisional_for == study
    assert ct1.create(begun(PatientID="", PatientName="TN. X")).Status == 0
    assert Patient.objects.filter(patient_id="").get().is_provisional


def test_the_examination_of_another_patient_is_not_moved(ct1: Modality, step: ScheduledProcedureStep) -> None:
    other = make_patient("MRN-OTHER", "RAHMAN^ALI", patient_birth_date="19660606")
    identity = {"PatientID": "MRN-OTHER", "PatientName": "RAHMAN^ALI", "PatientBirthDate": "19660606"}
    uid = generate_uid()
    assert ct1.create(begun(step, **identity), uid).Status == 0
    row = only()
    assert row.warnings == [PerformedWarning.OTHER_PATIENT] and row.is_unscheduled and row.patient_ref == other
    assert row.references.get().scheduled_ref is None
    assert row.references.get().scheduled_procedure_step_id == step.scheduled_procedure_step_id
    assert ct1.set(ended(), uid).Status == 0
    assert status_of(step) == StepStatus.SCHEDULED and Order.objects.count() == 1
    # The same with a study of its own: an order of the other patient is made for that.
    own = item(step, StudyInstanceUID=generate_uid())
    assert ct1.create(begun(step, **identity, ScheduledStepAttributesSequence=[own])).Status == 0
    assert status_of(step) == StepStatus.SCHEDULED
    assert Order.objects.get(origin=OrderOrigin.IMAGES).patient_ref == other


def test_a_number_of_an_older_system_is_not_ours(ct1: Modality, step: ScheduledProcedureStep) -> None:
    stale = item(step, StudyInstanceUID=generate_uid(), AccessionNumber="OLD-1", RequestedProcedureID="9")
    assert ct1.create(begun(step, ScheduledStepAttributesSequence=[stale])).Status == 0
    assert status_of(step) == StepStatus.SCHEDULED and only().is_unscheduled


def test_steps_are_found_by_accession_or_study_where_the_step_id_is_missing(ct1: Modality) -> None:
    order = make_order(make_patient(), procedures=2)
    by_accession, by_study = [make_step(each) for each in order.requested_procedures.order_by("pk")]
    found = item(by_accession, ScheduledProcedureStepID="", StudyInstanceUID=generate_uid())
    assert ct1.create(begun(by_accession, ScheduledStepAttributesSequence=[found])).Status == 0
    assert (status_of(by_accession), status_of(by_study)) == (StepStatus.STARTED, StepStatus.SCHEDULED)
    study = item(StudyInstanceUID=by_study.requested_procedure_ref.study_instance_uid)
    assert ct1.create(begun(by_study, ScheduledStepAttributesSequence=[study])).Status == 0
    assert status_of(by_study) == StepStatus.STARTED


def test_an_order_without_a_step_gets_one(ct1: Modality) -> None:
    procedure = make_requested_procedure()
    patient = procedure.order_ref.patient_ref
    attributes = begun(
        ScheduledStepAttributesSequence=[item(StudyInstanceUID=procedure.study_instance_uid)],
        PatientID=patient.patient_id,
        PatientName=patient.patient_name,
        PatientBirthDate=patient.patient_birth_date,
    )
    assert ct1.create(attributes).Status == 0
    procedure.refresh_from_db()
    assert (procedure.status, Order.objects.count()) == (ProcedureStatus.IN_PROGRESS, 1)


def test_two_devices_at_one_step_are_both_kept_and_the_second_is_flagged(
    dimse_server: Daemon, ct1: Modality, step: ScheduledProcedureStep
) -> None:
    make_node("CT2")
    first, second = generate_uid(), generate_uid()
    assert ct1.create(begun(step), first).Status == 0
    with modality(dimse_server.port, calling="CT2") as ct2:
        assert ct2.create(begun(step, PerformedStationAETitle="CT2"), second).Status == 0
        assert ct2.set(ended(), second).Status == 0
    assert status_of(step) == StepStatus.STARTED
    assert ct1.set(ended(), first).Status == 0
    assert status_of(step) == StepStatus.COMPLETED
    rows = {row.sop_instance_uid: row.warnings for row in PerformedProcedureStep.objects.all()}
    assert rows == {first: [], second: [PerformedWarning.STEP_TAKEN]}


def test_what_is_performed_though_it_was_called_off_counts_and_is_flagged(
    ct1: Modality, step: ScheduledProcedureStep
) -> None:
    uid = generate_uid()
    assert ct1.create(begun(step), uid).Status == 0
    # As when the desk takes it back and cancels while the device is at work.
    move_step(step=step, to=StepStatus.SCHEDULED)
    move_step(step=step, to=StepStatus.CANCELLED, reason="ordered twice")
    assert Order.objects.get().status == OrderStatus.REVOKED
    assert ct1.set(ended(), uid).Status == 0
    assert status_of(step) == StepStatus.COMPLETED and only().warnings == [PerformedWarning.CANCELLED]
    assert Order.objects.get().status == OrderStatus.COMPLETED


def test_a_room_that_was_given_away_does_not_stop_the_device(ct1: Modality) -> None:
    device = make_device("CT1")
    start = timezone.now() + timedelta(hours=1)
    step = make_step(device=device, scheduled_start=start)
    move_step(step=step, to=StepStatus.COMPLETED)
    make_step(device=device, scheduled_start=start)
    assert ct1.create(begun(step)).Status == 0
    step.refresh_from_db()
    assert (step.status, step.room) == (StepStatus.STARTED, None)
    assert only().warnings == [PerformedWarning.ROOM_TAKEN]


def test_a_device_that_leaves_out_the_number_means_the_patient_of_the_step(
    ct1: Modality, step: ScheduledProcedureStep
) -> None:
    identity = {"PatientID": "", "PatientName": step.requested_procedure_ref.order_ref.patient_ref.patient_name}
    assert ct1.create(begun(step, **identity)).Status == 0
    assert status_of(step) == StepStatus.STARTED and only().warnings == []


def test_a_patient_merged_meanwhile_is_the_same_person(ct1: Modality, step: ScheduledProcedureStep) -> None:
    """The device still shows the number under which the patient was known when it asked for its worklist."""
    attributes, uid = begun(step), generate_uid()
    merged = step.requested_procedure_ref.order_ref.patient_ref
    survivor = make_patient("MRN-NEW", merged.patient_name)
    merge_patients(who=make_user(is_superuser=True), survivor=survivor, merged=merged, reason="registered twice")
    assert ct1.create(attributes, uid).Status == 0
    assert status_of(step) == StepStatus.STARTED
    assert only().warnings == [PerformedWarning.FORMER_NUMBER] and only().patient_ref == survivor
    unscheduled = begun(PatientID=merged.patient_id, PatientName=merged.patient_name, PatientBirthDate="19700101")
    assert ct1.create(unscheduled).Status == 0
    assert Order.objects.get(origin=OrderOrigin.IMAGES).patient_ref == survivor


def test_a_clock_that_is_a_day_off_is_flagged(ct1: Modality, step: ScheduledProcedureStep) -> None:
    yesterday = timezone.now() - timedelta(days=1)
    assert ct1.create(begun(step, **moment("Start", yesterday))).Status == 0
    row = only()
    step.refresh_from_db()
    assert row.warnings == [PerformedWarning.CLOCK]
    assert row.started_at is not None and row.started_at < row.created_at - timedelta(hours=23)
    assert step.started_at == row.created_at  # the server's clock counts


NAMES = {
    "GB18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "ISO 2022 JP": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Cyrillic": ("ISO_IR 144", "Люкceмбypг"),
    "UTF-8": ("ISO_IR 192", "Yamada^Tarou=山田^太郎"),
    "long": ("ISO_IR 192", "É" * 200),
}


@pytest.mark.parametrize(("character_set", "name"), NAMES.values(), ids=NAMES)
def test_names_in_any_character_set(ct1: Modality, character_set: Any, name: str) -> None:
    uid = generate_uid()
    attributes = begun(SpecificCharacterSet=character_set, PatientName=name, PatientID="MRN-N")
    assert ct1.create(attributes, uid).Status == 0
    patient = only().patient_ref
    assert patient is not None and patient.patient_name == name
    status, found = ct1.get(uid, [0x00080005, 0x00100010])
    assert status == 0 and str(found.PatientName) == name and found.SpecificCharacterSet == "ISO_IR 192"


def nested(depth: int) -> bytes:
    """A sequence in a sequence in a sequence."""
    head = b"\x40\x00\x70\x02SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return head * depth + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth


def items_of(number: int) -> bytes:
    """A sequence of so many empty items."""
    content = b"\xfe\xff\x00\xe0\0\0\0\0" * number
    return b"\x40\x00\x40\x03SQ\x00\x00" + len(content).to_bytes(4, "little") + content


HOSTILE = {
    "noise": b"\xff" * 1000,
    "truncated": b"\x08\x00\x60\x00CS\xff\x00CT",
    "nested 30": nested(30),
    "nested 300": nested(300),
    "many items": items_of(300_000),
    "too large": b"\x40\x00\x80\x02UT\x00\x00\x00\x00\x60\x00" + b"x" * 0x600000,
    "text where items belong": b"\x40\x00\x70\x02LO\x04\x00evil",
}


def test_hostile_data_sets_are_refused_and_the_daemon_lives(dimse_server: Daemon, node: ApplicationEntity) -> None:
    before = dimse_server.pids
    for name, raw in HOSTILE.items():
        association = associate(dimse_server.port, [build_context(MPPS, ExplicitVRLittleEndian)], calling="CT1")
        request = N_CREATE()
        request.MessageID, request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = 1, MPPS, generate_uid()
        request.AttributeList = BytesIO(raw)
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, response = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert response is not None and response.Status in {0x0110, 0x0120, 0x0213}, name
        association.release()
    assert not PerformedProcedureStep.objects.exists()
    assert dimse_server.pids == before


def test_wrong_types_and_uids_are_refused(ct1: Modality, step: ScheduledProcedureStep) -> None:
    wrong = [item(step, StudyInstanceUID=uid) for uid in ("../../etc", "1" * 65)]
    for each in wrong:
        assert ct1.create(begun(step, ScheduledStepAttributesSequence=[each])).Status == 0x0106
    assert ct1.create(begun(step), "1.2.x").Status in {0x0106, 0x0117}
    uid = generate_uid()
    assert ct1.create(begun(step, PatientName="^" * 60, PerformedProcedureStepID="P" * 16), uid).Status == 0
    bad = ended(images=["no uid"])
    assert ct1.set(bad, uid).Status == 0x0106
    assert ct1.set(ended(series="no uid"), uid).Status == 0x0106
    assert ct1.set(of(TotalTimeOfFluoroscopy=30, PerformedProcedureStepEndDate="99999999"), uid).Status == 0x0106
    assert status_of(step) == StepStatus.STARTED


def test_what_was_acknowledged_survives_kill_9(start: Any, committed_db: None) -> None:
    make_node("CT1")
    steps = [make_step() for _ in range(3)]
    daemon = start(dimse_daemon())
    uids = [generate_uid() for _ in steps]
    with modality(daemon.port) as ct1:
        for uid, step in zip(uids, steps, strict=True):
            assert ct1.create(begun(step), uid).Status == 0
        assert ct1.set(ended(), uids[0]).Status == 0
        daemon.kill()
    assert set(PerformedProcedureStep.objects.values_list("sop_instance_uid", flat=True)) == set(uids)
    assert [status_of(step) for step in steps] == ["COMPLETED", "STARTED", "STARTED"]
    assert RequestedProcedure.objects.filter(status=ProcedureStatus.IN_PROGRESS).count() == 2
