"""A device that asks for storage commitment of all that it sent says with that that the study is complete."""

from pathlib import Path
from typing import Any

import pytest

from pacs.models import ApplicationEntity, Instance, Location, StorageCommitment, Volume
from pacs.services.commitment import CHECK, request_commitment
from pacs.services.commitment_check import run
from pacs.storage import folder_of
from radiology.models import OrderStatus
from radiology.services.jobs import HANDLERS
from tests.factories import make_device, make_node, make_step, uid
from tests.worklist.arrivals import arrive, of_step, pass_time, state, work
from tests.worklist.mpps import begun, ended
from worklist.models import CompletedBy, ScheduledProcedureStep, StepStatus, StudyCompletion
from worklist.services.performed import create_performed, set_performed

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _archive(db: None, settings: Any, tmp_path: Path) -> None:
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    assert HANDLERS[CHECK] is run


@pytest.fixture
def device() -> ApplicationEntity:
    return make_node("CT1")


@pytest.fixture
def step() -> ScheduledProcedureStep:
    return make_step()


def ask(node: ApplicationEntity, *images: Any) -> StorageCommitment:
    """Ask for commitment of images, and let it be checked."""
    row = request_commitment(
        node=node,
        transaction_uid=uid(),
        references=[(str(each.SOPClassUID), str(each.SOPInstanceUID)) for each in images],
    )
    work(CHECK)
    row.refresh_from_db()
    return row


def test_a_request_that_names_all_images_completes_the_study_and_its_examination(
    device: ApplicationEntity, step: ScheduledProcedureStep
) -> None:
    images = [of_step(step), of_step(step)]
    arrive(*images)
    work()
    assert not StudyCompletion.objects.exists()
    ask(device, *images)
    completion = StudyCompletion.objects.get()
    assert (completion.how, completion.number_of_instances) == (CompletedBy.COMMITMENT, 2)
    assert str(completion.get_how_display()) == "All images were committed to storage"
    assert state(step) == (StepStatus.COMPLETED, True)
    assert step.ended_at == Instance.objects.latest("created_at").created_at
    step.requested_procedure_ref.order_ref.refresh_from_db()
    assert step.requested_procedure_ref.order_ref.status == OrderStatus.COMPLETED


def test_a_later_image_reopens_it_until_that_is_committed_too(
    device: ApplicationEntity, step: ScheduledProcedureStep
) -> None:
    images = [of_step(step)]
    arrive(*images)
    ask(device, *images)
    pass_time(minutes=1)
    images.append(of_step(step))
    arrive(images[1])
    work()
    assert state(step) == (StepStatus.STARTED, True)
    assert StudyCompletion.objects.get().reopened_at is not None
    ask(device, images[1])  # only a part of the study
    assert not StudyCompletion.objects.standing().exists()
    ask(device, *images)
    assert StudyCompletion.objects.standing().get().how == CompletedBy.COMMITMENT
    assert state(step) == (StepStatus.COMPLETED, True)


def test_a_part_or_something_unsafe_completes_nothing(device: ApplicationEntity, step: ScheduledProcedureStep) -> None:
    images = [of_step(step), of_step(step)]
    arrive(*images)
    assert ask(device, images[0]).number_of_failed == 0
    assert ask(device, *images, of_step(step)).number_of_failed == 1  # the third never came
    assert not StudyCompletion.objects.exists()
    location = Location.objects.current().get(instance_ref__sop_instance_uid=images[1].SOPInstanceUID)
    path = folder_of(location.volume) / location.path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\x77")
    assert ask(device, *images).number_of_failed == 1
    assert not StudyCompletion.objects.exists()
    assert state(step) == (StepStatus.STARTED, True)


def test_only_who_sent_the_images_says_that_they_are_all(
    device: ApplicationEntity, step: ScheduledProcedureStep
) -> None:
    image = of_step(step)
    arrive(image)
    ask(make_node("WORKSTATION"), image)
    assert not StudyCompletion.objects.exists()
    ask(device, image)
    assert StudyCompletion.objects.get().how == CompletedBy.COMMITMENT


def test_a_performed_step_in_progress_has_the_say(device: ApplicationEntity, step: ScheduledProcedureStep) -> None:
    make_device("CT1", sends_mpps=True)
    image = of_step(step)
    made = create_performed(node=device, sop_instance_uid="", attributes=begun(step).to_json_dict())
    arrive(image)
    ask(device, image)
    assert not StudyCompletion.objects.exists() and state(step) == (StepStatus.STARTED, False)
    set_performed(
        node=device,
        sop_instance_uid=made.sop_instance_uid,
        attributes=ended("DISCONTINUED", images=[image.SOPInstanceUID]).to_json_dict(),
    )
    work()
    assert not StudyCompletion.objects.exists()
    ask(device, image)
    assert StudyCompletion.objects.get().how == CompletedBy.COMMITMENT
    assert state(step) == (StepStatus.DISCONTINUED, False)


def test_a_request_for_two_studies_completes_those_that_it_names_whole(device: ApplicationEntity) -> None:
    one, other = make_step(), make_step()
    images = [of_step(one), of_step(other), of_step(other)]
    arrive(*images)
    ask(device, *images[:2])
    assert [state(each)[0] for each in (one, other)] == [StepStatus.COMPLETED, StepStatus.STARTED]
    assert StudyCompletion.objects.get().study_ref.study_instance_uid == images[0].StudyInstanceUID
