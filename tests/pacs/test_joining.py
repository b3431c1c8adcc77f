"""What follows the first object of a series takes the short way, and the long one as soon as anything changed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage, generate_uid

from pacs.models import HeldObject, HeldReason, Instance, Location, Series, Study, Volume
from pacs.services import joining, removal
from pacs.services.store import Received, Source, Stored, StoreOutcome, receive_part10, store_instance, store_instances
from radiology.models import Job, Patient, ResentDeleted, Site
from tests.factories import make_user
from tests.pacs.objects import ct, part10


@pytest.fixture
def archive(db: None, tmp_path: Path) -> Iterator[Path]:
    Volume.objects.update(path=str(tmp_path / "archive"))
    yield tmp_path / "archive"


@pytest.fixture
def source(archive: Path) -> Source:
    return Source.of_site(Site.objects.default(), "TESTER")


@pytest.fixture
def send(source: Source) -> Callable[..., Stored]:
    """Stores one more image of the same series, with attributes that differ."""
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}

    def send(**attributes: Any) -> Stored:
        return store_instance(received=take(source, ct(**{**uids, **attributes})))

    assert send().outcome is StoreOutcome.STORED
    return send


@pytest.fixture
def inserts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each time that the short way was tried, whether it was open."""
    tried: list[bool] = []
    real = joining.Joining.insert

    def insert(self: joining.Joining, paths: dict[int, str]) -> list[int]:
        tried.append(False)
        made = real(self, paths)
        tried[-1] = True
        return made

    monkeypatch.setattr(joining.Joining, "insert", insert)
    return tried


def take(source: Source, image: Dataset) -> Received:
    with receive_part10(source=source) as incoming:
        incoming.write(part10(image))
        return incoming.finish()


def no_file_too_many(archive: Path) -> None:
    assert len([path for path in archive.rglob("*") if path.is_file()]) == Location.objects.count()


def test_the_next_images_of_a_series_are_indexed_by_few_queries(
    source: Source, send: Callable[..., Stored], inserts: list[bool], django_assert_num_queries: Any
) -> None:
    study, series = Study.objects.get(), Series.objects.get()
    known = {"StudyInstanceUID": study.study_instance_uid, "SeriesInstanceUID": series.series_instance_uid}
    images = [take(source, ct(**known, InstanceNumber=number)) for number in range(2, 52)]
    with django_assert_num_queries(7):  # is it there, savepoint, JOIN, rejected, job, Orthanc, savepoint
        outcomes = store_instances(received=images)
    assert inserts == [True]
    assert {each.outcome for each in outcomes} == {StoreOutcome.STORED}
    study.refresh_from_db()
    series.refresh_from_db()
    assert (study.number_of_study_related_series, study.number_of_study_related_instances) == (1, 51)
    assert series.number_of_series_related_instances == 51
    assert study.size == series.size == sum(Location.objects.values_list("size", flat=True))
    found = Instance.objects.order_by("id").values("instance_number", "rows", "sop_class_uid", "content_date")
    assert {each["instance_number"] for each in found} == set(range(1, 52))
    assert {each["rows"] for each in found} == {16}
    first = found[0]
    assert all({**each, "instance_number": 1} == first for each in found)
    assert Location.objects.filter(is_current=True).count() == 51
    for location in Location.objects.select_related("instance_ref"):
        received = next(
            (each for each in images if each.sop_instance_uid == location.instance_ref.sop_instance_uid), None
        )
        assert received is None or bytes(location.sha256) == received.sha256


