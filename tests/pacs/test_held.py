"""Conflicting objects are decided by people: what each decision does to every door, and how it is taken back."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, FileDataset, dcmread
from pydicom.uid import generate_uid

from pacs.models import (
    Correction,
    HeldChoice,
    HeldDecision,
    HeldObject,
    HeldReason,
    HeldState,
    Instance,
    Location,
    Removal,
    Series,
    Study,
)  # fmt: skip
from pacs.services import corrections, headers, held, held_cases
from pacs.services.outgoing import part10_blocks
from pacs.services.retrieve import instances_of
from pacs.services.store import Source, Stored, StoreOutcome, receive_part10, store_instance
from radiology.errors import Conflict, InvalidValue, NotAllowed
from radiology.models import AuditEvent, Patient, Role, Site, User
from tests.factories import make_patient, make_site, make_user
from tests.pacs.objects import ct, part10

BUDI = {"PatientID": "MRN-1001", "PatientName": "SANTOSO^BUDI", "PatientBirthDate": "19700101", "PatientSex": "M"}
SITI = {"PatientID": "MRN-2002", "PatientName": "AMINAH^SITI", "PatientBirthDate": "19880812", "PatientSex": "F"}


@pytest.fixture
def radiographer(site: Site) -> User:
    from django.contrib.auth.models import Group

    user = make_user("rina")
    user.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    return user


def store(data_set: Dataset, ae_title: str = "CT1", site: Site | None = None) -> Stored:
    with receive_part10(source=Source.of_site(site or Site.objects.default(), ae_title)) as incoming:
        incoming.write(part10(data_set))
        return store_instance(received=incoming.finish())


def only_case(who: User) -> held_cases.Case:
    page = held_cases.cases(who=who, reasons=list(HeldReason))
    assert len(page.cases) == 1
    return page.cases[0]


def leaving(who: User, sop_instance_uid: str) -> Dataset:
    """The object as a client gets it."""
    location = instances_of(who=who, sop_instance_uids=[sop_instance_uid]).get()
    return dcmread(BytesIO(b"".join(part10_blocks(location=location))))


def rows() -> list[Any]:
    """All that doors show, to compare before and after."""
    return [
        list(Study.objects.order_by("pk").values_list(
            "study_instance_uid", "patient_ref__patient_id", "study_description", "accession_number", "overlay",
            "number_of_study_related_series", "number_of_study_related_instances", "size", "modalities_in_study",
        )),
        list(Series.objects.order_by("pk").values_list(
            "series_instance_uid", "study_ref__study_instance_uid", "series_description", "overlay",
            "number_of_series_related_instances", "size",
        )),
        list(Instance.objects.order_by("pk").values_list("sop_instance_uid", "series_ref", "instance_number", "rows")),
        list(Location.objects.current().order_by("instance_ref").values_list("instance_ref", "path")),
        list(Patient.objects.order_by("pk").values_list("patient_id", "patient_name", "patient_sex")),
    ]  # fmt: skip


def test_an_accepted_correction_is_what_every_door_gives_and_undo_brings_the_first_back(radiographer: User) -> None:
    first = ct(SeriesDescription="Axial", StudyDescription="CT Thoraks", AccessionNumber="A1", **BUDI)
    store(first)
    before = rows()
    fixed = ct(**{**BUDI, "PatientName": "SANTOSO^BUDI^Dr"})
    fixed.update(first)
    fixed.PatientName, fixed.StudyDescription, fixed.AccessionNumber = "SANTOSA^BUDI", "CT Thorax", "A2"
    fixed.InstanceNumber = 7
    assert store(fixed).outcome is StoreOutcome.HELD
    files = {each.path: hashlib.sha256(read(each)).digest() for each in Location.objects.all()}
    case = only_case(radiographer)
    assert case.choices[0] == HeldChoice.REPLACE
    assert {fact.key for fact in case.facts if fact.differs} == {"name", "study", "accession"}
    assert {each.name for each in case.differences} == {
        "PatientName", "StudyDescription", "AccessionNumber", "InstanceNumber",
    }  # fmt: skip
    decision = held.decide(who=radiographer, case=case.key, choice=HeldChoice.REPLACE)
    study = Study.objects.select_related("patient_ref").get()
    assert (study.study_description, study.accession_number) == ("CT Thorax", "A2")
    assert study.patient_ref.patient_name == "SANTOSA^BUDI"
    out = leaving(radiographer, first.SOPInstanceUID)
    assert (out.PatientName, out.AccessionNumber, out.InstanceNumber) == ("SANTOSA^BUDI", "A2", 7)
    assert out.PixelData == first.PixelData
    assert held_cases.cases(who=radiographer, reasons=list(HeldReason)).cases == []
    # Both versions are known now: either sent again changes nothing.
    assert store(first).outcome is store(fixed).outcome is StoreOutcome.UNCHANGED
    held.undo(who=radiographer, decision=decision)
    assert rows() == before
    assert leaving(radiographer, first.SOPInstanceUID).AccessionNumber == "A1"
    assert only_case(radiographer).count == 1
    assert {each.path: hashlib.sha256(read(each)).digest() for each in Location.objects.all()} == files


def read(location: Location) -> bytes:
    from pacs.storage import open_object

    with open_object(location=location) as file:
        return file.read()


def test_the_same_decision_twice_is_one_and_another_one_is_told_of_the_first(radiographer: User) -> None:
    first = ct(**BUDI)
    store(first)
    first.StudyDescription = "Other"
    store(first)
    case = only_case(radiographer)
    decision = held.decide(who=radiographer, case=case.key, choice=HeldChoice.REPLACE)
    assert held.decide(who=radiographer, case=case.key, choice=HeldChoice.REPLACE) == decision
    with pytest.raises(Conflict, match="rina"):
        held.decide(who=radiographer, case=case.key, choice=HeldChoice.REJECT)
    held.undo(who=radiographer, decision=decision)
    held.undo(who=radiographer, decision=decision)
    assert AuditEvent.objects.filter(event="held.decided").count() == 1
    assert AuditEvent.objects.filter(event="held.undone").count() == 1
    assert HeldObject.objects.get().state == HeldState.WAITING


def test_a_rejected_object_stays_away_even_when_it_is_sent_again(radiographer: User) -> None:
    first = ct(**BUDI)
    store(first)
    first.StudyDescription = "Other"
    store(first)
    before = rows()
    decision = held.decide(who=radiographer, case=only_case(radiographer).key, choice=HeldChoice.REJECT)
    assert store(first).outcome is StoreOutcome.HELD
    assert held_cases.cases(who=radiographer, reasons=list(HeldReason)).cases == []
    assert rows() == before
    held.undo(who=radiographer, decision=decision)
    assert only_case(radiographer).count == 1


def test_other_pixels_replace_the_first_only_with_a_reason(radiographer: User) -> None:
    first = ct(seed=1, **BUDI)
    store(first)
    second = ct(seed=2)
    second.update({tag: first[tag] for tag in list(first.keys()) if tag != 0x7FE00010})
    store(second)
    case = only_case(radiographer)
    assert case.key.reason == HeldReason.OTHER_PIXELS
    assert case.choices[0] == HeldChoice.REJECT
    with pytest.raises(InvalidValue) as error:
        held.decide(who=radiographer, case=case.key, choice=HeldChoice.REPLACE)
    assert error.value.field == "why"
    decision = held.decide(who=radiographer, case=case.key, choice=HeldChoice.REPLACE, why="Rebuilt on the console")
    assert leaving(radiographer, first.SOPInstanceUID).PixelData == second.PixelData
    held.undo(who=radiographer, decision=decision)
    assert leaving(radiographer, first.SOPInstanceUID).PixelData == first.PixelData


def conflicting_study(slices: int = 3) -> tuple[FileDataset, list[FileDataset]]:
    """A study of Budi, and slices under the same Study UID that say they are Siti's."""
    first = ct(**BUDI)
    store(first)
    series = generate_uid()
    others = [
        ct(
            **{
                **SITI,
                "StudyInstanceUID": first.StudyInstanceUID,
                "SeriesInstanceUID": series,
                "InstanceNumber": number,
            }
        )
        for number in range(1, slices + 1)
    ]
    for each in others:
        assert store(each).outcome is StoreOutcome.HELD
    return first, others


