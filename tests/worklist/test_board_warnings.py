"""What a modality reports that must not be overlooked stands on the examination's card, in words."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pydicom.uid import generate_uid
from pytest_django import DjangoAssertNumQueries

from pacs.models import ApplicationEntity
from radiology.models import Role, User
from tests.factories import (
    let_it_be_noon,
    make_device,
    make_node,
    make_order,
    make_patient,
    make_requested_procedure,
    make_step,
    make_user,
)
from tests.worklist.mpps import begun, ended, item, reason
from worklist.models import PerformedProcedureStep, ScheduledProcedureStep
from worklist.services import board as boards
from worklist.services.performed import create_performed, set_performed

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _noon() -> None:
    let_it_be_noon()


@pytest.fixture
def rina() -> User:
    return make_user("rina", role=Role.RADIOGRAPHER)


@pytest.fixture
def signed_in(client: Client, rina: User) -> Client:
    client.force_login(rina, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def node() -> ApplicationEntity:
    return make_node("CT1")


def begin(node: ApplicationEntity, step: ScheduledProcedureStep, **values: Any) -> PerformedProcedureStep:
    return create_performed(node=node, sop_instance_uid="", attributes=begun(step, **values).to_json_dict())


def end(node: ApplicationEntity, performed: PerformedProcedureStep, status: str, **values: Any) -> None:
    changes = ended(status, **values).to_json_dict()
    set_performed(node=node, sop_instance_uid=performed.sop_instance_uid, attributes=changes)


def discontinue(node: ApplicationEntity, performed: PerformedProcedureStep, *why: str) -> None:
    codes = reason(*why) if why else []
    end(node, performed, "DISCONTINUED", PerformedProcedureStepDiscontinuationReasonCodeSequence=codes)


def warnings(who: User) -> dict[int, list[str]]:
    found = boards.board(who=who, wanted=boards.BoardFilter(day=boards.day_of(who.site)))
    return {card.step.pk: card.warnings for card in found.cards}


def test_a_discontinued_step_says_why_until_it_is_performed_after_all(
    rina: User, node: ApplicationEntity, signed_in: Client
) -> None:
    step, other = make_step(), make_step()
    discontinue(node, begin(node, step), "110501", "Equipment failure")
    assert warnings(rina) == {step.pk: ["The device discontinued it: Equipment failure"], other.pk: []}
    page = signed_in.get(reverse("studies"), {"view": "board"}).content.decode()
    assert page.count("The device discontinued it: Equipment failure") == 1
    assert page.count("Equipment failure") == 1  # and not as the reason of the state once more
    assert 'exam-warning urgent"><svg' in page.replace("> <", "><")
    end(node, begin(node, step), "COMPLETED")
    assert warnings(rina)[step.pk] == []


def test_one_that_is_discontinued_without_a_reason_says_so(rina: User, node: ApplicationEntity) -> None:
    step = make_step()
    discontinue(node, begin(node, step))
    assert warnings(rina)[step.pk] == ["The device discontinued it."]


def test_a_wrong_entry_of_the_worklist_stays_in_sight(rina: User, node: ApplicationEntity) -> None:
    step = make_step()
    discontinue(node, begin(node, step), "110514")
    assert warnings(rina)[step.pk] == ["The device had chosen the wrong entry of its worklist."]
    begin(node, step)
    assert warnings(rina)[step.pk] == []


def test_a_device_that_names_another_patient_is_told_of_at_the_examination_that_it_meant(
    rina: User, node: ApplicationEntity
) -> None:
    step = make_step()
    begin(node, step, PatientID="MRN-OTHER", PatientName="LAIN^ORANG", PatientBirthDate="19330303")
    assert warnings(rina)[step.pk] == ["A device reported this examination for another patient."]
    begin(node, step)
    assert warnings(rina)[step.pk] == []


def test_an_examination_that_nobody_ordered_says_whose_entry_the_device_had(
    rina: User, node: ApplicationEntity
) -> None:
    step = make_step()
    mine = {"PatientID": "MRN-OTHER", "PatientName": "LAIN^ORANG", "PatientBirthDate": "19330303"}
    begin(node, step, **mine, ScheduledStepAttributesSequence=[item(step, StudyInstanceUID=generate_uid())])
    made = ScheduledProcedureStep.objects.exclude(pk=step.pk).get()
    assert warnings(rina)[made.pk] == ["It names an examination of another patient."]


def test_what_is_of_no_consequence_today_is_not_on_the_board(rina: User, node: ApplicationEntity) -> None:
    step = make_step()
    performed = begin(node, step)
    PerformedProcedureStep.objects.filter(pk=performed.pk).update(warnings=["clock", "former-number", "room-taken"])
    assert warnings(rina)[step.pk] == []
    PerformedProcedureStep.objects.filter(pk=performed.pk).update(warnings=["abandoned", "clock"])
    assert warnings(rina)[step.pk] == ["The device never reported its end."]


def test_a_page_of_one_examination_does_not_say_it_twice(
    rina: User, node: ApplicationEntity, signed_in: Client
) -> None:
    step = make_step()
    discontinue(node, begin(node, step), "110514")
    page = signed_in.get(reverse("examination", args=[step.public_id])).content.decode()
    assert page.count("The device had chosen the wrong entry of its worklist.") == 1


def test_warnings_of_many_examinations_cost_no_more_queries(
    rina: User, node: ApplicationEntity, signed_in: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    device = make_device("CT1")
    start = boards.bounds(rina.site, boards.day_of(rina.site))[0]
    patient = make_patient()
    for number in range(30):
        procedure = make_requested_procedure(make_order(patient), duration=1)
        step = make_step(procedure, device=device, scheduled_start=start + timedelta(minutes=number))
        discontinue(node, begin(node, step), "110501", "Equipment failure")
    with django_assert_max_num_queries(14):
        page = signed_in.get(reverse("studies"), {"view": "board"}).content.decode()
    assert page.count("The device discontinued it: Equipment failure") == 30