def test_several_studies_in_one_batch(source: Source, archive: Path, inserts: list[bool]) -> None:
    series = [{"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()} for _ in range(3)]
    for number in range(2):
        images = [ct(**uids) for uids in [*series, *series]]
        outcomes = store_instances(received=[take(source, image) for image in images])
        assert {each.outcome for each in outcomes} == {StoreOutcome.STORED}
        assert [each.sop_instance_uid for each in outcomes] == [image.SOPInstanceUID for image in images]
        assert {each.number_of_study_related_instances for each in Study.objects.all()} == {2 * number + 2}
    assert inserts == [True, True], "the second of each new series joins the first"
    no_file_too_many(archive)


def test_an_image_of_another_patient_does_not_join(send: Callable[..., Stored], inserts: list[bool]) -> None:
    assert send(PatientName="WIBOWO^AGUS", PatientBirthDate="19550505").outcome is StoreOutcome.HELD
    assert inserts == []
    assert HeldObject.objects.get().reason == HeldReason.STUDY_OF_OTHER_PATIENT


def test_nor_one_of_a_patient_who_is_another_meanwhile(
    send: Callable[..., Stored], inserts: list[bool], archive: Path
) -> None:
    Patient.objects.update(patient_name="WIBOWO^AGUS", birth_date="1955-05-05")
    assert send().outcome is StoreOutcome.HELD
    assert inserts == [False]
    assert Study.objects.get().number_of_study_related_instances == 1
    assert Location.objects.count() == 1
    held = HeldObject.objects.get()
    assert held.reason == HeldReason.STUDY_OF_OTHER_PATIENT
    assert (archive / held.path).is_file()


def test_a_study_that_was_deleted_is_refused_or_restored(
    send: Callable[..., Stored], inserts: list[bool], archive: Path
) -> None:
    chief = make_user("chief", is_superuser=True)
    removal.delete_study(who=chief, study=Study.objects.get(), reason="test")
    Site.objects.update(resent_deleted=ResentDeleted.REFUSE)
    assert send().outcome is StoreOutcome.REFUSED
    no_file_too_many(archive)
    Site.objects.update(resent_deleted=ResentDeleted.RESTORE)
    assert send().outcome is StoreOutcome.STORED
    assert Study.objects.get().deleted_at is None
    assert inserts == [False]  # and is not tried again before the long way has said so


def test_a_series_that_was_moved_takes_its_images_along(send: Callable[..., Stored], source: Source) -> None:
    own = Study.objects.get()
    store_instance(received=take(source, ct()))
    other = Study.objects.exclude(pk=own.pk).get()
    Series.objects.filter(study_ref=own).update(study_ref=other, received_study_instance_uid=own.study_instance_uid)
    for _ in range(2):
        assert send().outcome is StoreOutcome.STORED
    other.refresh_from_db()
    own.refresh_from_db()
    assert (own.number_of_study_related_instances, other.number_of_study_related_instances) == (1, 3)


def test_an_image_that_was_rejected_before_it_came_stays_hidden(send: Callable[..., Stored], source: Source) -> None:
    study, series = Study.objects.get(), Series.objects.get()
    known = {"StudyInstanceUID": study.study_instance_uid, "SeriesInstanceUID": series.series_instance_uid}
    image = ct(**known)
    assert store_instance(received=take(source, note(image))).outcome is StoreOutcome.STORED
    assert store_instance(received=take(source, image)).outcome is StoreOutcome.STORED
    assert Instance.objects.get(sop_instance_uid=image.SOPInstanceUID).removed_at is not None


def note(image: Dataset) -> Dataset:
    """A rejection note (113001, for quality reasons) that names the image."""
    reference, series, study, title = Dataset(), Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedSOPSequence = image.SeriesInstanceUID, [reference]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = image.StudyInstanceUID, [series]
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113001", "DCM", "why"
    return ct(
        StudyInstanceUID=image.StudyInstanceUID,
        SOPClassUID=KeyObjectSelectionDocumentStorage,
        Modality="KO",
        ConceptNameCodeSequence=[title],
        CurrentRequestedProcedureEvidenceSequence=[study],
    )


def test_another_kind_of_object_is_listed_in_the_study(send: Callable[..., Stored], inserts: list[bool]) -> None:
    other = "1.2.840.10008.5.1.4.1.1.7"
    for _ in range(2):
        assert send(SOPClassUID=other).outcome is StoreOutcome.STORED
    assert other in Study.objects.get().sop_classes_in_study
    assert inserts == [False, True]


def test_each_image_is_told_of(send: Callable[..., Stored], inserts: list[bool]) -> None:
    Job.objects.all().delete()
    assert send().outcome is StoreOutcome.STORED
    assert inserts == [True]
    assert Job.objects.filter(kind="worklist.look_at_study").count() == 1
