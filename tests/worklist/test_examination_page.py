"""The page of one examination and the quality check of its images."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse
from pydicom.uid import generate_uid
from pytest_django import DjangoAssertNumQueries

from pacs.models import Series, Study
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import Role, User
from tests.factories import (
    make_device,
    make_order,
    make_patient,
    make_requested_procedure,
    make_room,
    make_step,
    make_study,
    make_user,
)
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10
from worklist.models import QualityCheck, ScheduledProcedureStep, StepStatus
from worklist.services import board as boards
from worklist.services import quality
from worklist.services.scheduling import schedule_step
from worklist.services.steps import move_step

pytestmark = pytest.mark.django_db


@pytest.fixture
def radiographer() -> User:
    return make_user("rina", role=Role.RADIOGRAPHER)


@pytest.fixture
def signed_in(client: Client, radiographer: User) -> Client:
    client.force_login(radiographer, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def step(radiographer: User) -> ScheduledProcedureStep:
    """An examination whose study has arrived: two series of two images."""
    patient = make_patient("MRN-1001", "SANTOSO^BUDI")
    step = make_step(make_requested_procedure(make_order(patient, accession_number="ACC1")))
    uid = generate_uid()
    for number in range(2):
        series = generate_uid()
        for image in range(2):
            place = {"StudyInstanceUID": uid, "SeriesInstanceUID": series, "SeriesNumber": number}
            store(radiographer.site, part10(ct(seed=image, InstanceNumber=image, **place)))
    Study.objects.update(requested_procedure_ref=step.requested_procedure_ref)
    return step


def test_the_page_of_its_order_leads_to_it_and_tells_its_history_by_the_local_clock(client: Client) -> None:
    device = make_device("CT1", room=make_room("CT1", name="Ruang CT"))
    order = make_order(make_patient("MRN-1001", "SANTOSO^BUDI"))
    make_step(make_requested_procedure(order), scheduled_start=None)
    step = make_step(make_requested_procedure(order), scheduled_start=None)
    start = datetime(2030, 3, 5, 20, 30, tzinfo=UTC)
    schedule_step(step=step, room=device.room, device=device, start=start, who=make_user("desk", role=Role.DESK))
    client.force_login(make_user("rina", role=Role.RADIOGRAPHER), "django.contrib.auth.backends.ModelBackend")
    page = client.get(f"/orders/{order.public_id}").content.decode()
    words = " ".join(page.split())
    assert reverse("examination", args=[step.public_id]) in page
    assert "6 Mar 2030 03:30 · Ruang CT · Scheduled" in words and "no time yet · Scheduled" in words
    assert "CT1 CT1 6 Mar 2030 03:30" in words and "2030-03-05T20:30" not in words


def test_everything_about_an_examination_stands_on_one_page(
    signed_in: Client, step: ScheduledProcedureStep, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    move_step(step=step, to=StepStatus.STARTED, who=None)
    with django_assert_max_num_queries(17):
        text = signed_in.get(reverse("examination", args=[step.public_id])).content.decode()
    for words in ("BUDI SANTOSO", "ACC1", "4 images", "In progress", "Images are good", "What the modality said"):
        assert words in text
    again = signed_in.get(reverse("examination", args=[step.public_id]))
    asks = {"HTTP_HX_REQUEST": "true", "HTTP_IF_NONE_MATCH": again.context["etag"]}
    unchanged = signed_in.get(reverse("examination", args=[step.public_id]), **asks)
    assert unchanged.status_code == 304 or unchanged.context["etag"] != again.context["etag"]


def test_rejected_images_disappear_are_counted_and_come_back(
    signed_in: Client, radiographer: User, step: ScheduledProcedureStep
) -> None:
    study = Study.objects.get()
    series = Series.objects.order_by("series_number")[0]
    values = {"study": study.study_instance_uid, "outcome": "rejected", "series": series.pk, "reason": "motion"}
    answer = signed_in.post(reverse("examination-quality", args=[step.public_id]), values, follow=True)
    assert "Rejected: 2 images are shown nowhere any more." in answer.content.decode()
    assert list(Series.objects.visible_to(radiographer).filter(study_ref=study).values_list("series_number")) == [(1,)]
    accepted = {**values, "outcome": "accepted", "series": []}
    signed_in.post(reverse("examination-quality", args=[step.public_id]), accepted)
    day = boards.day_of(radiographer.site)
    start, end = boards.bounds(radiographer.site, day)
    found = quality.repeat_analysis(who=radiographer, start=start, end=end)
    assert (found.accepted, found.rejected, found.by_reason) == (2, 2, [("Motion", 2)])
    assert found.rate == 50
    page = signed_in.get(reverse("repeats"), {"month": f"{day:%Y-%m}"}).content.decode()
    assert "50.0 %" in page
    check = QualityCheck.objects.get(outcome="rejected")
    signed_in.post(reverse("quality-undo", args=[check.pk]))
    assert Series.objects.visible_to(radiographer).filter(study_ref=study).count() == 2
    assert quality.repeat_analysis(who=radiographer, start=start, end=end).rejected == 0


def test_accepting_twice_is_one_check_and_new_images_want_another(
    radiographer: User, step: ScheduledProcedureStep
) -> None:
    study = Study.objects.get()
    first = quality.accept_images(who=radiographer, study=study, step=step)
    assert quality.accept_images(who=radiographer, study=study, step=step) == first
    series = Series.objects.order_by("series_number")[1]
    more = ct(StudyInstanceUID=study.study_instance_uid, SeriesInstanceUID=series.series_instance_uid, InstanceNumber=9)
    store(radiographer.site, part10(more))
    assert quality.accept_images(who=radiographer, study=study, step=step) != first
    day = boards.bounds(radiographer.site, boards.day_of(radiographer.site))
    assert quality.repeat_analysis(who=radiographer, start=day[0], end=day[1]).accepted == 5


def test_a_check_that_makes_no_sense_is_refused(radiographer: User, step: ScheduledProcedureStep) -> None:
    study = Study.objects.get()
    series = list(Series.objects.all())
    with pytest.raises(InvalidValue, match="why"):
        quality.reject_images(who=radiographer, study=study, series=series, reason="nonsense")
    with pytest.raises(InvalidValue, match="which"):
        quality.reject_images(who=radiographer, study=study, reason="motion")
    with pytest.raises(NotAllowed):
        quality.accept_images(who=make_user("doctor", role=Role.DOCTOR), study=study)
    quality.reject_images(who=radiographer, study=study, series=series, reason="test")
    with pytest.raises(NotFound):
        quality.accept_images(who=radiographer, study=study)
    with pytest.raises(Conflict, match="no images"):
        quality.accept_images(who=radiographer, study=make_study())


def test_a_series_of_another_study_is_not_rejected_along(
    signed_in: Client, radiographer: User, step: ScheduledProcedureStep
) -> None:
    study = Study.objects.get()
    store(radiographer.site, part10(ct()))
    other = Series.objects.exclude(study_ref=study).get()
    values = {"study": study.study_instance_uid, "outcome": "rejected", "series": other.pk, "reason": "motion"}
    answer = signed_in.post(reverse("examination-quality", args=[step.public_id]), values)
    assert answer.status_code == 400
    assert not QualityCheck.objects.exists()
