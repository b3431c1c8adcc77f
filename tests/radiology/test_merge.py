"""One person, two patients: what a merge moves, what an undo gives back, and what is refused."""

from typing import Any

import pytest
from django.db import transaction

from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditEvent, Order, Patient, PatientMerge, PatientVersion, User
from radiology.services.identity import Identity, patient_for_study
from radiology.services.merges import merge_patients, preview_merge, undo_merge
from radiology.services.patient_moves import movers
from radiology.services.survivors import former_numbers, note_late_arrival, survivor_of
from radiology.signals import patient_merged, patient_unmerged
from tests.factories import default_site, make_patient, make_site, make_study, make_user
from tests.parallel import at_once

pytestmark = pytest.mark.database


@pytest.fixture
def who(db: None) -> User:
    return make_user(role="radiographer")


def identity(patient: Patient) -> Identity:
    return Identity(
        patient_id=patient.patient_id,
        patient_name=patient.patient_name,
        patient_birth_date=patient.patient_birth_date,
        patient_sex=patient.patient_sex,
    )


def fresh(row: Any) -> Any:
    return type(row)._default_manager.get(pk=row.pk)


class TestMerging:
    def test_everything_moves_and_the_merged_row_points_at_the_survivor(self, who: User) -> None:
        merged = make_patient("RM-1", identifiers=[("NIK", "3171000000000001"), ("BPJS", "1")])
        survivor = make_patient("RM-2", identifiers=[("BPJS", "1")])
        study, order = make_study(merged), Order.objects.create(patient_ref=merged)
        merge = merge_patients(who=who, survivor=survivor, merged=merged, reason="registered twice")
        assert fresh(merged).merged_into == survivor
        assert fresh(study).patient_ref == survivor
        assert fresh(order).patient_ref == survivor
        assert {(each.kind, each.value) for each in survivor.identifiers.all()} == {
            ("NIK", "3171000000000001"),
            ("BPJS", "1"),
            ("MR", "RM-1"),
        }
        assert merge.moved == {
            "pacs.study.patient_ref": 1,
            "radiology.order.patient_ref": 1,
            "radiology.patientidentifier.patient_ref": 2,
        }
        assert former_numbers(survivor) == [merged]

    def test_the_preview_counts_what_would_move_and_moves_nothing(self, who: User) -> None:
        merged, survivor = make_patient("RM-1", "SARI^DEWI"), make_patient("RM-2", patient_birth_date="19800101")
        make_study(merged), make_study(merged)
        Order.objects.create(patient_ref=merged, accession_number="ACC-7")
        found = preview_merge(who=who, survivor=survivor, merged=merged)
        assert {each.kind: each.count for each in found.moving} == {
            "pacs.study.patient_ref": 2,
            "radiology.order.patient_ref": 1,
        }
        assert found.moving[1].rows == ["ACC-7"]
        assert {"patient_name", "patient_birth_date", "patient_id"} <= set(found.differing)
        assert len(found.warnings) == 1
        assert fresh(merged).merged_into is None
        assert merged.studies.count() == 2

    def test_no_allergy_is_lost(self, who: User) -> None:
        merged = make_patient(allergies="Penicillin", patient_telephone_numbers="0812")
        survivor = make_patient(allergies="Iodine", patient_telephone_numbers="0813")
        merge = merge_patients(who=who, survivor=survivor, merged=merged)
        assert fresh(survivor).allergies == "Iodine; Penicillin"
        assert fresh(survivor).patient_telephone_numbers == "0813"
        undo_merge(who=who, merge=merge)
        assert fresh(survivor).allergies == "Iodine"

    def test_it_stands_in_the_history_and_the_audit_trail_of_both(self, who: User) -> None:
        merged, survivor = make_patient(), make_patient()
        merge_patients(who=who, survivor=survivor, merged=merged, reason="twice")
        for patient, key in ((merged, "merged_into"), (survivor, "merged")):
            version = PatientVersion.objects.get(patient_ref=patient)
            assert key in version.changes
            assert (version.reason, version.agent) == ("twice", "dewi")
            assert AuditEvent.objects.get(patient_ref=patient, event="patient.merged").user_id == who.pk

    def test_every_relation_to_a_patient_moves_or_is_said_to_stay(self) -> None:
        kinds = {mover.kind for mover in movers()}
        assert {"pacs.study.patient_ref", "pacs.transfer.patient_ref", "radiology.order.patient_ref"} <= kinds
        assert not {kind for kind in kinds if "version" in kind or "audit" in kind or "word" in kind}

    def test_signals_come_within_the_transaction(self, who: User) -> None:
        heard: list[tuple[str, Patient, Patient]] = []

        def on_merge(merge: PatientMerge, survivor: Patient, merged: Patient, **_: Any) -> None:
            heard.append(("merged", survivor, merged))

        def on_undo(merge: PatientMerge, survivor: Patient, merged: Patient, **_: Any) -> None:
            heard.append(("unmerged", survivor, merged))
            raise RuntimeError("no")

        merged, survivor = make_patient(), make_patient()
        patient_merged.connect(on_merge)
        patient_unmerged.connect(on_undo)
        try:
            merge = merge_patients(who=who, survivor=survivor, merged=merged)
            with pytest.raises(RuntimeError):
                undo_merge(who=who, merge=merge)
        finally:
            patient_merged.disconnect(on_merge)
            patient_unmerged.disconnect(on_undo)
        assert heard == [("merged", survivor, merged), ("unmerged", survivor, merged)]
        assert fresh(merged).merged_into == survivor


