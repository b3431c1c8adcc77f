"""A device that never closes its performed step keeps neither its study nor its examination open for ever."""

from pathlib import Path
from typing import Any

import pytest

from pacs.models import ApplicationEntity, Instance, Volume
from radiology.models import Job, JobState, OrderStatus
from tests.factories import make_device, make_node, make_step
from tests.worklist.arrivals import arrive, of_step, pass_time, state, work
from tests.worklist.mpps import begun, ended, of
from worklist.models import (
    CompletedBy,
    Device,
    PerformedProcedureStep,
    PerformedWarning,
    ScheduledProcedureStep,
    StepStatus,
    StudyCompletion,
)
from worklist.services import inference
from worklist.services.performed import create_performed, set_performed
from worklist.services.steps import move_step

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _archive(db: None, settings: Any, tmp_path: Path) -> None:
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))


@pytest.fixture
def device() -> Device:
    return make_device("CT1", sends_mpps=True)


@pytest.fixture
def node() -> ApplicationEntity:
    return make_node("CT1")


@pytest.fixture
def step(device: Device) -> ScheduledProcedureStep:
    return make_step(device=device)


def begin(node: ApplicationEntity, step: ScheduledProcedureStep) -> PerformedProcedureStep:
    return create_performed(node=node, sop_instance_uid="", attributes=begun(step).to_json_dict())


def say(node: ApplicationEntity, performed: PerformedProcedureStep, changes: Any) -> PerformedProcedureStep:
    return set_performed(node=node, sop_instance_uid=performed.sop_instance_uid, attributes=changes.to_json_dict())


def wait(**by: float) -> None:
    pass_time(**by)
    work()


@pytest.fixture
def given_up(node: ApplicationEntity, step: ScheduledProcedureStep) -> PerformedProcedureStep:
    """Begun, one image, and then nothing for thirteen hours."""
    performed = begin(node, step)
    arrive(of_step(step))
    work()
    wait(hours=13)
    assert state(step) == (StepStatus.COMPLETED, True)
    return performed


def test_it_is_given_up_after_a_long_time_without_image_or_report(
    node: ApplicationEntity, step: ScheduledProcedureStep
) -> None:
    performed = begin(node, step)
    arrive(of_step(step))
    work()
    wait(hours=11.9)
    assert state(step) == (StepStatus.STARTED, False) and not StudyCompletion.objects.exists()
    wait(hours=0.2)
    assert state(step) == (StepStatus.COMPLETED, True)
    assert step.ended_at == Instance.objects.get().created_at
    step.requested_procedure_ref.order_ref.refresh_from_db()
    assert step.requested_procedure_ref.order_ref.status == OrderStatus.COMPLETED
    completion = StudyCompletion.objects.get()
    assert (completion.how, completion.performed_step_uids) == (CompletedBy.QUIET, [performed.sop_instance_uid])
    performed.refresh_from_db()
    assert performed.warnings == [PerformedWarning.ABANDONED] and not performed.has_ended
    assert performed.warning_texts == ["The device never reported its end."]
    assert not Job.objects.filter(kind=inference.LOOK, state=JobState.PENDING).exists()


def test_each_image_and_each_report_begins_the_time_anew(node: ApplicationEntity, step: ScheduledProcedureStep) -> None:
    performed = begin(node, step)
    arrive(of_step(step))
    work()
    wait(hours=11)
    arrive(of_step(step))
    work()
    wait(hours=11)
    say(node, performed, of(PerformedProcedureStepDescription="CT Thorax, second phase"))
    work()
    wait(hours=11)
    assert state(step) == (StepStatus.STARTED, False) and not StudyCompletion.objects.exists()
    wait(hours=2)
    assert state(step) == (StepStatus.COMPLETED, True) and StudyCompletion.objects.exists()


