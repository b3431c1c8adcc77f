"""Key images: chosen of the archive, kept with the version, in the letter and in the structured report."""

import contextlib
import re
import subprocess
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone
from PIL import Image
from pydicom import dcmread
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid

from pacs.models import Instance, Study
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, PreconditionFailed
from radiology.models import Report, ReportStatus, ReportVersion, RequestedProcedure, Role, Scope, Site, User
from radiology.services.key_images import MOST, choose_key_images, picture_of, place_of
from radiology.services.letter_pictures import LARGEST, QUALITIES, Pictures, figures_of
from radiology.services.report_pdf import pdf_of
from radiology.services.reports import add_addendum, discard_draft, sign_report, withdraw_report, write_draft
from tests.factories import make_patient, make_site, make_user
from tests.pacs.api_client import ApiProgram
from tests.pacs.reported import TEXT, errors_of, files_of, image_of, imaged, keep, objects_of, ordered, tree_of, work

pytestmark = pytest.mark.django_db
Tool = Callable[[str], str]
WIDE, NARROW = ({"center": 40, "width": each, "function": "linear"} for each in (400, 80))


@pytest.fixture
def radiologist(site: Site) -> User:
    return make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")


@pytest.fixture
def procedure(site: Site) -> RequestedProcedure:
    return ordered()


def uids(study: Study) -> list[str]:
    return list(
        Instance.objects.filter(series_ref__study_ref=study, series_ref__modality="CT")
        .order_by("instance_number")
        .values_list("sop_instance_uid", flat=True)
    )


def chosen(procedure: RequestedProcedure, who: User, *images: Any, version: int | None = None) -> Report:
    """Choose images, given as SOP Instance UIDs or as what is sent."""
    if version is None:
        there = Report.objects.filter(requested_procedure_ref=procedure).exclude(status=ReportStatus.ENTERED_IN_ERROR)
        version = there.values_list("version", flat=True).first() or 0
    sent = [{"instance": each} if isinstance(each, str) else each for each in images]
    report = choose_key_images(procedure=procedure, images=sent, version=version, who=who)
    report.refresh_from_db()
    return report


def with_text(report: Report, who: User) -> Report:
    return write_draft(procedure=report.requested_procedure_ref, sections=TEXT, version=report.version, who=who)


def signed(report: Report, who: User, **more: Any) -> Report:
    sign_report(report=report, version=report.version, who=who, **more)
    report.refresh_from_db()
    return report