class TestAfterwards:
    def test_what_names_the_merged_patient_acts_on_the_survivor(self, who: User) -> None:
        first, second, third = make_patient("RM-1"), make_patient("RM-2"), make_patient("RM-3")
        merge_patients(who=who, survivor=second, merged=first)
        merge_patients(who=who, survivor=third, merged=second)
        assert survivor_of(fresh(first)) == third
        for named in (first, second, third):
            found = patient_for_study(site=default_site(), identity=identity(named), study_instance_uid="2.25.1")
            assert found == third

    def test_the_merged_number_with_the_survivors_name_is_the_survivor_and_a_strangers_is_not(self, who: User) -> None:
        merged, survivor = make_patient("RM-1", "SARI^DEWI"), make_patient("RM-2", "SARI^DEWI AYU^")
        merge_patients(who=who, survivor=survivor, merged=merged)
        named = Identity(patient_id="RM-1", patient_name="AYU^DEWI SARI", patient_birth_date="19700101")
        assert patient_for_study(site=default_site(), identity=named, study_instance_uid="2.25.1") == survivor
        stranger = Identity(patient_id="RM-1", patient_name="WIBOWO^AGUS", patient_birth_date="19550505")
        assert patient_for_study(site=default_site(), identity=stranger, study_instance_uid="2.25.2").is_provisional


class TestUndo:
    def test_it_gives_back_exactly_what_was_moved(self, who: User) -> None:
        merged = make_patient("RM-1", identifiers=[("NIK", "3171000000000001")])
        survivor = make_patient("RM-2", identifiers=[("BPJS", "2")])
        theirs, ours = make_study(merged), make_study(survivor)
        order = Order.objects.create(patient_ref=merged)
        merge = merge_patients(who=who, survivor=survivor, merged=merged)
        since = make_study(survivor)
        undo_merge(who=who, merge=merge)
        assert fresh(merged).merged_into is None
        assert set(merged.studies.all()) == {theirs}
        assert set(survivor.studies.all()) == {ours, since}
        assert fresh(order).patient_ref == merged
        assert [each.kind for each in merged.identifiers.all()] == ["NIK"]
        assert [each.kind for each in survivor.identifiers.all()] == ["BPJS"]
        undo_merge(who=who, merge=fresh(merge))  # harmless
        again = merge_patients(who=who, survivor=merged, merged=survivor)  # and the other way round
        assert fresh(ours).patient_ref == merged
        assert again.pk != merge.pk

    def test_what_came_under_the_merged_name_since_goes_back_too(self, who: User) -> None:
        merged, survivor = make_patient("RM-1"), make_patient("RM-2")
        merge = merge_patients(who=who, survivor=survivor, merged=merged)
        order = Order.objects.create(patient_ref=survivor)
        note_late_arrival(named=fresh(merged), row=order)
        theirs = make_study(
            survivor,
            attributes={
                "00100020": {"vr": "LO", "Value": ["RM-1"]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "WIBOWO^BUDI"}]},
            },
        )
        ours = make_study(survivor, attributes={"00100020": {"vr": "LO", "Value": ["RM-2"]}})
        undo_merge(who=who, merge=merge)
        assert fresh(order).patient_ref == merged
        assert fresh(theirs).patient_ref == merged
        assert fresh(ours).patient_ref == survivor

    def test_what_somebody_gave_to_another_patient_meanwhile_stays_there(self, who: User) -> None:
        merged, survivor, other = make_patient(), make_patient(), make_patient()
        order = Order.objects.create(patient_ref=merged)
        merge = merge_patients(who=who, survivor=survivor, merged=merged)
        Order.objects.filter(pk=order.pk).update(patient_ref=other)
        undo_merge(who=who, merge=merge)
        assert fresh(order).patient_ref == other

    def test_a_merge_on_top_must_be_undone_first(self, who: User) -> None:
        first, second, third = make_patient(), make_patient(), make_patient()
        study = make_study(first)
        lower = merge_patients(who=who, survivor=second, merged=first)
        upper = merge_patients(who=who, survivor=third, merged=second)
        with pytest.raises(Conflict, match="undo that merge first"):
            undo_merge(who=who, merge=lower)
        undo_merge(who=who, merge=upper)
        assert fresh(study).patient_ref == second
        undo_merge(who=who, merge=lower)
        assert fresh(study).patient_ref == first