def test_many_slices_are_one_case_and_join_the_patient_of_the_study(radiographer: User) -> None:
    first, others = conflicting_study()
    before = rows()
    case = only_case(radiographer)
    assert (case.count, case.choices[0]) == (3, HeldChoice.APART)
    decision = held.decide(who=radiographer, case=case.key, choice=HeldChoice.JOIN)
    assert decision.number_of_objects == 3
    study = Study.objects.get()
    assert (study.number_of_study_related_instances, study.number_of_study_related_series) == (4, 2)
    out = leaving(radiographer, others[1].SOPInstanceUID)
    assert (out.PatientID, out.PatientName, out.PatientSex) == ("MRN-1001", "SANTOSO^BUDI", "M")
    assert out.OriginalAttributesSequence[-1].ModifiedAttributesSequence[0].PatientID == "MRN-2002"
    assert "OriginalAttributesSequence" not in leaving(radiographer, first.SOPInstanceUID)
    assert store(others[0]).outcome is StoreOutcome.UNCHANGED
    held.undo(who=radiographer, decision=decision)
    assert rows() == before
    assert only_case(radiographer).count == 3


def test_another_patients_slices_get_a_study_of_their_own_and_late_ones_follow(radiographer: User) -> None:
    first, others = conflicting_study()
    before = rows()[:4]
    decision = held.decide(who=radiographer, case=only_case(radiographer).key, choice=HeldChoice.APART)
    own = Study.objects.select_related("patient_ref").exclude(study_instance_uid=first.StudyInstanceUID).get()
    assert (own.patient_ref.patient_id, own.number_of_study_related_instances) == ("MRN-2002", 3)
    out = leaving(radiographer, others[0].SOPInstanceUID)
    assert out.StudyInstanceUID == own.study_instance_uid
    assert out.SeriesInstanceUID == others[0].SeriesInstanceUID
    assert (out.PatientID, out.PatientName) == ("MRN-2002", "AMINAH^SITI")
    late = ct(**{**SITI, "StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": others[0].SeriesInstanceUID})
    store(late)
    case = only_case(radiographer)
    assert (case.count, case.earlier, case.choices[0]) == (1, decision, HeldChoice.APART)
    later = held.decide(who=radiographer, case=case.key, choice=HeldChoice.APART)
    assert leaving(radiographer, late.SOPInstanceUID).StudyInstanceUID == own.study_instance_uid
    with pytest.raises(Conflict):
        held.undo(who=radiographer, decision=decision)
    held.undo(who=radiographer, decision=later)
    held.undo(who=radiographer, decision=decision)
    assert rows()[:4] == before


