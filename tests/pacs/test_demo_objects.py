import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from pacs.demo.documents import one_page_pdf
from pacs.demo.labels import Label
from pacs.demo.patients import PATIENTS
from pacs.demo.phantom import NODULE
from pacs.demo.samples import sample
from pacs.demo.studies import SAMPLES, Programme, Scale, Shipment

FIRST_SENT = datetime(2025, 5, 1, 9, 30, 15, tzinfo=timezone(timedelta(hours=7)))
SMALL = Scale(size=128, spacing=50.0, prior_spacing=100.0)
# made by pydicom's samples: their own IOD errors are what readers must live with
SAMPLED = {f"{row[0]}/{row[1]}" for row in SAMPLES}


@pytest.fixture(scope="module")
def shipments() -> list[Shipment]:
    return Programme(Label(FIRST_SENT), SMALL).shipments()


@pytest.fixture(scope="module")
def sent(shipments: list[Shipment]) -> dict[str, list[Dataset]]:
    """The objects of each study, by patient and study key, as a receiver reads them."""
    return {name(shipment): [read(ds) for ds in shipment.objects()] for shipment in shipments}


def name(shipment: Shipment) -> str:
    study = f"{shipment.examination.patient.key}/{shipment.examination.key}"
    return f"{study} against {shipment.held[-6:]}" if shipment.held else study


def read(ds: Dataset) -> Dataset:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer)


def test_each_study_has_the_objects_and_contexts_it_announces(
    shipments: list[Shipment], sent: dict[str, list[Dataset]]
) -> None:
    for shipment, objects in zip(shipments, sent.values(), strict=True):
        assert len(objects) == shipment.count
        if shipment.calling_ae_title:
            used = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in objects}
            assert used == set(shipment.contexts)


