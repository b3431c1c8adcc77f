"""Objects come in as streams and are kept as they came: identity, duplicates, conflicts, crashes."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from pacs.models import HeldObject, HeldReason, Instance, Location, Series, Study, Volume
from pacs.services.collect import collect_unfinished
from pacs.services.store import (
    Received,
    Source,
    Stored,
    StoreOutcome,
    receive,
    receive_part10,
    store_instance,
    store_instances,
)
from pacs.storage import backend, open_object
from radiology.errors import CannotUnderstand, DataSetMismatch, OutOfResources, TooLarge
from radiology.models import Patient, PatientIdentifier, Site
from tests.databases import gone_at_the_commit
from tests.pacs.objects import bare, ct, part10, real


@pytest.fixture
def archive(db: None, settings: object, tmp_path: Path) -> Iterator[Path]:
    Volume.objects.update(path=str(tmp_path / "archive"))
    yield tmp_path / "archive"


@pytest.fixture
def source(archive: Path) -> Source:
    return Source.of_site(Site.objects.default(), "TESTER")


def take(source: Source, file: bytes, block: int = 4096) -> Received:
    with receive_part10(source=source) as incoming:
        for start in range(0, len(file), block):
            incoming.write(file[start : start + block])
        return incoming.finish()


def store(source: Source, file: bytes) -> Stored:
    return store_instance(received=take(source, file))


def files(archive: Path) -> list[Path]:
    return [path for path in archive.rglob("*") if path.is_file()]


def test_what_was_stored_comes_back_byte_for_byte(source: Source, archive: Path) -> None:
    file = real("JPEG2000.dcm").read_bytes()
    assert store(source, file).outcome is StoreOutcome.STORED
    location = Location.objects.get()
    with open_object(location=location) as kept:
        content = kept.read()
    assert content[location.data_set_offset :] == bare(file)
    assert bytes(location.sha256) == hashlib.sha256(bare(file)).digest()
    assert location.size == len(bare(file))
    assert dcmread(archive / location.path).file_meta.TransferSyntaxUID == location.transfer_syntax_uid
    assert len(files(archive)) == 1


@pytest.mark.parametrize("preamble", [b"MZ", b"\x7fELF", b"<html><script>alert(1)</script>", b"PK\x03\x04"])
def test_a_preamble_that_is_another_kind_of_file_does_not_outlast_the_door(
    source: Source, archive: Path, preamble: bytes
) -> None:
    file = part10(ct())
    store(source, preamble.ljust(128, b"\0") + file[128:])
    content = (archive / Location.objects.get().path).read_bytes()
    assert content[:132] == bytes(128) + b"DICM"
    assert content.endswith(bare(file))


@pytest.mark.parametrize("block", [1, 7, 131, 132, 133, 1000, 10**6])
def test_a_stream_may_be_cut_anywhere(source: Source, block: int) -> None:
    file = part10(ct())
    received = take(source, file, block)
    assert received.size == len(bare(file))
    assert store_instance(received=received).outcome is StoreOutcome.STORED


def test_the_index_holds_what_the_object_says(source: Source) -> None:
    store(source, part10(ct(StudyTime="230000", TimezoneOffsetFromUTC="+0900", SeriesNumber=7)))
    study = Study.objects.get()
    assert (study.study_date, study.study_time) == ("20260102", "230000")
    assert study.study_datetime is not None
    assert study.study_datetime.isoformat() == "2026-01-02T14:00:00+00:00"
    assert study.modalities_in_study == ["CT"]
    assert (study.number_of_study_related_series, study.number_of_study_related_instances) == (1, 1)
    assert study.attributes["00100020"] == {"vr": "LO", "Value": ["MRN-1001"]}
    assert Series.objects.get().series_number == 7
    assert Patient.objects.get().patient_name_search == "santoso budi"


def test_a_batch_counts_once_and_keeps_its_order(source: Source) -> None:
    study, series = generate_uid(), [generate_uid(), generate_uid()]
    objects = [
        ct(StudyInstanceUID=study, SeriesInstanceUID=series[number % 2], Modality=["CT", "SR"][number % 2])
        for number in range(10)
    ]
    again = objects[3]
    outcomes = store_instances(received=[take(source, part10(each)) for each in [*objects, again]])
    assert [each.sop_instance_uid for each in outcomes] == [each.SOPInstanceUID for each in [*objects, again]]
    assert Counter(each.outcome for each in outcomes) == {StoreOutcome.STORED: 10, StoreOutcome.UNCHANGED: 1}
    row = Study.objects.get()
    assert (row.number_of_study_related_series, row.number_of_study_related_instances) == (2, 10)
    assert row.modalities_in_study == ["CT", "SR"]
    assert {each.number_of_series_related_instances for each in Series.objects.all()} == {5}


def test_storing_into_a_known_series_takes_few_queries(source: Source, django_assert_max_num_queries: object) -> None:
    first = ct()
    store(source, part10(first))
    received = [
        take(source, part10(ct(StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID)))
        for _ in range(50)
    ]
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        outcomes = store_instances(received=received)
    assert {each.outcome for each in outcomes} == {StoreOutcome.STORED}


def test_many_new_studies_take_no_more_queries_for_the_images_that_follow_their_first(source: Source) -> None:
    def batch(images: int) -> list[Received]:
        studies = [(generate_uid(), generate_uid()) for _ in range(3)]
        return [
            take(source, part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series, PatientID=study[-16:])))
            for study, series in studies
            for _ in range(images)
        ]

    asked = []
    for images in (2, 10):
        received = batch(images)
        with CaptureQueriesContext(connection) as queries:
            outcomes = store_instances(received=received)
        assert {each.outcome for each in outcomes} == {StoreOutcome.STORED}
        asked.append(len(queries))
    assert asked[0] == asked[1]
    assert asked[1] < 100
    assert sorted(Study.objects.values_list("number_of_study_related_instances", flat=True)) == [2, 2, 2, 10, 10, 10]


def test_the_first_images_of_many_new_patients_take_no_more_queries_than_those_of_a_few(source: Source) -> None:
    asked = []
    for patients in (2, 12):
        received = [
            take(source, part10(ct(PatientID=f"{patients}-{number}", PatientName=f"KE{number}^NAMA BARU")))
            for number in range(patients)
        ]
        with CaptureQueriesContext(connection) as queries:
            outcomes = store_instances(received=received)
        assert {each.outcome for each in outcomes} == {StoreOutcome.STORED}
        asked.append(len(queries))
    assert asked[0] == asked[1]
    assert asked[1] < 45
    assert Patient.objects.filter(is_temporary=False, provisional_for="").count() == 14
    assert Patient.objects.filter(name_words__word__startswith="baru").count() == 14
    assert set(Study.objects.values_list("number_of_study_related_series", "modalities_in_study__0")) == {(1, "CT")}


def test_who_is_new_in_a_batch_is_told_apart_as_if_they_came_one_by_one(source: Source) -> None:
    """One number for two studies of one person, and for a study of somebody else; one without any."""
    store(source, part10(ct(PatientID="known", PatientName="LAMA^ADA", PatientBirthDate="19600101")))
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = "9901011234567890", "NIK"
    people = [
        {"PatientID": "new", "PatientName": "BARU^ANI", "PatientBirthDate": "19700101"},
        {"PatientID": "new", "PatientName": "BARU^ANI", "PatientBirthDate": "19700101"},
        {"PatientID": "new", "PatientName": "LAIN^BUDI", "PatientBirthDate": "19800101"},
        {"PatientID": "known", "PatientName": "LAMA^ADA", "PatientBirthDate": "19600101"},
        {"PatientID": "", "PatientName": "TANPA^NOMOR"},
        {"PatientID": "two", "PatientName": "BARU^DUA", "OtherPatientIDsSequence": [other]},
    ]
    # The first of a number, in the order of the studies' UIDs, decides whose it is.
    objects = [ct(**who, StudyInstanceUID=f"1.2.{number}") for number, who in enumerate(people, 1)]
    outcomes = store_instances(received=[take(source, part10(each)) for each in objects])
    assert {each.outcome for each in outcomes} == {StoreOutcome.STORED}
    found = [
        Study.objects.select_related("patient_ref").get(study_instance_uid=each.StudyInstanceUID).patient_ref
        for each in objects
    ]
    assert [(each.patient_name, each.is_provisional) for each in found] == [
        ("BARU^ANI", False),
        ("BARU^ANI", False),
        ("LAIN^BUDI", True),
        ("LAMA^ADA", False),
        ("TANPA^NOMOR", True),
        ("BARU^DUA", False),
    ]
    assert found[0] == found[1]
    assert Patient.objects.count() == 5
    assert [each.kind for each in found[-1].identifiers.all()] == ["NIK"]


def test_a_series_of_two_patients_is_told_apart_within_a_batch(source: Source) -> None:
    study, series = generate_uid(), generate_uid()
    objects = [
        ct(StudyInstanceUID=study, SeriesInstanceUID=series, PatientID=patient, PatientName=name, PatientBirthDate=born)
        for patient, name, born in [("1", "A^B", "19700101"), ("2", "C^D", "19800101")] * 2
    ]
    outcomes = store_instances(received=[take(source, part10(each)) for each in objects])
    assert [each.outcome for each in outcomes] == [StoreOutcome.STORED, StoreOutcome.HELD] * 2
    assert Instance.objects.count() == 2


def test_the_same_object_again_changes_nothing(source: Source, archive: Path) -> None:
    file = part10(ct())
    store(source, file)
    version = Study.objects.get().version
    assert store(source, file).outcome is StoreOutcome.UNCHANGED
    assert Study.objects.get().version == version
    assert len(files(archive)) == 1


@pytest.mark.parametrize(
    "other", ["MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_jp2klossless.dcm"]
)
def test_another_transfer_syntax_of_the_same_image_changes_nothing(source: Source, other: str) -> None:
    store(source, real("MR_small.dcm").read_bytes())
    assert store(source, real(other).read_bytes()).outcome is StoreOutcome.UNCHANGED
    assert Location.objects.get().transfer_syntax_uid == ExplicitVRLittleEndian


def test_a_corrected_header_waits_in_the_inbox(source: Source) -> None:
    first = ct()
    store(source, part10(first))
    first.StudyDescription = "THORAX"
    for _ in range(2):
        outcome = store(source, part10(first))
        assert outcome.outcome is StoreOutcome.HELD
    assert HeldObject.objects.get().reason == HeldReason.OTHER_HEADER
    assert Study.objects.get().study_description == ""


def test_other_pixels_are_quarantined_and_answered_by_policy(source: Source) -> None:
    first = ct(seed=1)
    store(source, part10(first))
    first.PixelData = bytes(len(first.PixelData))
    assert store(source, part10(first)).outcome is StoreOutcome.HELD
    refusing = Source(source.site, refuse_conflicts=True)
    assert store(refusing, part10(first)).outcome is StoreOutcome.REFUSED
    assert HeldObject.objects.get().reason == HeldReason.OTHER_PIXELS
    with open_object(location=Location.objects.get()) as kept:
        assert dcmread(kept).PixelData != first.PixelData


def test_a_study_under_another_patient_is_held(source: Source) -> None:
    first = ct()
    store(source, part10(first))
    outcome = store(source, part10(ct(StudyInstanceUID=first.StudyInstanceUID, PatientID="MRN-2")))
    assert outcome.outcome is StoreOutcome.HELD
    assert HeldObject.objects.get().reason == HeldReason.STUDY_OF_OTHER_PATIENT
    assert Study.objects.get().patient_ref.patient_id == "MRN-1001"
    assert Instance.objects.count() == 1


def test_a_series_in_another_study_is_held(source: Source) -> None:
    first = ct()
    store(source, part10(first))
    assert store(source, part10(ct(SeriesInstanceUID=first.SeriesInstanceUID))).outcome is StoreOutcome.HELD
    assert HeldObject.objects.get().reason == HeldReason.SERIES_OF_OTHER_STUDY
    assert Instance.objects.count() == 1


@pytest.mark.parametrize("patient_id", ["", "A\\B"])
def test_an_identity_that_cannot_be_trusted_gets_a_provisional_patient(source: Source, patient_id: str) -> None:
    study = generate_uid()
    for _ in range(2):
        file = part10(ct(PatientID=patient_id, StudyInstanceUID=study))
        assert store(source, file).outcome is StoreOutcome.STORED
    store(source, part10(ct(PatientID=patient_id)))
    assert Patient.objects.count() == 2
    assert all(each.is_provisional for each in Patient.objects.all())


def test_a_known_id_with_another_name_and_birth_date_never_joins(source: Source) -> None:
    store(source, part10(ct()))
    store(source, part10(ct(PatientName="WIJAYA^AGUS", PatientBirthDate="19900505")))
    assert [each.is_provisional for each in Patient.objects.order_by("id")] == [False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientName": "Santoso^Budi^^Tn."},
        {"PatientName": "SANTOSA^BUDI"},
        {"PatientBirthDate": "19700102"},
        {"PatientName": None},
        {"PatientBirthDate": None},
    ],
)
def test_small_differences_stay_the_same_patient(source: Source, changes: dict[str, str | None]) -> None:
    store(source, part10(ct()))
    store(source, part10(ct(**changes)))
    assert Patient.objects.count() == 1


def test_other_identifiers_of_the_patient_are_kept_once(source: Source) -> None:
    other = Dataset()
    other.PatientID = "9901011234567890"
    other.IssuerOfPatientID = "NIK"
    for _ in range(2):
        store(source, part10(ct(OtherPatientIDsSequence=[other])))
    store(source, part10(ct(OtherPatientIDs=["A-7", "B-8"])))
    assert sorted(PatientIdentifier.objects.values_list("kind", "value", "issuer")) == [
        ("NIK", "9901011234567890", "NIK"),
        ("U", "A-7", ""),
        ("U", "B-8", ""),
    ]


def test_ids_are_strings(source: Source) -> None:
    for patient_id in ("001234", "1234", "1234 "):
        store(source, part10(ct(PatientID=patient_id)))
    assert sorted(Patient.objects.values_list("patient_id", flat=True)) == ["001234", "1234"]


def test_an_object_without_study_uid_is_filed_under_a_derived_one(source: Source) -> None:
    file = real("JPEGLSNearLossless_08.dcm").read_bytes()
    assert store(source, file).outcome is StoreOutcome.STORED
    assert store(source, file).outcome is StoreOutcome.UNCHANGED
    assert Study.objects.get().study_instance_uid.startswith("2.25.")


def test_two_values_where_one_belongs_are_taken(source: Source) -> None:
    data_set = ct(StudyDescription="A")
    data_set["StudyDescription"].value = ["HEAD", "NECK"]
    data_set["Modality"].value = ["CT", "PT"]
    assert store(source, part10(data_set)).outcome is StoreOutcome.STORED
    assert (Study.objects.get().study_description, Series.objects.get().modality) == ("HEAD", "CT")


def test_text_that_nothing_can_decode_is_stored(source: Source) -> None:
    data_set = ct(SpecificCharacterSet="ISO_IR 192", StudyDescription="XXXX")
    file = part10(data_set).replace(b"XXXX", b"\xff\xfe\x80A")
    assert store(source, file).outcome is StoreOutcome.STORED
    assert Study.objects.get().study_description.endswith("A")


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (b"", CannotUnderstand),
        (b"%PDF-1.7" + bytes(500), CannotUnderstand),
        (part10(ct())[:-100], CannotUnderstand),
        (part10(ct())[:200], CannotUnderstand),
        (part10(ct(SOPInstanceUID=None)), DataSetMismatch),
        (part10(ct(SOPClassUID=None)), CannotUnderstand),
        (part10(ct()).replace(b"1.2.826.0.1.3680043.8.498.", b"../../../../etc/passwd/../"), CannotUnderstand),
    ],
    ids=["empty", "a PDF", "cut in the pixels", "cut in the head", "no instance", "no class", "a path for a UID"],
)
def test_what_is_no_object_is_refused_and_leaves_nothing(
    source: Source, archive: Path, file: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        take(source, file)
    assert files(archive) == []


def test_an_object_that_contradicts_its_announcement_is_refused(source: Source, archive: Path) -> None:
    data = bare(part10(ct()))
    for announced in ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, {"sop_instance_uid": "1.2.3"}):
        with receive(source=source, transfer_syntax_uid=ExplicitVRLittleEndian, **announced) as incoming:
            incoming.write(data)
            with pytest.raises(DataSetMismatch):
                incoming.finish()
    assert files(archive) == []


def test_the_wrong_transfer_syntax_is_noticed(source: Source) -> None:
    with receive(source=source, transfer_syntax_uid=ImplicitVRLittleEndian) as incoming:
        incoming.write(bare(part10(ct())))
        with pytest.raises(CannotUnderstand):
            incoming.finish()


def test_an_object_beyond_the_limit_is_cut_off(source: Source, archive: Path, settings: object) -> None:
    settings.SINAR_MAX_OBJECT_SIZE = 10_000  # type: ignore[attr-defined]
    with pytest.raises(TooLarge):
        take(source, part10(ct(side=256)))
    assert files(archive) == []


def test_the_first_object_finds_a_full_disk_too(source: Source, archive: Path) -> None:
    Volume.objects.update(reserve=2**62)
    with pytest.raises(OutOfResources):
        take(source, part10(ct()))


def test_a_folder_that_cannot_be_made_is_said(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Volume.objects.update(path=str(tmp_path / "file" / "archive"))
    with pytest.raises(OutOfResources):
        take(source, part10(ct()))


def test_a_full_disk_is_said_and_reading_goes_on(source: Source, archive: Path) -> None:
    store(source, part10(ct()))
    Volume.objects.update(reserve=2**62)
    with pytest.raises(OutOfResources):
        take(source, part10(ct()))
    with open_object(location=Location.objects.get()) as kept:
        assert dcmread(kept).Modality == "CT"
    Volume.objects.update(reserve=0)
    assert store(source, part10(ct())).outcome is StoreOutcome.STORED


def test_drafts_whose_writer_died_are_collected_and_living_ones_not(source: Source, archive: Path) -> None:
    store(source, part10(ct()))
    disk = backend(Volume.objects.get())
    dead = disk.draft(head_size=1024)
    dead.write(b"half")
    dead.publish()
    dead.abandon()
    with receive_part10(source=source) as living:
        living.write(part10(ct())[:500])
        assert collect_unfinished() == 1
        assert len(files(archive)) == 2
    assert len(files(archive)) == 1
    assert Location.objects.count() == 1


def test_when_the_server_goes_at_the_commit_the_files_wait_for_the_collector(
    committed_db: None, tmp_path: Path
) -> None:
    Volume.objects.update(path=str(tmp_path / "archive"))
    received = take(Source.of_site(Site.objects.default()), part10(ct()))
    with gone_at_the_commit("pacs_location"):
        with pytest.raises(OutOfResources):
            store_instance(received=received)
        assert len(files(tmp_path / "archive")) == 2
    assert collect_unfinished() == 1
    assert files(tmp_path / "archive") == []
    assert not Instance.objects.exists()


def test_a_committed_object_keeps_its_file_when_its_draft_is_collected(source: Source, archive: Path) -> None:
    received = take(source, part10(ct()))
    draft = received.draft.path
    kept = archive / "second-link"
    kept.hardlink_to(draft)
    store_instance(received=received)
    kept.rename(draft)
    assert collect_unfinished() == 1
    with open_object(location=Location.objects.get()) as file:
        assert dcmread(file).Modality == "CT"


def test_a_hundred_first_images_of_one_patient_make_one_patient(committed_db: None, tmp_path: Path) -> None:
    Volume.objects.update(path=str(tmp_path / "archive"))
    source = Source.of_site(Site.objects.default())
    received = [take(source, part10(ct(InstanceNumber=number))) for number in range(100)]
    start = threading.Barrier(20)
    outcomes: list[Stored] = []

    def run(mine: list[Received]) -> None:
        start.wait()
        try:
            for each in mine:
                outcomes.extend(store_instances(received=[each]))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(received[number::20],)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(each.outcome for each in outcomes) == {StoreOutcome.STORED: 100}
    assert Patient.objects.count() == 1
    assert Study.objects.count() == 100


def test_many_senders_of_the_same_objects_make_them_once(committed_db: None, tmp_path: Path) -> None:
    Volume.objects.update(path=str(tmp_path / "archive"))
    source = Source.of_site(Site.objects.default())
    study, series = generate_uid(), generate_uid()
    originals = [part10(ct(StudyInstanceUID=study, SeriesInstanceUID=series)) for _ in range(10)]
    outcomes: list[Stored] = []

    def run(number: int) -> None:
        try:
            for step in range(len(originals)):
                outcomes.append(store(source, originals[(step + number) % len(originals)]))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(each.outcome for each in outcomes) == {StoreOutcome.STORED: 10, StoreOutcome.UNCHANGED: 110}
    row = Study.objects.get()
    assert (row.number_of_study_related_instances, Instance.objects.count()) == (10, 10)
    assert len(files(tmp_path / "archive")) == 10