def test_a_shared_series_uid_gets_a_new_one_when_it_is_kept_apart(radiographer: User) -> None:
    first = ct(**BUDI)
    store(first)
    other = ct(**{
        **SITI, "StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID,
    })  # fmt: skip
    store(other)
    held.decide(who=radiographer, case=only_case(radiographer).key, choice=HeldChoice.APART)
    out = leaving(radiographer, other.SOPInstanceUID)
    assert out.SeriesInstanceUID not in {first.SeriesInstanceUID, ""}
    assert Series.objects.get(series_instance_uid=out.SeriesInstanceUID).study_ref.patient_ref.patient_id == "MRN-2002"
    assert leaving(radiographer, first.SOPInstanceUID).SeriesInstanceUID == first.SeriesInstanceUID


@pytest.mark.parametrize("choice", [HeldChoice.JOIN, HeldChoice.APART])
def test_a_series_in_two_studies_joins_or_is_kept_apart(radiographer: User, choice: HeldChoice) -> None:
    first = ct(AccessionNumber="A1", **BUDI)
    store(first)
    other = ct(AccessionNumber="A9", SeriesInstanceUID=first.SeriesInstanceUID, **BUDI)
    store(other)
    before = rows()
    case = only_case(radiographer)
    assert case.key.reason == HeldReason.SERIES_OF_OTHER_STUDY
    decision = held.decide(who=radiographer, case=case.key, choice=choice)
    out = leaving(radiographer, other.SOPInstanceUID)
    if choice == HeldChoice.JOIN:
        assert (out.StudyInstanceUID, out.AccessionNumber) == (first.StudyInstanceUID, "A1")
        assert out.SeriesInstanceUID == first.SeriesInstanceUID
    else:
        assert (out.StudyInstanceUID, out.AccessionNumber) == (other.StudyInstanceUID, "A9")
        assert out.SeriesInstanceUID != first.SeriesInstanceUID
    held.undo(who=radiographer, decision=decision)
    assert rows() == before


def test_an_image_that_says_it_belongs_elsewhere_moves_there_with_a_reason(radiographer: User) -> None:
    first = ct(**BUDI)
    kept = ct(StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID, **BUDI)
    store(first)
    store(kept)
    before = rows()
    moved = ct(SOPInstanceUID=first.SOPInstanceUID, **BUDI)
    store(moved)
    case = only_case(radiographer)
    assert case.key.reason == HeldReason.INSTANCE_ELSEWHERE
    decision = held.decide(who=radiographer, case=case.key, choice=HeldChoice.REPLACE, why="Sent into the right study")
    out = leaving(radiographer, first.SOPInstanceUID)
    assert (out.StudyInstanceUID, out.PixelData) == (moved.StudyInstanceUID, moved.PixelData)
    counts = dict(Study.objects.values_list("study_instance_uid", "number_of_study_related_instances"))
    assert counts == {first.StudyInstanceUID: 1, moved.StudyInstanceUID: 1}
    held.undo(who=radiographer, decision=decision)
    assert rows() == before


