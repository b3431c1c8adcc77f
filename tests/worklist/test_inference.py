"""Where no device reports, images do: examinations begin, end after their quiet period, and begin again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pydicom.uid import generate_uid

from pacs.models import Instance, Study, Volume
from pacs.services.availability import NOTIFY
from pacs.services.store import Source, receive_part10, store_instances
from radiology.models import Job, JobState, Order, OrderStatus, ProcedureStatus, RequestedProcedure, Site
from tests.factories import make_device, make_node, make_order, make_patient, make_requested_procedure, make_step
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10
from tests.worklist.arrivals import arrive, of_step, pass_time, state, work
from tests.worklist.mpps import begun, ended
from worklist.models import CompletedBy, ScheduledProcedureStep, StepStatus, StudyCompletion
from worklist.services import inference
from worklist.services.performed import create_performed, set_performed
from worklist.services.steps import move_step
from worklist.signals import study_completed, study_reopened

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _archive(db: None, settings: Any, tmp_path: Path) -> None:
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))


@pytest.fixture
def step() -> ScheduledProcedureStep:
    return make_step()


@pytest.fixture
def told() -> Iterator[list[tuple[str, list[str]]]]:
    """What was told of studies: what happened, and the performed steps behind it."""
    heard: list[tuple[str, list[str]]] = []

    def complete(study: Study, performed: Any, **_: Any) -> None:
        heard.append(("complete", [each.sop_instance_uid for each in performed]))

    def reopened(study: Study, **_: Any) -> None:
        heard.append(("reopened", []))

    study_completed.connect(complete)
    study_reopened.connect(reopened)
    yield heard
    study_completed.disconnect(complete)
    study_reopened.disconnect(reopened)


def test_images_start_complete_reopen_and_complete_again(
    step: ScheduledProcedureStep, told: list[tuple[str, list[str]]]
) -> None:
    arrive(of_step(step), of_step(step))
    assert Job.objects.filter(kind=inference.LOOK).count() == 1
    work()
    assert state(step) == (StepStatus.STARTED, True)
    assert step.started_at == Instance.objects.earliest("created_at").created_at
    pass_time(minutes=9)
    work()
    assert state(step) == (StepStatus.STARTED, True)
    arrive(of_step(step))
    pass_time(minutes=2)
    work()
    assert state(step) == (StepStatus.STARTED, True)  # the image a moment ago counts
    pass_time(minutes=10)
    work()
    assert state(step) == (StepStatus.COMPLETED, True)
    order = Order.objects.get()
    assert (order.status, order.requested_procedures.get().status) == (OrderStatus.COMPLETED, ProcedureStatus.COMPLETED)
    assert told == [("complete", [])]
    assert not Job.objects.filter(kind=inference.LOOK, state=JobState.PENDING).exists()
    pass_time(minutes=1)
    arrive(of_step(step))
    work()
    assert state(step) == (StepStatus.STARTED, True)
    assert told == [("complete", []), ("reopened", [])]
    pass_time(minutes=10)
    work()
    assert state(step) == (StepStatus.COMPLETED, True)
    assert told[-1] == ("complete", []) and StudyCompletion.objects.count() == 2
    assert StudyCompletion.objects.standing().get().number_of_instances == 4


def test_the_quiet_period_is_the_devices(step: ScheduledProcedureStep) -> None:
    slow = make_step(device=make_device("MR1", modality="MR", quiet_minutes=30))
    arrive(of_step(slow, Modality="MR"))
    work()
    pass_time(minutes=11)
    work()
    assert state(slow) == (StepStatus.STARTED, True)
    pass_time(minutes=20)
    work()
    assert state(slow) == (StepStatus.COMPLETED, True)


def test_a_device_that_sends_mpps_is_waited_for() -> None:
    step = make_step(device=make_device("CT1", sends_mpps=True))
    arrive(of_step(step))
    work()
    pass_time(minutes=20)
    work()
    assert state(step) == (StepStatus.SCHEDULED, False)
    assert StudyCompletion.objects.get().how == CompletedBy.QUIET


def test_what_a_device_reports_overrides_what_images_say(
    step: ScheduledProcedureStep, told: list[tuple[str, list[str]]]
) -> None:
    node = make_node("CT1")
    make_node("WS1", takes_availability=True)
    image = of_step(step)
    arrive(image)
    work()
    assert state(step) == (StepStatus.STARTED, True)
    made = create_performed(node=node, sop_instance_uid="", attributes=begun(step).to_json_dict())
    assert state(step) == (StepStatus.STARTED, False)
    pass_time(minutes=20)
    work()
    assert state(step) == (StepStatus.STARTED, False) and told == []
    missing = generate_uid()
    changes = ended(images=[image.SOPInstanceUID, missing]).to_json_dict()
    set_performed(node=node, sop_instance_uid=made.sop_instance_uid, attributes=changes)
    assert state(step) == (StepStatus.COMPLETED, False)
    Study.objects.update(updated_at=timezone.now())
    arrive(of_step(step, SOPInstanceUID=missing))  # the last that the device lists
    work()
    assert told == [("complete", [made.sop_instance_uid])]
    notice = Job.objects.get(kind=NOTIFY)  # the node that asks is told, with the performed step
    assert [each["sop_instance_uid"] for each in notice.arguments["steps"]] == [made.sop_instance_uid]
    completion = StudyCompletion.objects.get()
    assert (completion.how, completion.performed_step_uids) == (CompletedBy.MPPS, [made.sop_instance_uid])
    arrive(of_step(step))
    work()
    assert told[1:] == [("reopened", [])] and state(step) == (StepStatus.COMPLETED, False)
    pass_time(minutes=11)
    work()
    assert told[2:] == [("complete", [made.sop_instance_uid])]


def test_an_image_that_never_comes_does_not_keep_a_study_open(step: ScheduledProcedureStep) -> None:
    node = make_node("CT1")
    arrive(of_step(step))
    made = create_performed(node=node, sop_instance_uid="", attributes=begun(step).to_json_dict())
    changes = ended(images=[generate_uid()]).to_json_dict()
    set_performed(node=node, sop_instance_uid=made.sop_instance_uid, attributes=changes)
    work()
    assert not StudyCompletion.objects.exists()
    pass_time(minutes=11)
    work()
    assert StudyCompletion.objects.get().how == CompletedBy.QUIET


def test_images_of_another_patient_or_in_doubt_start_nothing(step: ScheduledProcedureStep) -> None:
    stranger = {"PatientID": "MRN-9", "PatientName": "LAIN^ORANG", "PatientBirthDate": "19440404"}
    arrive(of_step(step, **stranger))
    order = make_order(make_patient(), procedures=2)
    both = [make_step(each) for each in order.requested_procedures.order_by("pk")]
    arrive(of_step(both[0], StudyInstanceUID=generate_uid()))  # which of the two?
    revoked = make_step()
    Order.objects.filter(requested_procedures=revoked.requested_procedure_ref).update(status=OrderStatus.REVOKED)
    arrive(of_step(revoked))
    work()
    assert {state(each) for each in (step, revoked, *both)} == {(StepStatus.SCHEDULED, False)}


def test_an_accession_number_that_names_one_examination_is_enough(step: ScheduledProcedureStep) -> None:
    arrive(of_step(step, StudyInstanceUID=generate_uid()))
    work()
    assert state(step) == (StepStatus.STARTED, True)


def test_a_link_made_later_counts_for_images_that_were_there_before(step: ScheduledProcedureStep) -> None:
    patient = step.requested_procedure_ref.order_ref.patient_ref
    arrive(of_step(step, StudyInstanceUID=generate_uid(), AccessionNumber="TYPO"))
    work()
    assert state(step) == (StepStatus.SCHEDULED, False)
    pass_time(minutes=30)
    work()
    study = Study.objects.get(patient_ref=patient)
    study.requested_procedure_ref = step.requested_procedure_ref
    study.save()
    inference.look_now(studies=[study.pk])
    work()
    assert state(step) == (StepStatus.COMPLETED, True)


def test_what_a_person_took_back_stays_until_more_comes(step: ScheduledProcedureStep) -> None:
    arrive(of_step(step))
    work()
    move_step(step=step, to=StepStatus.SCHEDULED)
    pass_time(minutes=11)
    work()
    assert state(step) == (StepStatus.SCHEDULED, False)
    arrive(of_step(step))
    work()
    assert state(step) == (StepStatus.STARTED, True)


def test_what_a_person_decided_is_not_inferred_away(step: ScheduledProcedureStep) -> None:
    move_step(step=step, to=StepStatus.DISCONTINUED, reason="patient fainted")
    arrive(of_step(step))
    work()
    pass_time(minutes=11)
    work()
    assert state(step) == (StepStatus.DISCONTINUED, False)


def test_of_several_steps_those_that_the_images_name_begin() -> None:
    procedure = make_requested_procedure()
    steps = [make_step(procedure), make_step(procedure, modality="MR")]
    arrive(of_step(steps[0]))
    work()
    assert [state(each)[0] for each in steps] == [StepStatus.STARTED, StepStatus.SCHEDULED]
    assert RequestedProcedure.objects.get().status == ProcedureStatus.IN_PROGRESS


def test_a_batch_costs_one_more_statement(django_assert_max_num_queries: Any) -> None:
    source = Source.of_site(Site.objects.default(), "CT1")
    first = ct()
    store(source.site, part10(first))
    received = []
    for _ in range(20):
        image = ct(StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID)
        with receive_part10(source=source) as incoming:
            incoming.write(part10(image))
            received.append(incoming.finish())
    with django_assert_max_num_queries(12):
        store_instances(received=received)
    assert Job.objects.filter(kind=inference.LOOK).count() == 1
