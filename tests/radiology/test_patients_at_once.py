"""Many programs register at the same moment: one patient for one number, and numbers that rise."""

import json
from typing import Any

import pytest

from radiology.errors import RadiologyError
from radiology.models import Patient
from radiology.services.registration import change_patient
from tests.factories import make_patient, make_user
from tests.pacs.api_client import ApiProgram
from tests.parallel import at_once

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("committed_db")]
SCOPES = ("studies.read", "patients.write")


def register(program: ApiProgram, body: Any, **headers: str) -> Any:
    return program.post("patients", json.dumps(body), "application/json", **headers)


def test_a_hundred_registrations_of_one_number_make_one_patient() -> None:
    programs = [ApiProgram(scopes=SCOPES, name=f"his{number}") for number in range(20)]

    def act(number: int) -> list[int]:
        body = {"patient_id": "RM-1", "patient_name": f"NAME{number}^OTHER", "patient_birth_date": "19700131"}
        return [register(programs[number], body).status_code for _ in range(5)]

    statuses = [status for each in at_once(act, threads=20) for status in each]
    assert sorted(set(statuses)) == [201, 409]
    assert statuses.count(201) == 1
    assert Patient.objects.count() == 1


def test_one_request_sent_many_times_at_once_registers_once() -> None:
    program = ApiProgram(scopes=SCOPES)
    body = {"patient_name": "SARI^DEWI"}
    answers = at_once(lambda _: register(program, body, **{"Idempotency-Key": "k-1"}), threads=10)
    assert {each.status_code for each in answers} == {201}
    assert len({each.json()["public_id"] for each in answers}) == 1
    assert Patient.objects.count() == 1


def test_numbers_are_unique_and_rise() -> None:
    programs = [ApiProgram(scopes=SCOPES, name=f"his{number}") for number in range(8)]
    make_patient("RM000003")
    names = ["ANI", "BUDI", "CITRA", "DODI", "EKO", "FAJAR", "GITA", "HADI"]

    def act(number: int) -> list[str]:
        made = [
            register(programs[number], {"patient_name": f"{names[number]}^{other}"}).json()["patient_id"]
            for other in ("UTAMI", "LESTARI", "PUTRA")
        ]
        assert made == sorted(made)
        return made

    given = [number for numbers in at_once(act, threads=8) for number in numbers]
    assert len(set(given)) == 24
    assert "RM000003" not in given


def test_of_two_people_who_edit_one_is_told() -> None:
    who = make_user(role="desk")
    patient = make_patient()

    def act(number: int) -> str:
        try:
            change_patient(who=who, patient=patient, version=1, values={"allergies": f"what {number} typed"})
        except RadiologyError as error:
            return str(error.facts["existing"].allergies)
        return "saved"

    told = at_once(act, threads=6)
    stands = Patient.objects.get(pk=patient.pk)
    assert sorted(told) == sorted(["saved"] + [stands.allergies] * 5)
    assert (stands.version, stands.versions.count()) == (2, 1)
