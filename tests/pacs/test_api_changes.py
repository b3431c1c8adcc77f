"""Corrections, deletion and restoring over `/api/v1`."""

import io
from typing import Any

import pydicom
import pytest

from pacs.models import Correction, Study
from radiology.models import AuditEvent, Site
from tests.factories import make_patient, make_site, make_study
from tests.pacs.api_client import ApiProgram, body, problem
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10

pytestmark = pytest.mark.django_db


@pytest.fixture
def editor(site: Site) -> ApiProgram:
    return ApiProgram(name="editor")


def test_a_correction_is_seen_everywhere_and_undone(editor: ApiProgram, site: Site) -> None:
    stored = store(site, part10(ct(AccessionNumber="WRONG")))
    path = f"studies/{stored.study_instance_uid}"
    tag = editor.get(path)["ETag"]
    answer = editor.patch(path, {"accession_number": "RIGHT", "reason": "mistyped"}, If_Match=tag)
    assert answer.status_code == 200, answer.content
    assert answer.json()["accession_number"] == "RIGHT" and answer["ETag"] != tag
    assert editor.get("studies", AccessionNumber="RIGHT").json()["total"] == 1
    file = pydicom.dcmread(io.BytesIO(body(editor.get(f"instances/{stored.sop_instance_uid}/file"))))
    assert file.AccessionNumber == "RIGHT" and "OriginalAttributesSequence" in file
    (made,) = editor.get(f"{path}/history").json()["corrections"]
    assert made["kind"] == "attributes" and made["reason"] == "mistyped" and made["by"] == "editor"
    assert made["changes"] == {"accession_number": "RIGHT"} and made["undone_at"] is None
    for _ in range(2):
        undone = editor.post(made["links"]["undo"].partition("/api/v1/")[2])
        assert undone.status_code == 200 and undone.json()["undone_at"]
    assert editor.get(path).json()["accession_number"] == "WRONG"


def test_a_study_is_given_to_its_patient(editor: ApiProgram, site: Site) -> None:
    stored = store(site, part10(ct(PatientID="1", PatientName="WRONG^NAME")))
    right = make_patient("2", "RIGHT^NAME")
    path = f"studies/{stored.study_instance_uid}"
    body = {"patient": str(right.public_id), "study_description": "CT HEAD"}
    answer = editor.patch(path, body, If_Match=editor.get(path)["ETag"])
    assert answer.status_code == 200, answer.content
    assert answer.json()["patient"]["patient_name"] == "RIGHT^NAME"
    assert answer.json()["study_description"] == "CT HEAD"
    assert editor.get("studies", PatientName="right").json()["total"] == 1
    assert Correction.objects.count() == 2


def test_two_people_at_once_are_told(editor: ApiProgram) -> None:
    path = f"studies/{make_study().study_instance_uid}"
    tag = editor.get(path)["ETag"]
    assert editor.patch(path, {"study_id": "A"}, If_Match=tag).status_code == 200
    problem(editor.patch(path, {"study_id": "B"}, If_Match=tag), 412, "If-Match")
    assert editor.get(path).json()["study_id"] == "A"
    version = editor.get(path).json()["version"]
    assert editor.patch(path, {"study_id": "B"}, If_Match=f'"{version}"').status_code == 200


def test_images_that_arrive_meanwhile_are_no_contradiction(editor: ApiProgram, site: Site) -> None:
    stored = store(site, part10(ct()))
    path = f"studies/{stored.study_instance_uid}"
    tag = editor.get(path)["ETag"]
    store(site, part10(ct(StudyInstanceUID=stored.study_instance_uid)))
    assert editor.patch(path, {"study_id": "A"}, If_Match=tag).status_code == 200


@pytest.mark.parametrize("header", ["", "*", "abc", '"x-1"'])
def test_a_correction_says_which_version_it_is_of(editor: ApiProgram, header: str) -> None:
    path = f"studies/{make_study().study_instance_uid}"
    given = {"If_Match": header} if header else {}
    problem(editor.patch(path, {"study_id": "A"}, **given), 428, "If-Match")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, ""),
        ({"reason": "nothing else"}, ""),
        ({"study_date": "20261399"}, "study_date"),
        ({"accession_number": "x" * 17}, "accession_number"),
        ({"accession_number": "a\\b"}, "accession_number"),
        ({"accession_number": 7}, "accession_number"),
        ({"patient_name": "NEW^NAME"}, "patient_name"),
        ({"AccessionNumber": "A"}, "AccessionNumber"),
        ({"patient": "not-a-uuid"}, "patient"),
        ([], ""),
        ("text", ""),
    ],
)
def test_what_cannot_be_corrected_is_refused_by_name(editor: ApiProgram, given: Any, field: str) -> None:
    study = make_study()
    problem(editor.patch(f"studies/{study.study_instance_uid}", given, If_Match='"1"'), 400, field)
    assert not Correction.objects.exists()