class TestRefused:
    def test_itself_twice_in_circles_and_across_sites(self, who: User) -> None:
        chief = make_user("chief", is_superuser=True)
        one, other = make_patient(), make_patient()
        with pytest.raises(InvalidValue):
            merge_patients(who=who, survivor=one, merged=one)
        with pytest.raises(Conflict, match="two sites"):
            merge_patients(who=chief, survivor=one, merged=make_patient(site=make_site()))
        merge = merge_patients(who=who, survivor=one, merged=other)
        for survivor, merged in ((one, other), (other, one), (make_patient(), other)):
            with pytest.raises(Conflict, match="already merged") as refused:
                merge_patients(who=who, survivor=survivor, merged=merged)
            assert refused.value.facts["merge"] == merge
        assert PatientMerge.objects.count() == 1

    def test_without_the_right_and_of_another_site(self, who: User) -> None:
        one, other = make_patient(), make_patient()
        for role in ("desk", "radiologist", "doctor"):
            with pytest.raises(NotAllowed):
                merge_patients(who=make_user(role, role=role), survivor=one, merged=other)
        stranger = make_user("stranger", site=make_site(), role="radiographer")
        with pytest.raises(NotFound):
            merge_patients(who=stranger, survivor=one, merged=other)
        merge = merge_patients(who=who, survivor=one, merged=other)
        with pytest.raises(NotFound):
            undo_merge(who=stranger, merge=merge)


@pytest.mark.usefixtures("committed_db")
class TestAtOnce:
    def test_of_merges_from_both_sides_one_succeeds(self) -> None:
        who = make_user(role="radiographer")
        pair = [make_patient(), make_patient()]
        for patient in pair:
            make_study(patient)

        def merge(number: int) -> str:
            survivor, merged = pair if number % 2 else pair[::-1]
            try:
                merge_patients(who=who, survivor=survivor, merged=merged)
            except Conflict:
                return "refused"
            return "merged"

        assert sorted(at_once(merge, threads=6)) == ["merged"] + ["refused"] * 5
        assert Patient.objects.exclude(merged_into=None).count() == 1
        survivor = Patient.objects.current().get()
        assert survivor.studies.count() == 2

    def test_images_that_arrive_while_patients_merge_are_the_survivors(self) -> None:
        who = make_user(role="radiographer")
        merged, survivor = make_patient("RM-1"), make_patient("RM-2")

        def act(number: int) -> None:
            if number == 0:
                merge_patients(who=who, survivor=survivor, merged=merged)
                return
            with transaction.atomic():
                found = patient_for_study(
                    site=default_site(), identity=identity(merged), study_instance_uid=f"2.25.{number}"
                )
                make_study(found)

        at_once(act, threads=8)
        assert survivor.studies.count() == 7
        assert merged.studies.count() == 0