def test_the_time_is_the_devices(node: ApplicationEntity, device: Device, step: ScheduledProcedureStep) -> None:
    Device.objects.filter(pk=device.pk).update(abandoned_after_hours=48)
    begin(node, step)
    arrive(of_step(step))
    work()
    wait(hours=47)
    assert state(step) == (StepStatus.STARTED, False)
    wait(hours=2)
    assert state(step) == (StepStatus.COMPLETED, True)


def test_its_end_may_be_reported_all_the_same(
    node: ApplicationEntity, step: ScheduledProcedureStep, given_up: PerformedProcedureStep
) -> None:
    performed = say(node, given_up, ended(images=[Instance.objects.get().sop_instance_uid]))
    assert state(step) == (StepStatus.COMPLETED, False)
    assert step.ended_at == performed.ended_at
    assert performed.warnings == []
    work()
    assert StudyCompletion.objects.standing().count() == 1
    assert state(step) == (StepStatus.COMPLETED, False)


def test_an_end_that_says_discontinued_corrects_it(
    node: ApplicationEntity, step: ScheduledProcedureStep, given_up: PerformedProcedureStep
) -> None:
    say(node, given_up, ended("DISCONTINUED"))
    work()
    assert state(step) == (StepStatus.DISCONTINUED, False)


def test_a_report_that_it_goes_on_opens_study_and_examination_again(
    node: ApplicationEntity, step: ScheduledProcedureStep, given_up: PerformedProcedureStep
) -> None:
    performed = say(node, given_up, of(PerformedProcedureStepDescription="Still at work"))
    assert state(step) == (StepStatus.STARTED, False) and performed.warnings == []
    work()
    assert not StudyCompletion.objects.standing().exists()
    wait(hours=13)
    assert state(step) == (StepStatus.COMPLETED, True)
    assert StudyCompletion.objects.standing().count() == 1 and StudyCompletion.objects.count() == 2


def test_an_image_that_comes_after_all_is_a_sign_of_life(
    step: ScheduledProcedureStep, given_up: PerformedProcedureStep
) -> None:
    pass_time(minutes=1)
    arrive(of_step(step))
    work()
    assert state(step) == (StepStatus.STARTED, False)
    given_up.refresh_from_db()
    assert given_up.warnings == [] and not StudyCompletion.objects.standing().exists()
    wait(hours=13)
    assert state(step) == (StepStatus.COMPLETED, True) and StudyCompletion.objects.standing().exists()


def test_what_a_person_decided_meanwhile_stays(node: ApplicationEntity, step: ScheduledProcedureStep) -> None:
    begin(node, step)
    arrive(of_step(step))
    work()
    move_step(step=step, to=StepStatus.DISCONTINUED, reason="patient fainted")
    wait(hours=13)
    assert state(step) == (StepStatus.DISCONTINUED, False)
    assert StudyCompletion.objects.get().how == CompletedBy.QUIET


def test_another_performed_step_of_the_examination_still_has_its_say(
    node: ApplicationEntity, step: ScheduledProcedureStep, given_up: PerformedProcedureStep
) -> None:
    second = begin(node, step)
    assert state(step) == (StepStatus.STARTED, False)
    say(node, second, ended())
    assert state(step) == (StepStatus.COMPLETED, False)
    work()
    assert state(step) == (StepStatus.COMPLETED, False)


def test_a_step_that_begins_when_its_images_are_here_is_given_up_too(
    node: ApplicationEntity, step: ScheduledProcedureStep
) -> None:
    arrive(of_step(step))
    work()
    wait(minutes=11)
    performed = begin(node, step)
    work()
    assert state(step) == (StepStatus.STARTED, False)
    wait(hours=13)
    assert state(step) == (StepStatus.COMPLETED, True)
    performed.refresh_from_db()
    assert step.ended_at == performed.updated_at  # when its device was last heard of


def test_a_step_without_any_image_is_left_to_people(node: ApplicationEntity, step: ScheduledProcedureStep) -> None:
    begin(node, step)
    work()
    wait(hours=48)
    assert state(step) == (StepStatus.STARTED, False)
