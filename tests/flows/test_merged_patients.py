"""Patients who are merged, as independent clients see their images through every door."""

import pytest

from pacs.models import Study
from radiology.models import Patient
from radiology.services.merges import merge_patients, undo_merge
from tests.factories import make_user
from tests.flows.test_corrected_and_rejected import Clients, clients, on_disk, series_of_three  # noqa: F401

pytestmark = pytest.mark.usefixtures("committed_db")


def who_it_is(clients: Clients, study: str) -> dict[str, set[tuple[str, str]]]:  # noqa: F811
    found = clients.everywhere(study)
    assert all(len(given) == 3 for given in found.values())
    return {door: {(str(each.PatientName), each.PatientID) for each in given} for door, given in found.items()}


def test_images_leave_with_the_survivors_identity_and_come_back_with_undo(clients: Clients) -> None:  # noqa: F811
    theirs = series_of_three(PatientName="SARY^DEWY", PatientID="RM-1", PatientWeight="61")
    ours = series_of_three(PatientName="SARI^DEWI", PatientID="RM-2")
    assert clients.send([*theirs, *ours]) == [0] * 6
    before = on_disk()
    merged, survivor = Patient.objects.get(patient_id="RM-1"), Patient.objects.get(patient_id="RM-2")
    chief = make_user(role="radiographer")
    merge = merge_patients(who=chief, survivor=survivor, merged=merged)

    uid = theirs[0].StudyInstanceUID
    assert set().union(*who_it_is(clients, uid).values()) == {("SARI^DEWI", "RM-2")}
    for given in clients.everywhere(uid).values():
        assert {each.PatientWeight for each in given} == {61}  # one person: what was measured stays
        original = given[0].OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
        assert (str(original.PatientName), original.PatientID) == ("SARY^DEWY", "RM-1")
    # Whoever asks by the old number is answered with the survivor's studies.
    for number in ("RM-1", "RM-2"):
        answer = clients.findscu("QueryRetrieveLevel=STUDY", f"PatientID={number}", "StudyInstanceUID=")
        assert uid in answer and ours[0].StudyInstanceUID in answer
        found = clients.dicomweb.search_for_studies(search_filters={"PatientID": number})
        assert {each["00100020"]["Value"][0] for each in found} == {"RM-2"} and len(found) == 2

    # What still arrives under the old number joins: a new study, more of the moved one, and of the survivor's own.
    later = series_of_three(PatientName="SARY^DEWY", PatientID="RM-1")
    more = series_of_three(PatientName="SARY^DEWY", PatientID="RM-1", StudyInstanceUID=uid)
    mixed = series_of_three(PatientName="SARY^DEWY", PatientID="RM-1", StudyInstanceUID=ours[0].StudyInstanceUID)
    assert clients.send([*later, *more, *mixed]) == [0] * 9
    assert Study.objects.filter(patient_ref=survivor).count() == 3
    assert Patient.objects.count() == 2
    assert set().union(*who_it_is(clients, later[0].StudyInstanceUID).values()) == {("SARI^DEWI", "RM-2")}
    for given in clients.everywhere(ours[0].StudyInstanceUID).values():
        assert {each.PatientID for each in given} == {"RM-2"}

    undo_merge(who=chief, merge=merge)
    assert set().union(*who_it_is(clients, later[0].StudyInstanceUID).values()) == {("SARY^DEWY", "RM-1")}
    for given in clients.everywhere(uid).values():
        assert {each.PatientID for each in given} == {"RM-1"}
        assert not any("OriginalAttributesSequence" in each for each in given)
    assert {study.study_instance_uid for study in merged.studies.all()} == {uid, later[0].StudyInstanceUID}
    assert on_disk()[:6] == before