@pytest.fixture(scope="module")
def files(sent: dict[str, list[Dataset]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The objects made here, not the samples, as files."""
    folder = tmp_path_factory.mktemp("demo")
    found: dict[str, list[Path]] = {}
    for study in sorted(sent.keys() - SAMPLED):
        found[study] = [folder / f"{len(found):02d}-{number:03d}.dcm" for number in range(len(sent[study]))]
        for path, ds in zip(found[study], sent[study], strict=True):
            ds.save_as(path)
    return found


def test_each_kind_of_object_satisfies_dciodvfy(
    files: dict[str, list[Path]], sent: dict[str, list[Dataset]], tool: Callable[[str], str]
) -> None:
    dciodvfy = tool("dciodvfy")
    kinds: dict[tuple[object, ...], Path] = {}
    for study, paths in files.items():  # of the slices of one series, the first will do
        for path, ds in zip(paths, sent[study], strict=True):
            kinds.setdefault((ds.SeriesInstanceUID, ds.SOPClassUID, ds.get("NumberOfFrames"), ds.Modality), path)
    assert len({sop_class for _, sop_class, *_ in kinds}) == 15
    complaints = {}
    for kind, path in kinds.items():
        found = subprocess.run([dciodvfy, "-new", str(path)], capture_output=True, text=True, check=False)
        said = found.stdout + found.stderr
        assert found.returncode in (0, 1), said  # it ends by itself
        assert re.search(r"^[A-Z]\w+$", said, re.MULTILINE), f"dciodvfy knows no IOD of {kind}: {said}"
        errors = re.findall(r"^Error.*", said, re.MULTILINE)
        if errors:
            complaints[kind] = errors
    assert not complaints


def test_dcmtk_reads_and_draws_what_was_made(
    files: dict[str, list[Path]], sent: dict[str, list[Dataset]], tool: Callable[[str], str], tmp_path: Path
) -> None:
    paths = [path for study in files.values() for path in study]
    dump = subprocess.run([tool("dcmdump"), "-q", "+P", "SOPInstanceUID", *map(str, paths)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert dump.returncode == 0
    assert dump.stderr == ""
    drawn = set()
    tools = {JPEGLSLossless: tool("dcml2pnm"), JPEGBaseline8Bit: tool("dcmj2pnm")}
    for study, paths in files.items():
        for path, ds in zip(paths, sent[study], strict=True):
            kind = (ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
            # dcmtk has no JPEG 2000, and draws no segmentation
            if kind in drawn or kind[1] == JPEG2000Lossless or "PixelData" not in ds or ds.Modality == "SEG":
                continue
            drawn.add(kind)
            picture = tmp_path / "picture.ppm"
            found = subprocess.run(
                [tools.get(kind[1], tool("dcm2pnm")), str(path), str(picture)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert found.returncode == 0, f"{study}: {found.stderr}"
            assert picture.stat().st_size > 1000
    assert len(drawn) == 14


def test_there_is_something_of_each_modality_and_syntax(sent: dict[str, list[Dataset]]) -> None:
    objects = [ds for study in sent.values() for ds in study]
    assert {ds.Modality for ds in objects if "Modality" in ds} >= {
        "CT", "MR", "CR", "DX", "US", "MG", "XA", "NM", "SR", "DOC", "KO", "PR", "SEG", "ECG", "RTPLAN", "RTDOSE",
    }  # fmt: skip
    assert {ds.file_meta.TransferSyntaxUID for ds in objects} >= {
        ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, RLELossless,
    }  # fmt: skip
    assert {ds.SOPClassUID for ds in objects} >= {EnhancedMRImageStorage, UltrasoundMultiFrameImageStorage}


def test_compressed_images_are_those_that_were_computed(sent: dict[str, list[Dataset]]) -> None:
    t1 = [ds for ds in sent["lestari/brain"] if ds.get("SeriesNumber") == 2]
    for number in (3, 4):  # RLE, JPEG-LS
        series = [ds for ds in sent["lestari/brain"] if ds.get("SeriesNumber") == number]
        assert len(series) == len(t1)
        for ds in series:
            assert ds.pixel_array.shape == t1[0].pixel_array.shape
            assert ds.pixel_array.max() > 300
    run, compressed = sent["heart/coronaries"]
    assert compressed.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert run.pixel_array.shape == compressed.pixel_array.shape
    moved = np.abs(np.diff(run.pixel_array.astype(int), axis=0)).mean(axis=(1, 2))
    assert (moved > 0).all()


def test_mammograms_name_side_and_view_and_lie_back_to_back(sent: dict[str, list[Dataset]]) -> None:
    views = {(ds.ImageLaterality, ds.ViewPosition): ds for ds in sent["titles/breasts"]}
    assert views.keys() == {("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO")}
    for (side, view), ds in views.items():
        assert ds.ViewCodeSequence[0].CodeValue == {"CC": "399162004", "MLO": "399368009"}[view]
        assert ds.PatientOrientation[0] == ("A" if side == "L" else "P")
        left, right = np.array_split(ds.pixel_array, 2, axis=1)
        wall, nipple = (left, right) if side == "L" else (right, left)
        assert wall.mean() > nipple.mean()


def test_documents_speak_of_objects_that_are_there(sent: dict[str, list[Dataset]]) -> None:
    """Reports, key images, presentation states and segmentations."""
    there = {ds.SOPInstanceUID for study in sent.values() for ds in study}

    def named(ds: Dataset) -> set[str]:
        uids = {str(ds.ReferencedSOPInstanceUID)} if "ReferencedSOPInstanceUID" in ds else set()
        for element in ds:
            if element.VR == "SQ":
                uids |= set().union(*(named(item) for item in element.value))
        return uids

    for study in ("mononym/ct", "mononym/dx", "lestari/brain"):
        documents = [ds for ds in sent[study] if ds.Modality in {"SR", "KO", "PR", "SEG"}]
        assert documents
        for ds in documents:
            assert named(ds)
            assert named(ds) <= there
    titles = [ds.ConceptNameCodeSequence[0].CodeValue for ds in sent["mononym/ct"] if ds.Modality == "KO"]
    assert titles == ["113000"]


def test_the_segmentation_covers_the_nodule(sent: dict[str, list[Dataset]]) -> None:
    (segmentation,) = [ds for ds in sent["mononym/ct"] if ds.Modality == "SEG"]
    mask = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    rows, columns = np.nonzero(mask.any(axis=0))
    pixel = float(segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing[0])
    corner = segmentation.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert columns.mean() * pixel + float(corner[0]) == pytest.approx(NODULE.centre[0], abs=pixel)
    assert rows.mean() * pixel + float(corner[1]) == pytest.approx(NODULE.centre[1], abs=pixel)


def test_contradictions_say_they_are_objects_of_studies_sent_before(
    shipments: list[Shipment], sent: dict[str, list[Dataset]]
) -> None:
    disputed = [shipment for shipment in shipments if shipment.held]
    assert len(disputed) == 3
    assert disputed == shipments[-3:]
    for shipment in disputed:
        (ds,) = sent[name(shipment)]
        assert ds.SOPInstanceUID == shipment.held
        assert ds.StudyInstanceUID == shipment.examination.study_instance_uid


def test_ct_slices_lie_on_one_line_at_the_spacing_they_state(sent: dict[str, list[Dataset]]) -> None:
    slices = [ds for ds in sent["mononym/ct"] if ds.Modality == "CT"]
    first = slices[0]
    assert [float(v) for v in first.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    positions = np.array([[float(v) for v in ds.ImagePositionPatient] for ds in slices])
    steps = np.diff(positions, axis=0)
    assert np.allclose(steps, [0, 0, -SMALL.spacing])
    assert {float(ds.SpacingBetweenSlices) for ds in slices} == {SMALL.spacing}
    assert [ds.InstanceNumber for ds in slices] == list(range(1, len(slices) + 1))
    assert len({ds.FrameOfReferenceUID for ds in slices}) == len({ds.SeriesInstanceUID for ds in slices}) == 1
    # the middle of the image is the middle of the body
    middle = positions[0, 0] + float(first.PixelSpacing[1]) * (first.Columns - 1) / 2
    assert middle == pytest.approx(0, abs=0.01)


def test_ct_pixels_are_hounsfield_units_after_rescaling(sent: dict[str, list[Dataset]]) -> None:
    ds = sent["mononym/ct"][2]  # at the carina
    assert (ds.BitsAllocated, ds.PixelRepresentation, ds.RescaleIntercept, ds.KVP) == (16, 1, -1024, 120)
    hounsfield = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    assert hounsfield.min() >= -1024
    assert np.median(hounsfield[:20, :20]) == pytest.approx(-1000, abs=12)
    assert list(ds.WindowCenterWidthExplanation) == ["MEDIASTINUM", "LUNG", "BONE"]
    assert len(ds.WindowCenter) == len(ds.WindowWidth) == 3


def test_the_computed_radiograph_is_the_inverse_kind(sent: dict[str, list[Dataset]]) -> None:
    (cr,) = sent["titles/chest"]
    frontal, lateral, _ = sent["mononym/dx"]
    assert cr.PhotometricInterpretation == "MONOCHROME1"
    assert frontal.PhotometricInterpretation == lateral.PhotometricInterpretation == "MONOCHROME2"
    # beside the patient: white in MONOCHROME1 is 0
    assert cr.pixel_array[:, 0].mean() > 3500 > 600 > frontal.pixel_array[:, 0].mean()
    assert frontal.SeriesInstanceUID != lateral.SeriesInstanceUID


@pytest.mark.parametrize("row", SAMPLES, ids=lambda row: row[1])
def test_samples_carry_the_new_identity_and_the_old_pixels(row: tuple, sent: dict[str, list[Dataset]]) -> None:
    patient, key, files = row[0], row[1], row[-1]
    for (name, _), ds in zip(files, sent[f"{patient}/{key}"], strict=True):
        original = sample(name)
        assert (ds.PatientName, ds.PatientID) == (PATIENTS[patient].patient_name, PATIENTS[patient].patient_id)
        assert ds.get("PixelData") == original.get("PixelData")
        assert ds.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        del ds.file_meta
        written = BytesIO()
        pydicom.dcmwrite(written, ds, implicit_vr=False, little_endian=True)
        for uid in (original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID):
            assert str(uid).encode() not in written.getvalue()
        for value in (original.PatientName, original.PatientID):
            assert not value or len(str(value)) < 5 or str(value).encode() not in written.getvalue()


def test_names_in_all_shapes_survive_in_utf_8(sent: dict[str, list[Dataset]]) -> None:
    objects = [ds for study in sent.values() for ds in study]
    assert {ds.SpecificCharacterSet for ds in objects} == {"ISO_IR 192"}
    names = {ds.PatientID: str(ds.PatientName) for ds in objects}
    assert names == {patient.patient_id: patient.patient_name for patient in PATIENTS.values()}
    assert len(PATIENTS) == 21  # twenty people, one of them known to two issuers
    assert "Tanuwijaya^Melinda=陳^美玲" in names.values()
    assert "Sukartono" in names.values()
    assert all(len(group) <= 64 for name in names.values() for group in name.split("="))


def test_national_numbers_look_right_and_are_nobodys() -> None:
    for patient in PATIENTS.values():
        if not patient.nik:
            continue
        assert re.fullmatch(r"99\d{14}", patient.nik)
        born = datetime.strptime(patient.patient_birth_date, "%Y%m%d").replace(tzinfo=UTC)
        day = born.day + (40 if patient.patient_sex == "F" else 0)
        assert patient.nik[6:12] == f"{day:02d}{born:%m%y}"


def test_dates_are_relative_to_the_first_sending(sent: dict[str, list[Dataset]]) -> None:
    dates = {study: objects[0].StudyDate for study, objects in sent.items()}
    assert dates["mononym/ct"] == "20250501"
    assert dates["mononym/prior ct"] == "20240501"
    assert dates["titles/chest"] == "20250430"
    assert dates["clan/mr"] == "20250424"
    assert all(ds.StudyDate == dates[study] for study, objects in sent.items() for ds in objects)
    assert {ds.TimezoneOffsetFromUTC for objects in sent.values() for ds in objects} == {"+0700"}
    assert sent["newborn/hearing"][0].PatientBirthDate == "20250428"
    accessions = {ds.AccessionNumber for objects in sent.values() for ds in objects}
    assert len(accessions) == len([study for study in sent if " against " not in study])
    assert max(map(len, accessions)) <= 16
    today = [objects[0].StudyTime for study, objects in sent.items() if dates[study] == "20250501"]
    assert len(today) > 12
    assert "070000" < min(today) < "073000"
    assert "090000" < max(today) < "093015"


@pytest.mark.parametrize(
    ("clock", "earliest", "latest"),
    [
        ("01:30", "00:00", "01:30"),
        ("07:20", "00:00", "07:20"),
        ("11:00", "07:00", "11:00"),
        ("22:00", "07:00", "16:40"),
    ],
)
def test_the_working_day_ends_now_at_the_latest(clock: str, earliest: str, latest: str) -> None:
    hour, minute = map(int, clock.split(":"))
    label = Label(FIRST_SENT.replace(hour=hour, minute=minute, second=0))
    moments = [label.today(part) for part in (0.0, 0.5, 1.0)]
    assert [f"{moments[0]:%H:%M}", f"{moments[2]:%H:%M}"] == [earliest, latest]
    assert moments == sorted(moments)
    assert {moment.date() for moment in moments} == {FIRST_SENT.date()}


def test_uids_repeat_for_the_same_first_sending_and_differ_for_another() -> None:
    def uids(first_sent: datetime) -> list[str]:
        shipments = Programme(Label(first_sent), SMALL).shipments()
        return [
            uid
            for shipment in shipments
            if shipment.examination.key in ("mr", "hand", "breasts", "coronaries", "hearing")
            for ds in shipment.objects()
            for uid in (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
        ]

    first = uids(FIRST_SENT)
    assert uids(FIRST_SENT) == first
    assert not set(uids(FIRST_SENT + timedelta(microseconds=1))) & set(first)
    assert all(len(uid) <= 64 for uid in first)


def test_a_document_is_a_pdf_whose_table_points_at_its_objects() -> None:
    document = one_page_pdf("Judul (uji)", ["baris satu", "café"])
    start = int(document.rsplit(b"startxref\n", 1)[1].split()[0])
    assert document[start:].startswith(b"xref\n0 7\n")
    for number, offset in enumerate(re.findall(rb"^(\d{10}) 00000 n", document[start:], re.MULTILINE), 1):
        assert document[int(offset) :].startswith(b"%d 0 obj" % number)
    assert rb"Judul \(uji\)" in document
    length = int(re.search(rb"/Length (\d+)", document)[1])
    assert document.split(b"stream\n", 1)[1][length:].startswith(b"\nendstream")
