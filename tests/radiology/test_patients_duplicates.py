"""Who may be the same person: what speaks for it, and pairs that are found in time and judged once."""

import pkgutil
from datetime import date
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from radiology import migrations
from radiology.errors import NotAllowed, NotFound
from radiology.models import Job, Patient, PatientDuplicate, PatientNameWord, User
from radiology.services import duplicates, jobs
from radiology.services.duplicates import LIKELY, Person, candidates_for, dismiss, keep_pairs, suspected
from radiology.services.merges import merge_patients
from radiology.services.patient_values import Numbered
from radiology.services.registration import register_patient
from tests.factories import make_patient, make_site, make_user

pytestmark = [pytest.mark.database, pytest.mark.django_db]
BORN = date(1970, 1, 31)
DEWI: dict[str, Any] = {"patient_birth_date": "19700131", "patient_sex": "F"}


@pytest.fixture
def who() -> User:
    return make_user(role="radiographer")


def person(**fields: Any) -> Person:
    return Person(**{"site_id": 1, "patient_name": "SARI^DEWI", "birth_date": BORN, "patient_sex": "F", **fields})


@pytest.mark.parametrize(
    ("fields", "reasons", "likely"),
    [
        ({}, ["name", "birth_date"], True),
        ({"patient_name": "DEWI SARI"}, ["name", "birth_date"], True),
        ({"patient_name": "SARY^DEWY"}, ["sound", "birth_date"], True),
        ({"patient_name": "SARI^DEWI AYU"}, ["similar", "birth_date"], False),
        ({"birth_date": None}, ["name"], False),
        ({"birth_date": date(1955, 5, 5)}, None, False),
        ({"patient_sex": "M"}, ["name", "birth_date", "sex"], False),
        (
            {"patient_name": "WIBOWO^AGUS", "birth_date": None, "identifiers": (Numbered("NIK", "3171000000000001"),)},
            ["identifier"],
            True,
        ),
        ({"patient_name": "WIBOWO^AGUS", "birth_date": None, "patient_id": "RM-1"}, ["number"], False),
        ({"patient_name": "WIBOWO^AGUS"}, None, False),
        ({"patient_name": ""}, None, False),
    ],
)
def test_what_speaks_for_a_candidate(
    who: User, fields: dict[str, Any], reasons: list[str] | None, likely: bool
) -> None:
    known = make_patient("RM-1", "SARI^DEWI", identifiers=[("NIK", "3171000000000001")], **DEWI)
    found = candidates_for(who=who, person=person(**fields))
    if reasons is None:
        assert found == []
    else:
        assert [(each.patient, each.reasons, each.is_likely) for each in found] == [(known, reasons, likely)]


def test_day_and_month_exchanged_is_near_not_the_same(who: User) -> None:
    make_patient("RM-1", "SARI^DEWI", patient_birth_date="19700211", patient_sex="F")
    (found,) = candidates_for(who=who, person=person(birth_date=date(1970, 11, 2)))
    assert found.reasons == ["name", "near_birth_date"]
    assert found.score < LIKELY


def test_merged_provisional_and_other_sites_patients_are_no_candidates(who: User) -> None:
    survivor = make_patient("RM-9", "OTHER^NAME")
    make_patient("RM-1", "SARI^DEWI", merged_into=survivor, **DEWI)
    make_patient("RM-2", "SARI^DEWI", provisional_for="2.25.1", **DEWI)
    make_patient("RM-3", "SARI^DEWI", site=make_site(), **DEWI)
    assert candidates_for(who=who, person=person()) == []


def test_a_registration_has_its_pairs_found_by_a_job(who: User) -> None:
    known = make_patient("RM-1", "SARY^DEWY", **DEWI)
    values = {"patient_name": "SARI^DEWI", **DEWI}
    made = register_patient(who=who, values=values, despite_duplicates=True, reason="two cousins")
    assert not PatientDuplicate.objects.exists()
    jobs.run_due()
    pair = PatientDuplicate.objects.get()
    assert (pair.one, pair.other, pair.reasons) == (known, made, ["sound", "birth_date"])


def test_a_pair_that_was_judged_stays_judged_and_one_that_was_merged_is_gone(who: User) -> None:
    one, other, third = (make_patient(None, "SARI^DEWI", **DEWI) for _ in range(3))
    keep_pairs(one)
    assert suspected(who=who).count() == 2
    dismiss(who=who, pair=PatientDuplicate.objects.get(one=one, other=other))
    keep_pairs(one)
    keep_pairs(other)
    assert {(pair.one, pair.other) for pair in suspected(who=who)} == {(one, third), (other, third)}
    merge_patients(who=who, survivor=one, merged=third)
    assert list(suspected(who=who)) == []


def test_a_pair_that_became_unlikely_goes_by_itself(who: User) -> None:
    one, other = make_patient(None, "SARI^DEWI", **DEWI), make_patient(None, "SARI^DEWI", **DEWI)
    keep_pairs(one)
    Patient.objects.filter(pk=other.pk).update(patient_birth_date="19550505", birth_date=date(1955, 5, 5))
    keep_pairs(one)
    assert not PatientDuplicate.objects.exists()


def test_only_those_who_merge_judge_and_only_their_sites_pairs(who: User) -> None:
    one = make_patient(None, "SARI^DEWI", **DEWI)
    make_patient(None, "SARI^DEWI", **DEWI)
    keep_pairs(one)
    pair = PatientDuplicate.objects.get()
    with pytest.raises(NotAllowed):
        dismiss(who=make_user("desk", role="desk"), pair=pair)
    with pytest.raises(NotFound):
        dismiss(who=make_user("stranger", role="radiographer", site=make_site()), pair=pair)


def test_the_sweep_reads_everybody_the_first_time_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "SWEEP", 3)
    for _ in range(2):
        make_patient(None, "SARI^DEWI", **DEWI)
    for number in range(6):
        make_patient(None, f"NOBODY^{'ABCDEF'[number] * 4}")
    duplicates.sweep_duplicates(Job(kind="radiology.sweep_duplicates", arguments={}))
    jobs.run_due()
    assert PatientDuplicate.objects.count() == 1


def test_the_migration_tells_how_the_words_of_known_patients_sound() -> None:
    make_patient("RM-1", "SOEKARNO^DJOKO")
    PatientNameWord.objects.update(sound="")
    name = next(each.name for each in pkgutil.iter_modules(migrations.__path__) if each.name.endswith("_patients"))
    migration = import_module(f"radiology.migrations.{name}")
    with connection.schema_editor() as editor:
        migration.fill_sounds(apps, editor)
    assert dict(PatientNameWord.objects.values_list("word", "sound")) == {"soekarno": "sukarno", "djoko": "ioko"}