def test_they_belong_to_the_draft_then_to_the_version_for_good(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    first, second = uids(imaged(procedure))
    report = with_text(
        chosen(procedure, radiologist, {"instance": first, "window": WIDE, "caption": " Nodul  "}), radiologist
    )
    report.refresh_from_db()
    report = signed(report, radiologist)
    [image] = report.versions.get().key_images
    assert (image["instance"], image["window"], image["caption"]) == (first, WIDE, "Nodul")
    assert report.draft is None and report.draft_key_images is None
    report = chosen(procedure, radiologist, {"instance": second}, {"id": image["id"], "caption": "Lain"})
    assert report.draft == report.versions.get().sections
    report = signed(report, radiologist, reason="Gambar lain")
    newest, oldest = report.versions.all()
    assert [each["instance"] for each in newest.key_images] == [second, first]
    assert [each["caption"] for each in newest.key_images] == ["", "Lain"]
    assert newest.key_images[1]["id"] == image["id"] and newest.key_images[1]["window"] == WIDE
    assert oldest.key_images == [image]
    add_addendum(report=report, version=report.version, text="Tambahan", who=radiologist)
    report.refresh_from_db()
    withdraw_report(report=report, version=report.version, reason="x", who=radiologist)
    assert all(each.key_images == newest.key_images for each in report.versions.all()[:2])


def test_what_is_typed_on_a_signed_report_keeps_them(procedure: RequestedProcedure, radiologist: User) -> None:
    first, _ = uids(imaged(procedure))
    report = signed(with_text(chosen(procedure, radiologist, first), radiologist), radiologist)
    report = write_draft(procedure=procedure, sections={"impression": "Lain"}, version=report.version, who=radiologist)
    report = signed(report, radiologist, reason="x")
    assert [each["instance"] for each in report.versions.all()[0].key_images] == [first]
    report = chosen(procedure, radiologist)
    assert report.draft_key_images == []
    report = discard_draft(report=report, version=report.version, who=radiologist)  # type: ignore[assignment]
    assert report.draft_key_images is None


def test_one_image_may_be_shown_in_two_windows_and_in_one_only_once(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    first, _ = uids(imaged(procedure))
    wide, narrow = ({"instance": first, "window": each} for each in (WIDE, NARROW))
    report = chosen(procedure, radiologist, wide, narrow, first)
    assert [each["window"] for each in report.draft_key_images] == [WIDE, NARROW, None]
    ids = [{"id": each["id"]} for each in report.draft_key_images]
    for twice in ([*ids, wide], [*ids, ids[0]]):
        with pytest.raises(Conflict, match="already"):
            chosen(procedure, radiologist, *twice)


def test_what_is_no_image_of_the_patient_is_refused(procedure: RequestedProcedure, radiologist: User) -> None:
    first, second = uids(imaged(procedure))
    other = uids(imaged(ordered(make_patient("MRN-2", "LESTARI^AYU"), number="2")))[0]
    prior = uids(imaged(ordered(procedure.order_ref.patient_ref, number="3")))[0]
    Instance.objects.filter(sop_instance_uid=second).update(removed_at=timezone.now())
    for unknown in (other, second, generate_uid()):
        with pytest.raises(NotFound, match="another patient"):
            chosen(procedure, radiologist, first, unknown)
    assert not Report.objects.exists()
    assert len(chosen(procedure, radiologist, first, prior).draft_key_images or []) == 2


def test_the_images_of_another_site_are_not_there(procedure: RequestedProcedure, radiologist: User) -> None:
    first, _ = uids(imaged(procedure))
    stranger = make_user("stranger", role=Role.RADIOLOGIST, site=make_site("far"))
    with pytest.raises(NotFound):
        chosen(procedure, stranger, first)
    with pytest.raises(NotAllowed):
        chosen(procedure, make_user("doctor", role=Role.DOCTOR), first)


@pytest.mark.parametrize(
    "wrong",
    [
        "x", [1], [{}], [{"instance": "../1"}], [{"instance": "1.2", "id": 5}],
        [{"instance": "HERE", "frame": 2}], [{"instance": "HERE", "frame": -1}], [{"instance": "HERE", "frame": "1"}],
        [{"instance": "HERE", "window": {"center": 1, "width": 0}}],
        [{"instance": "HERE", "window": {"center": 10**400, "width": 1}}],
        [{"instance": "HERE", "window": {"center": float("nan"), "width": 1}}],
        [{"instance": "HERE", "window": {"center": 1, "width": 1, "function": "table"}}],
        [{"instance": "HERE", "caption": 7}], [{"instance": "HERE", "caption": "x" * 201}],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(procedure: RequestedProcedure, radiologist: User, wrong: Any) -> None:
    first, _ = uids(imaged(procedure))
    if isinstance(wrong, list):
        wrong = [
            {**each, "instance": first} if isinstance(each, dict) and each.get("instance") == "HERE" else each
            for each in wrong
        ]
    with pytest.raises((InvalidValue, NotFound)):
        choose_key_images(procedure=procedure, images=wrong, version=0, who=radiologist)


def test_there_is_an_end_to_them(procedure: RequestedProcedure, radiologist: User) -> None:
    every = uids(imaged(procedure, count=MOST + 1))
    with pytest.raises(Conflict, match="20"):
        chosen(procedure, radiologist, *every)
    report = chosen(procedure, radiologist, *every[:MOST])
    assert len(report.draft_key_images or []) == MOST
    report = signed(with_text(report, radiologist), radiologist)
    assert len(pdf_of(report=report)) < 2_000_000


def test_pictures_that_would_be_too_much_for_a_letter_are_compressed_more(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    every = uids(imaged(procedure, count=9, side=560))  # noise, which takes the most room

    def drawn(*instances: str) -> list[bytes]:
        there = Report.objects.filter(requested_procedure_ref=procedure).first()
        report = chosen(procedure, radiologist, *instances, version=there.version if there else 0)
        version = ReportVersion(report_ref=report, key_images=report.draft_key_images)
        pictures = Pictures()
        return [pictures.fetch(each.address).read() for each in figures_of(report, version, pictures)]

    def at(quality: int, side: int) -> bytes:
        report = Report.objects.get(requested_procedure_ref=procedure)
        return picture_of(report, report.draft_key_images[0], side=side, quality=quality)

    assert drawn(every[0]) == [at(QUALITIES[0], 720)]
    many = drawn(*every)
    assert len(at(QUALITIES[0], 560)) * 9 > LARGEST, "as fine as that they would be too much"
    assert many[0] in {at(each, 560) for each in QUALITIES[1:]}
    assert sum(len(each) for each in many) <= LARGEST


def test_of_two_who_choose_at_once_the_second_is_told(procedure: RequestedProcedure, radiologist: User) -> None:
    first, second = uids(imaged(procedure))
    chosen(procedure, radiologist, first, version=0)
    with pytest.raises(PreconditionFailed) as refused:
        chosen(procedure, radiologist, second, version=0)
    assert refused.value.facts["report"].draft_key_images[0]["instance"] == first


def test_an_image_that_turns_out_to_be_another_patient_s_is_not_signed_and_not_shown(
    procedure: RequestedProcedure, radiologist: User
) -> None:
    study = imaged(procedure)
    first, _ = uids(study)
    report = with_text(chosen(procedure, radiologist, first), radiologist)
    elsewhere = make_patient("MRN-2", "LESTARI^AYU")
    mine = study.patient_ref
    Study.objects.filter(pk=study.pk).update(patient_ref=elsewhere)
    with pytest.raises(Conflict, match="Key image 1"):
        sign_report(report=report, version=report.version, who=radiologist)
    Study.objects.filter(pk=study.pk).update(patient_ref=mine)
    report = signed(report, radiologist)
    client = Client()
    client.force_login(radiologist)
    [image] = report.versions.get().key_images
    address = f"/reports/{report.public_id}/key-images/{image['id']}"
    assert client.get(address)["Content-Type"] == "image/jpeg"
    Study.objects.filter(pk=study.pk).update(patient_ref=elsewhere)
    assert client.get(address).status_code == 404
    page = client.get(f"/reports/{report.public_id}").content.decode()
    assert "no longer in the archive" in page and address not in page
    assert report.versions.get().key_images == [image]


def test_the_picture_is_drawn_as_it_was_shown(procedure: RequestedProcedure, radiologist: User) -> None:
    first, _ = uids(imaged(procedure))
    pictures = {}
    whole, part = ({"center": 2048, "width": each, "function": "linear"} for each in (4096, 1000))
    for name, more in (
        ("whole", {"window": whole}),
        ("part", {"window": part}),
        ("inverted", {"window": whole, "inverted": True}),
    ):
        report = chosen(procedure, radiologist, {"instance": first, **more})
        client = Client()
        client.force_login(radiologist)
        [image] = report.draft_key_images or []
        answer = client.get(f"/reports/{report.public_id}/key-images/{image['id']}?small")
        pictures[name] = np.asarray(Image.open(BytesIO(answer.content)).convert("L"), dtype=int)
    assert abs(pictures["whole"] + pictures["inverted"] - 255).max() < 12
    assert np.std(pictures["part"]) > np.std(pictures["whole"]) * 1.2


def test_drafts_are_for_those_who_write(procedure: RequestedProcedure, radiologist: User) -> None:
    first, second = uids(imaged(procedure))
    report = signed(with_text(chosen(procedure, radiologist, first), radiologist), radiologist)
    report = chosen(procedure, radiologist, second)
    [image] = report.draft_key_images or []
    for who, status in ((radiologist, 200), (make_user("doctor", role=Role.DOCTOR), 404)):
        client = Client()
        client.force_login(who)
        assert client.get(f"/reports/{report.public_id}/key-images/{image['id']}").status_code == status


def frames_of(procedure: RequestedProcedure) -> Any:
    made = image_of(procedure, Rows=16, Columns=16)
    made.NumberOfFrames = 3
    made.SeriesInstanceUID = generate_uid()
    made.InstanceNumber = 9
    made.PixelData = made.PixelData * 3
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    return made


def plain(pdf: bytes) -> bytes:
    """A PDF's objects, its compressed streams opened."""
    found = [pdf]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            found.append(zlib.decompress(stream))
    return b"\n".join(found)


def test_they_are_in_the_structured_report_and_in_the_letter(
    procedure: RequestedProcedure, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    study = imaged(procedure)
    first, _ = uids(study)
    prior = uids(imaged(ordered(procedure.order_ref.patient_ref, number="3")))[0]
    images = [{"instance": first, "window": WIDE, "caption": "Nodul Ø 8 mm"}, {"instance": prior}]
    signed(with_text(chosen(procedure, radiologist, *images), radiologist), radiologist)
    work()
    [file] = files_of(study, "SR")
    assert errors_of(tool("dciodvfy"), file, tmp_path) == []
    tree = tree_of(tool("dsrdump"), file, tmp_path)
    assert "Key Images" in tree and "1: Nodul Ø 8 mm" in tree and "W 400 L 40" in tree
    [document] = objects_of(study, "SR")
    section = document.ContentSequence[-1]
    named = [each.ReferencedSOPSequence[0] for each in section.ContentSequence if each.ValueType == "IMAGE"]
    assert [each.ReferencedSOPInstanceUID for each in named] == [first, prior]
    assert "ReferencedFrameNumber" not in named[0]
    [other] = document.PertinentOtherEvidenceSequence
    assert other.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == prior
    [paper] = objects_of(study, "DOC")
    letter = tmp_path / "letter.pdf"
    letter.write_bytes(paper.EncapsulatedDocument)
    text = subprocess.run(["pdftotext", "-layout", letter, "-"], capture_output=True, text=True, check=True).stdout
    assert "Key images" in text and "Nodul Ø 8 mm" in text and "image 1" in text and "W 400 L 40" in text
    listed = subprocess.run(["pdfimages", "-list", letter], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 4
    assert b"(Key image 2: CT" in plain(letter.read_bytes())  # what a screen reader says


def test_a_frame_is_named_by_its_number(
    procedure: RequestedProcedure, radiologist: User, tool: Tool, tmp_path: Path
) -> None:
    study = imaged(procedure, count=1)
    many = frames_of(procedure)
    keep(many)
    report = chosen(procedure, radiologist, {"instance": many.SOPInstanceUID, "frame": 3})
    [image] = report.draft_key_images or []
    assert image["frame"] == 3 and "frame 3" in place_of(image)
    signed(with_text(report, radiologist), radiologist)
    work()
    [document] = objects_of(study, "SR")
    assert document.ContentSequence[-1].ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber == 3
    [file] = files_of(study, "SR")
    assert errors_of(tool("dciodvfy"), file, tmp_path) == []
    assert dcmread(BytesIO(file)).SOPInstanceUID


def test_what_was_deleted_is_not_referred_to(procedure: RequestedProcedure, radiologist: User) -> None:
    study = imaged(procedure)
    first, second = uids(study)
    report = signed(with_text(chosen(procedure, radiologist, first, second), radiologist), radiologist)
    Instance.objects.filter(sop_instance_uid=first).update(removed_at=timezone.now())
    work()
    [document] = objects_of(study, "SR")
    images = [each for each in document.ContentSequence[-1].ContentSequence if each.ValueType == "IMAGE"]
    assert [each.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for each in images] == [second]
    assert len(report.versions.get().key_images) == 2


def test_rest_shows_them(procedure: RequestedProcedure, radiologist: User) -> None:
    first, second = uids(imaged(procedure))
    report = signed(
        with_text(chosen(procedure, radiologist, {"instance": first, "window": WIDE, "caption": "Nodul"}), radiologist),
        radiologist,
    )
    chosen(procedure, radiologist, second)
    program = ApiProgram(scopes=[Scope.STUDIES_READ])
    [image] = program.get(f"reports/{report.public_id}").json()["key_images"]
    assert (image["sop_instance_uid"], image["window_center"], image["window_width"]) == (first, 40, 400)
    assert image["caption"] == "Nodul" and image["frame"] is None
    picture = program.get(image["picture"])
    assert picture["Content-Type"] == "image/jpeg" and Image.open(BytesIO(picture.content)).format == "JPEG"
    [version] = program.get(f"reports/{report.public_id}/versions").json()["data"]
    assert version["key_images"] == [image]
    [listed] = program.get("reports").json()["data"]
    assert listed["key_images"] == [image]
    report.refresh_from_db()
    [draft] = report.draft_key_images or []
    assert program.get(f"reports/{report.public_id}/key-images/{draft['id']}").status_code == 404