def test_a_patient_of_another_site_is_not_there(editor: ApiProgram) -> None:
    study, elsewhere = make_study(), make_patient("9", site=make_site())
    answer = editor.patch(f"studies/{study.study_instance_uid}", {"patient": str(elsewhere.public_id)}, If_Match='"1"')
    problem(answer, 404, "patient")


def test_half_a_correction_is_none(editor: ApiProgram) -> None:
    study, elsewhere = make_study(study_id="old"), make_patient("9", site=make_site())
    given = {"patient": str(elsewhere.public_id), "study_id": "new"}
    problem(editor.patch(f"studies/{study.study_instance_uid}", given, If_Match='"1"'), 404, "patient")
    study.refresh_from_db()
    assert study.study_id == "old"


@pytest.mark.parametrize("way", ["parameter", "body"])
def test_a_study_is_deleted_listed_and_restored(editor: ApiProgram, way: str) -> None:
    study = make_study(make_patient("7"), series=1, instances=1)
    path = f"studies/{study.study_instance_uid}"
    reason = "sent for the wrong patient"
    gone = editor.delete(path, reason=reason) if way == "parameter" else editor.delete(path, {"reason": reason})
    assert gone.status_code == 200, gone.content
    assert gone.json()["reason"] == reason and gone.json()["by"] == "editor" and gone.json()["restorable_until"]
    problem(editor.get(path), 404, "study")
    assert editor.get("studies").json()["total"] == 0
    (listed,) = editor.get("studies/deleted").json()["data"]
    assert listed == gone.json()
    problem(editor.delete(path, reason="again"), 404, "study")
    back = editor.post(f"{path}/restore")
    assert back.status_code == 200 and back.json()["study_instance_uid"] == study.study_instance_uid
    assert editor.get("studies/deleted").json()["data"] == []
    problem(editor.post(f"{path}/restore"), 409, "study")
    (removal,) = editor.get(f"{path}/history").json()["removals"]
    assert removal["restored_at"] and removal["code"] == "deleted"
    events = AuditEvent.objects.filter(study_instance_uid=study.study_instance_uid).order_by("id")
    assert [each.event for each in events if each.action != "R"] == ["study.deleted", "study.restored"]


def test_deleting_needs_a_reason_and_the_scope(editor: ApiProgram) -> None:
    study = make_study()
    path = f"studies/{study.study_instance_uid}"
    problem(editor.delete(path), 400, "reason")
    problem(editor.delete(path, reason="  "), 400, "reason")
    problem(editor.delete(path, reason="x" * 201), 400, "reason")
    problem(editor.delete(path, {"reason": 7}), 400, "reason")
    writer = ApiProgram(scopes=["studies.read", "studies.write"], name="writer")
    problem(writer.delete(path, reason="x"), 403)
    problem(writer.get("studies/deleted"), 403)
    problem(writer.post(f"{path}/restore"), 403)
    reader = ApiProgram(scopes=["studies.read"], name="reader")
    problem(reader.patch(path, {"study_id": "A"}, If_Match='"1"'), 403)
    assert Study.objects.filter(deleted_at=None).count() == 1


def test_what_another_site_deleted_is_not_listed_nor_restored(editor: ApiProgram) -> None:
    other = ApiProgram(site=make_site(), name="there")
    study = make_study(make_patient(site=site_of_there()))
    path = f"studies/{study.study_instance_uid}"
    assert other.delete(path, reason="x").status_code == 200
    assert editor.get("studies/deleted").json()["data"] == []
    problem(editor.post(f"{path}/restore"), 404, "study")


def site_of_there() -> Site:
    return Site.objects.get(apiclient__name="there")


def test_the_list_of_deleted_studies_has_pages(editor: ApiProgram) -> None:
    uids = []
    for _ in range(3):
        uids.append(make_study().study_instance_uid)
        editor.delete(f"studies/{uids[-1]}", reason="x")
    first = editor.get("studies/deleted", limit="2").json()
    second = editor.get(first["next"]).json()
    found = [each["study_instance_uid"] for page in (first, second) for each in page["data"]]
    assert found == uids[::-1] and "next" not in second