def test_a_console_that_fixes_the_patient_of_a_whole_study_moves_it(radiographer: User) -> None:
    wrong = [ct(**{**BUDI, "StudyInstanceUID": "2.25.77", "SeriesInstanceUID": "2.25.78"}) for _ in range(2)]
    for each in wrong:
        store(each)
    make_patient("MRN-2002", "AMINAH^SITI", patient_birth_date="19880812", patient_sex="F")
    for each in wrong:
        for keyword, value in SITI.items():
            setattr(each, keyword, value)
    store(wrong[0])
    with pytest.raises(Conflict, match="1 more"):
        held.decide(who=radiographer, case=only_case(radiographer).key, choice=HeldChoice.REPLACE)
    assert only_case(radiographer).count == 1
    store(wrong[1])
    decision = held.decide(who=radiographer, case=only_case(radiographer).key, choice=HeldChoice.REPLACE)
    assert Study.objects.get().patient_ref.patient_id == "MRN-2002"
    assert Correction.objects.get().undone_at is None
    held.undo(who=radiographer, decision=decision)
    assert Study.objects.get().patient_ref.patient_id == "MRN-1001"
    assert Correction.objects.get().undone_at is not None


def test_what_later_corrections_build_upon_is_not_taken_back(radiographer: User) -> None:
    conflicting_study()
    decision = held.decide(who=radiographer, case=only_case(radiographer).key, choice=HeldChoice.APART)
    own = decision.study_ref
    assert own is not None
    corrections.correct_study(who=radiographer, study=own, version=own.version, changes={"AccessionNumber": "N1"})
    with pytest.raises(Conflict, match="corrected since"):
        held.undo(who=radiographer, decision=decision)


def test_only_who_may_decide_sees_and_decides(radiographer: User) -> None:
    conflicting_study()
    key = only_case(radiographer).key
    doctor, elsewhere = make_user("doc"), make_user("far", site=make_site())
    elsewhere.groups.set(radiographer.groups.all())
    assert held_cases.cases(who=doctor, reasons=list(HeldReason)).cases == []
    assert held_cases.cases(who=elsewhere, reasons=list(HeldReason)).cases == []
    with pytest.raises(NotAllowed):
        held.decide(who=doctor, case=key, choice=HeldChoice.REJECT)
    with pytest.raises(Exception, match="not waiting"):
        held.decide(who=elsewhere, case=key, choice=HeldChoice.REJECT)
    decision = held.decide(who=radiographer, case=key, choice=HeldChoice.REJECT)
    with pytest.raises(Exception, match="no such decision"):
        held.undo(who=elsewhere, decision=decision)


def test_cases_page_by_keyset_at_a_fixed_number_of_queries(
    radiographer: User, django_assert_num_queries: Any, tmp_path: Path
) -> None:
    for _ in range(7):
        conflicting_study(1)
    with django_assert_num_queries(8):
        page = held_cases.cases(who=radiographer, reasons=held_cases.CONFLICTS, size=3)
    seen = [case.key.newest for case in page.cases]
    while page.older:
        page = held_cases.cases(who=radiographer, reasons=held_cases.CONFLICTS, size=3, before=page.older)
        seen += [case.key.newest for case in page.cases]
    assert seen == sorted(HeldObject.objects.values_list("pk", flat=True), reverse=True)
    assert held_cases.cases(who=radiographer, reasons=held_cases.QUARANTINE).cases == []


def test_headers_name_values_sizes_sequences_and_what_was_corrected(radiographer: User) -> None:
    first = ct(**BUDI)
    item = Dataset()
    item.CodeMeaning = "Thorax <script>"
    first.ProcedureCodeSequence = [item]
    block = first.private_block(0x0009, "SINAR TEST", create=True)
    block.add_new(0x01, "LO", "private words")
    store(first)
    study = Study.objects.get()
    corrections.correct_study(who=radiographer, study=study, version=study.version, changes={"AccessionNumber": "NEW"})
    location = instances_of(who=radiographer, sop_instance_uids=[first.SOPInstanceUID]).get()
    found = headers.header_rows(location=location)
    by_name = {row.name: row for row in found}
    assert (by_name["AccessionNumber"].value, by_name["AccessionNumber"].original) == ("NEW", "ACC1")
    assert by_name["PatientName"].original is None
    assert (by_name["CodeMeaning"].depth, by_name["CodeMeaning"].value) == (2, "Thorax <script>")
    assert by_name["PixelData"].length == len(first.PixelData)
    assert any(row.value == "private words" and row.is_private for row in found)
    assert "CT Image Storage" in by_name["SOPClassUID"].value


def test_nothing_is_removed_by_deciding(radiographer: User) -> None:
    conflicting_study()
    held.decide(who=radiographer, case=only_case(radiographer).key, choice=HeldChoice.REJECT)
    assert (Removal.objects.count(), HeldDecision.objects.get().choice) == (0, HeldChoice.REJECT)
