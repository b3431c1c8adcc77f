"""What is deleted or rejected is in no door, stays away when it is sent again, and can be restored."""

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pydicom import Dataset, dcmread
from pydicom.uid import KeyObjectSelectionDocumentStorage, generate_uid

from pacs import tasks  # noqa: F401  (registers the handlers)
from pacs.models import HeldObject, Instance, Location, Removal, RemovalCode, Series, Study, TransferResult, Volume
from pacs.services import removal, transfers
from pacs.services.query import Level, search
from pacs.services.rejection_note import rejection_note
from pacs.services.retrieve import instances_of
from pacs.services.store import Source, Stored, StoreOutcome, receive_part10, store_instance, store_instances
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditEvent, Job, Patient, ResentDeleted, Site, User
from radiology.services.jobs import run_due
from tests.daemons import accepts, wait_until
from tests.factories import make_node, make_site, make_token, make_user
from tests.pacs.objects import ct, part10


@pytest.fixture
def archive(db: None, settings: object, tmp_path: Path) -> Iterator[Path]:
    Volume.objects.update(path=str(tmp_path / "archive"))
    yield tmp_path / "archive"


@pytest.fixture
def chief(archive: Path) -> User:
    return make_user("chief", is_superuser=True)


def take(file: bytes) -> Any:
    with receive_part10(source=Source.of_site(Site.objects.default(), "CT1")) as incoming:
        incoming.write(file)
        return incoming.finish()


def store(file: bytes) -> Stored:
    return store_instance(received=take(file))


def images(count: int = 3, **attributes: Any) -> list[Dataset]:
    fixed = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **attributes}
    return [ct(**fixed, InstanceNumber=number) for number in range(1, count + 1)]


def stored(count: int = 3, **attributes: Any) -> tuple[Study, list[bytes]]:
    files = [part10(each) for each in images(count, **attributes)]
    for file in files:
        assert store(file).outcome is StoreOutcome.STORED
    return Study.objects.latest("pk"), files


def note(refers_to: list[Dataset], code: str, scheme: str = "DCM") -> bytes:
    """A rejection note as a modality or another archive makes it."""
    first = refers_to[0]
    references = []
    for each in refers_to:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = each.SOPClassUID, each.SOPInstanceUID
        references.append(reference)
    series, study, title = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = first.SeriesInstanceUID, references
    study.StudyInstanceUID, study.ReferencedSeriesSequence = first.StudyInstanceUID, [series]
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, scheme, "why"
    return part10(
        ct(
            SOPClassUID=KeyObjectSelectionDocumentStorage,
            StudyInstanceUID=first.StudyInstanceUID,
            Modality="KO",
            ConceptNameCodeSequence=[title],
            CurrentRequestedProcedureEvidenceSequence=[study],
            **dict.fromkeys(["PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"]),
        )
    )


def shown(who: User, study: Study) -> set[str]:
    """The instances of a study that any door gives."""
    uid = study.study_instance_uid
    found = search(who=who, level=Level.INSTANCE, keys={"StudyInstanceUID": uid}, returned=["SOPInstanceUID"])
    by_search = {each["00080018"]["Value"][0] for each in found}
    by_retrieve = {each.instance_ref.sop_instance_uid for each in instances_of(who=who, study_instance_uids=[uid])}
    assert by_search == by_retrieve
    listed = list(search(who=who, level=Level.STUDY, keys={"StudyInstanceUID": uid}))
    assert bool(listed) == bool(by_search)
    for each in listed:
        assert each["00201208"]["Value"] == [len(by_search)]
    return by_search


def uids(objects: list[Dataset]) -> set[str]:
    return {each.SOPInstanceUID for each in objects}


@pytest.mark.parametrize("code", ["113001", "113037", "113038", "113039"])
def test_a_received_note_hides_what_it_names_and_a_resend_changes_nothing(chief: User, code: str) -> None:
    objects = images()
    for each in objects:
        store(part10(each))
    study = Study.objects.get()
    assert store(note(objects[:2], code)).outcome is StoreOutcome.STORED
    assert shown(chief, study) == uids(objects[2:])
    for each in objects:
        assert store(part10(each)).outcome is StoreOutcome.UNCHANGED
    assert shown(chief, study) == uids(objects[2:])
    found = Removal.objects.get()
    assert (found.code, found.agent, found.hides) == (code, "CT1", True)

    removal.restore(who=chief, removal=found)
    removal.restore(who=chief, removal=found)
    assert shown(chief, study) == uids(objects)


def test_a_note_that_comes_first_waits_for_what_it_names(chief: User) -> None:
    objects = images()
    assert store(note(objects[:2], "113037")).outcome is StoreOutcome.STORED
    for each in objects:
        assert store(part10(each)).outcome is StoreOutcome.STORED
    assert shown(chief, Study.objects.get()) == uids(objects[2:])


def test_a_note_and_what_it_names_in_one_batch(chief: User) -> None:
    objects = images()
    outcomes = store_instances(received=[take(note(objects, "113001")), *(take(part10(each)) for each in objects)])
    assert {each.outcome for each in outcomes} == {StoreOutcome.STORED}
    assert not Study.objects.visible_to(chief).exists()


def test_a_study_of_which_nothing_is_left_disappears_until_something_new_comes(chief: User) -> None:
    objects = images(2)
    for each in objects:
        store(part10(each))
    study = Study.objects.get()
    store(note(objects, "113001"))
    assert shown(chief, study) == set()
    assert not Series.objects.visible_to(chief).exists()
    new = ct(StudyInstanceUID=study.study_instance_uid, SeriesInstanceUID=objects[0].SeriesInstanceUID)
    store(part10(new))
    assert shown(chief, study) == {new.SOPInstanceUID}
    removal.restore(who=chief, removal=Removal.objects.get())
    assert shown(chief, study) == uids(objects) | {new.SOPInstanceUID}


def test_the_same_note_again_is_no_second_rejection(chief: User) -> None:
    objects = images(2)
    for each in objects:
        store(part10(each))
    file = note(objects[:1], "113001")
    store(file)
    removal.restore(who=chief, removal=Removal.objects.get())
    assert store(file).outcome is StoreOutcome.UNCHANGED
    assert shown(chief, Study.objects.get()) == uids(objects)


def test_of_two_notes_one_restored_the_other_still_hides(chief: User) -> None:
    objects = images(3)
    for each in objects:
        store(part10(each))
    store(note(objects[:2], "113001"))
    store(note(objects[1:2], "113037"))
    removal.restore(who=chief, removal=Removal.objects.get(code="113001"))
    assert shown(chief, Study.objects.get()) == {objects[0].SOPInstanceUID, objects[2].SOPInstanceUID}


def test_a_site_may_show_what_was_rejected_for_quality_and_nothing_else(chief: User) -> None:
    Site.objects.update(shows_rejected_for_quality=True)
    objects = images(3)
    for each in objects:
        store(part10(each))
    study = Study.objects.get()
    store(note(objects[:1], "113001"))
    assert uids(objects) < shown(chief, study)
    store(note(objects[1:2], "113037"))
    assert objects[1].SOPInstanceUID not in shown(chief, study)


def test_other_key_object_documents_reject_nothing(chief: User) -> None:
    objects = images(2)
    for each in objects:
        store(part10(each))
    store(note(objects, "113000"))
    store(note(objects, "113001", scheme="99LOCAL"))
    assert len(shown(chief, Study.objects.get())) == 4


def test_a_note_of_one_site_rejects_nothing_of_another(chief: User) -> None:
    objects = images(2)
    for each in objects:
        store(part10(each))
    elsewhere = make_site()
    with receive_part10(source=Source.of_site(elsewhere, "X")) as incoming:
        incoming.write(note(objects, "113037"))
        received = incoming.finish()
    store_instance(received=received)
    assert shown(make_user(), Study.objects.get(site=Site.objects.default())) == uids(objects)


def test_a_person_rejects_a_series_with_a_note_that_others_understand(
    chief: User, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    study, _ = stored()
    other = ct(StudyInstanceUID=study.study_instance_uid)
    store(part10(other))
    series = Series.objects.order_by("pk")[0]
    made = removal.reject(
        who=chief, study=study, code=RemovalCode.QUALITY, series=[series], reason="Bewegung", address="10.0.0.1"
    )
    assert shown(chief, study) == {other.SOPInstanceUID}
    assert (made.user, made.reason, made.instances.count()) == (chief, "Bewegung", 4)
    rows = list(Instance.objects.filter(series_ref=series).select_related("series_ref"))
    file = rejection_note(study=study, instances=rows, code=RemovalCode.QUALITY, reason="Bewegung")
    (tmp_path / "note.dcm").write_bytes(file)
    checked = subprocess.run([tool("dciodvfy"), str(tmp_path / "note.dcm")], capture_output=True, text=True)
    assert [line for line in checked.stderr.splitlines() if line.startswith("Error")] == []
    assert AuditEvent.objects.filter(event="study.rejection.made", study_instance_uid=study.study_instance_uid).exists()


def test_rejecting_needs_a_right_a_code_and_something_to_reject(chief: User) -> None:
    study, _ = stored()
    reader, _ = make_token(scopes=["studies.read"])
    with pytest.raises(NotAllowed):
        removal.reject(who=reader, study=study, code=RemovalCode.QUALITY)
    with pytest.raises(InvalidValue):
        removal.reject(who=chief, study=study, code=RemovalCode.DELETED)
    with pytest.raises(NotFound):
        removal.reject(
            who=make_user("rina", site=make_site(), role="radiographer"), study=study, code=RemovalCode.QUALITY
        )
    removal.reject(who=chief, study=study, code=RemovalCode.QUALITY)
    with pytest.raises(NotFound):
        removal.reject(who=chief, study=study, code=RemovalCode.QUALITY)


def test_a_deleted_study_is_hidden_and_restored(chief: User) -> None:
    study, _ = stored()
    kept = shown(chief, study)
    with pytest.raises(InvalidValue):
        removal.delete_study(who=chief, study=study, reason="  ")
    with pytest.raises(NotAllowed):
        removal.delete_study(who=make_user(), study=study, reason="test")
    found = removal.delete_study(who=chief, study=study, reason="test study")
    assert shown(chief, study) == set()
    with pytest.raises(NotFound):
        removal.delete_study(who=chief, study=study, reason="again")
    with pytest.raises(NotAllowed):
        removal.restore(who=make_user("rina"), removal=found)
    removal.restore(who=chief, removal=found)
    assert shown(chief, study) == kept


def test_a_deleted_study_that_is_sent_again_is_restored_or_refused_as_the_site_wants(chief: User) -> None:
    study, files = stored(2)
    late = part10(ct(StudyInstanceUID=study.study_instance_uid))
    removal.delete_study(who=chief, study=study, reason="test")
    Site.objects.update(resent_deleted=ResentDeleted.REFUSE)
    assert store(files[0]).outcome is StoreOutcome.REFUSED
    assert store(late).outcome is StoreOutcome.REFUSED
    assert shown(chief, study) == set()
    Site.objects.update(resent_deleted=ResentDeleted.RESTORE)
    assert store(files[0]).outcome is StoreOutcome.UNCHANGED
    assert len(shown(chief, study)) == 2
    assert Removal.objects.get().restored_at is not None
    removal.delete_study(who=chief, study=study, reason="test")
    assert store(late).outcome is StoreOutcome.STORED
    assert len(shown(chief, study)) == 3


def test_what_was_deleted_long_ago_goes_for_good_with_its_files(chief: User, archive: Path) -> None:
    study, files = stored(2)
    other, _ = stored(1, PatientID="RM-2", PatientName="LAIN^ORANG", PatientBirthDate="19800101")
    removal.delete_study(who=chief, study=study, reason="test")
    site = Site.objects.default()
    assert removal.purge(site=site) == 0
    Removal.objects.update(created_at=timezone.now() - timedelta(days=site.keeps_deleted_for + 1))
    assert removal.purge(site=site) == 1
    run_due()
    assert not Job.objects.exclude(state="done").exclude(kind__startswith="worklist.").exists()
    assert not Study.objects.filter(pk=study.pk).exists()
    assert len(list(archive.rglob("*.dcm"))) == 1
    assert Location.objects.count() == 1
    assert Removal.objects.get().study_ref is None
    assert removal.purge(site=site) == 0
    assert len(shown(chief, other)) == 1
    assert store(files[0]).outcome is StoreOutcome.STORED


def test_expired_objects_go_for_good_and_what_is_left_stays(chief: User, archive: Path) -> None:
    objects = images(3)
    for each in objects:
        store(part10(each))
    store(note(objects[:2], "113039"))
    Removal.objects.update(created_at=timezone.now() - timedelta(days=99))
    assert removal.purge(site=Site.objects.default()) == 1
    run_due()
    assert len(list(archive.rglob("*.dcm"))) == 1
    assert shown(chief, Study.objects.get()) == uids(objects[2:])


def test_held_objects_and_provisional_patients_survive_none_of_it_wrongly(chief: User) -> None:
    study, _ = stored(1)
    stranger = ct(StudyInstanceUID=study.study_instance_uid, PatientID="RM-7", PatientName="LAIN^O")
    assert store(part10(stranger)).outcome is StoreOutcome.HELD
    removal.delete_study(who=chief, study=study, reason="test")
    assert HeldObject.objects.count() == 1
    assert Patient.objects.count() == 1


@pytest.mark.usefixtures("committed_db")
def test_a_note_goes_on_to_whoever_was_sent_what_it_rejects(
    settings: Any, tmp_path: Path, tool: Callable[[str], str], free_port: Callable[[], int]
) -> None:
    Volume.objects.update(path=str(tmp_path / "archive"))
    chief, port = make_user("chief", is_superuser=True), free_port()
    (tmp_path / "received").mkdir()
    receiver = subprocess.Popen([tool("storescp"), "-od", str(tmp_path / "received"), "--unique-filenames", str(port)])
    try:
        wait_until(lambda: accepts(port), what="storescp listens")
        holder = make_node("HOLDER", port=port)
        make_node("OTHER", port=port)
        study, _ = stored(2)
        transfers.send(who=chief, node=holder, study=study)
        run_due()
        assert len(list((tmp_path / "received").iterdir())) == 2
        found = removal.reject(who=chief, study=study, code=RemovalCode.PATIENT_SAFETY, reason="other patient")
        run_due()
        run_due()
        assert list(TransferResult.objects.exclude(error="").values_list("error", flat=True)) == []
        notes = [each for each in map(dcmread, (tmp_path / "received").iterdir()) if each.Modality == "KO"]
        assert [each.SOPInstanceUID for each in notes] == [found.note_sop_instance_uid]
        assert notes[0].ConceptNameCodeSequence[0].CodeValue == "113037"
        run_due()
        assert len(list((tmp_path / "received").iterdir())) == 3
    finally:
        receiver.kill()
        receiver.wait()


def test_deleted_images_are_hidden_restored_and_leave_the_rest(chief: User) -> None:
    study, _ = stored(3)
    other = ct(StudyInstanceUID=study.study_instance_uid)
    store(part10(other))
    everything = shown(chief, study)
    series = Series.objects.order_by("pk")[0]
    with pytest.raises(NotAllowed):
        removal.delete_images(
            who=make_user(), study=study, series_instance_uids=[series.series_instance_uid], reason="test"
        )
    with pytest.raises(InvalidValue):
        removal.delete_images(who=chief, study=study, sop_instance_uids=[other.SOPInstanceUID], reason=" ")
    with pytest.raises(NotFound):
        removal.delete_images(who=chief, study=study, sop_instance_uids=["1.2.3"], reason="test")
    made = removal.delete_images(
        who=chief, study=study, series_instance_uids=[series.series_instance_uid], reason="test"
    )
    assert shown(chief, study) == {other.SOPInstanceUID}
    assert [each.series_instance_uid for each in Series.objects.visible_to(chief)] == [other.SeriesInstanceUID]
    assert (made.code, made.note_sop_instance_uid, made.instances.count()) == ("images", "", 3)
    with pytest.raises(NotAllowed):
        removal.restore(who=make_user("rina", role="radiographer"), removal=made)
    last = removal.delete_images(who=chief, study=study, sop_instance_uids=[other.SOPInstanceUID], reason="all")
    assert (last.code, shown(chief, study)) == ("deleted", set())
    removal.restore(who=chief, removal=made)
    assert shown(chief, study) == set()  # the study is deleted still
    removal.restore(who=chief, removal=last)
    removal.restore(who=chief, removal=made)
    assert shown(chief, study) == everything
    assert AuditEvent.objects.filter(event="study.images.deleted").count() == 1


def test_deleted_images_that_are_sent_again_are_restored_or_refused_as_the_site_wants(chief: User) -> None:
    study, files = stored(3)
    everything = shown(chief, study)
    first, second, _third = (dcmread(BytesIO(file)).SOPInstanceUID for file in files)
    removal.delete_images(who=chief, study=study, sop_instance_uids=[first, second], reason="test")
    Site.objects.update(resent_deleted=ResentDeleted.REFUSE)
    assert store(files[0]).outcome is StoreOutcome.REFUSED
    assert store(files[2]).outcome is StoreOutcome.UNCHANGED
    assert len(shown(chief, study)) == 1
    Site.objects.update(resent_deleted=ResentDeleted.RESTORE)
    assert store(files[0]).outcome is StoreOutcome.UNCHANGED
    assert shown(chief, study) == everything and Removal.objects.get().restored_at is not None
    removal.delete_images(who=chief, study=study, sop_instance_uids=[first], reason="test")
    removal.reject(who=chief, study=study, code=RemovalCode.QUALITY)
    assert store(files[0]).outcome is StoreOutcome.UNCHANGED
    assert second not in shown(chief, study) and first in shown(chief, study)


def test_images_deleted_long_ago_go_for_good_and_may_come_again(chief: User, archive: Path) -> None:
    study, files = stored(3)
    first = dcmread(BytesIO(files[0])).SOPInstanceUID
    removal.delete_images(who=chief, study=study, sop_instance_uids=[first], reason="test")
    site = Site.objects.default()
    assert removal.purge(site=site) == 0
    Removal.objects.update(created_at=timezone.now() - timedelta(days=site.keeps_deleted_for + 1))
    assert removal.purge(site=site) == 1
    run_due()
    assert len(list(archive.rglob("*.dcm"))) == 2 and not Instance.objects.filter(sop_instance_uid=first).exists()
    with pytest.raises(Conflict):
        removal.restore(who=chief, removal=Removal.objects.get())
    assert AuditEvent.objects.filter(event="study.purged").exists()
    assert store(files[0]).outcome is StoreOutcome.STORED
    assert len(shown(chief, study)) == 3
