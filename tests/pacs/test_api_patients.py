"""Patients over `/api/v1`: registered once, changed without losing anybody's change, merged and parted again."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from radiology.models import Order, Patient, PatientIdentifier, Site
from radiology.services.duplicates import keep_pairs
from tests.factories import make_patient, make_site, make_study, make_user
from tests.pacs.api_client import ApiProgram, problem

pytestmark = pytest.mark.django_db
SCOPES = ("studies.read", "patients.write", "patients.merge")


@pytest.fixture
def his(site: Site) -> ApiProgram:
    return ApiProgram(scopes=SCOPES)


def post(program: ApiProgram, path: str, body: Any, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return program.post(path, json.dumps(body), "application/json", **sent)


SARI = {
    "patient_name": "SARI^DEWI",
    "patient_birth_date": "31/01/1970",
    "patient_sex": "F",
    "allergies": "Iodine",
    "identifiers": [{"kind": "NIK", "value": "3171234567890001", "issuer": ""}],
}


class TestRegistering:
    def test_the_site_gives_the_number_and_everything_is_answered(self, his: ApiProgram) -> None:
        made = post(his, "patients", SARI)
        assert made.status_code == 201
        entry = made.json()
        assert entry["patient_id"] == "RM000001"
        assert entry["patient_birth_date"] == "19700131"
        assert entry["identifiers"] == SARI["identifiers"]
        assert (entry["allergies"], entry["version"], entry["asked_for"]) == ("Iodine", 1, None)
        assert made["Location"].endswith(f"/api/v1/patients/{entry['public_id']}")
        assert his.get(made["Location"]).json() == entry

    def test_the_same_key_again_makes_nothing_twice(self, his: ApiProgram) -> None:
        first = post(his, "patients", SARI, Idempotency_Key="k-1")
        again = post(his, "patients", dict(reversed(SARI.items())), Idempotency_Key='"k-1"')
        assert (again.status_code, again.json()) == (201, first.json())
        assert again["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first
        problem(post(his, "patients", {**SARI, "patient_sex": "M"}, Idempotency_Key="k-1"), 409, "Idempotency-Key")
        assert Patient.objects.count() == 1

    def test_a_taken_number_is_a_conflict_that_carries_the_patient(self, his: ApiProgram) -> None:
        known = make_patient("RM-7", "WIBOWO^AGUS")
        found = problem(post(his, "patients", {**SARI, "patient_id": "RM-7"}), 409, "patient_id")
        assert found["existing"]["public_id"] == str(known.public_id)

    def test_somebody_likely_the_same_is_a_conflict_until_a_reason_is_given(self, his: ApiProgram) -> None:
        known = make_patient(
            "RM-7", "SARY^DEWY", patient_birth_date="19700131", patient_sex="F", identifiers=[("NIK", "31")]
        )
        found = problem(post(his, "patients", SARI), 409)
        (candidate,) = found["candidates"]
        assert candidate["patient"]["public_id"] == str(known.public_id)
        assert candidate["likely"] and candidate["reasons"] == ["sound", "birth_date"]
        assert post(his, "patients/candidates", SARI).json()["data"] == [candidate]
        problem(post(his, "patients", {**SARI, "despite_duplicates": True}), 400, "reason")
        made = post(his, "patients", {**SARI, "despite_duplicates": True, "reason": "twins"})
        assert made.status_code == 201
        history = his.get(f"patients/{made.json()['public_id']}/history").json()
        assert history["versions"][0]["reason"] == "twins"

    def test_an_unknown_patient_gets_a_temporary_identity(self, his: ApiProgram) -> None:
        made = post(his, "patients", {"unknown": True, "patient_sex": "M"}).json()
        assert made["patient_name"].startswith("UNKNOWN MALE 2")
        assert (made["patient_id"], made["is_temporary"]) == ("TMP000001", True)
        named = his.patch(f"patients/{made['public_id']}", {"patient_name": "AGUS"}, If_Match='"1"').json()
        assert not named["is_temporary"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"patient_name": ""}, "patient_name"),
            ({"patient_name": "X" * 201}, "patient_name"),
            ({"patient_name": "A\x00B"}, "patient_name"),
            ({"patient_name": "A\\B"}, "patient_name"),
            ({"patient_name": ["A"]}, "patient_name"),
            ({"patient_birth_date": "20990101"}, "patient_birth_date"),
            ({"patient_birth_date": "31/02/1970"}, "patient_birth_date"),
            ({"patient_birth_date": "01/01/1750"}, "patient_birth_date"),
            ({"patient_sex": "X"}, "patient_sex"),
            ({"patient_id": "1" * 65}, "patient_id"),
            ({"identifiers": [{"kind": "NIK", "value": "12"}]}, "identifiers"),
            ({"identifiers": [{"kind": "XX", "value": "12"}]}, "identifiers"),
            ({"identifiers": "12"}, "identifiers"),
            ({"unknown": "yes"}, "unknown"),
            ({"patientname": "A"}, "patientname"),
            ({"allergies": "x" * 501}, "allergies"),
        ],
    )
    def test_bad_input_is_refused_by_name(self, his: ApiProgram, change: dict[str, Any], field: str) -> None:
        problem(post(his, "patients", {**SARI, **change}), 400, field)
        assert not Patient.objects.exists()

    @pytest.mark.parametrize("name", ["ДОСТОЕВСКИЙ^ФЁДОР", "WANG^XIAODONG=王^小东", "Ñ^Ü", "𠮷^田"])
    def test_names_in_other_scripts_are_kept(self, his: ApiProgram, name: str) -> None:
        made = post(his, "patients", {"patient_name": name}).json()
        assert made["patient_name"] == name
        assert [
            each["patient_name"] for each in his.get("patients", q=name.split("^")[0].split("=")[-1]).json()["data"]
        ]


class TestChanging:
    def test_only_what_is_named_changes_and_it_stands_in_the_history(self, his: ApiProgram) -> None:
        made = post(his, "patients", SARI).json()
        path = f"patients/{made['public_id']}"
        changed = his.patch(path, {"patient_sex": "O", "identifiers": [], "reason": "typo"}, If_Match='"1"')
        assert changed.status_code == 200
        assert (changed.json()["patient_name"], changed.json()["patient_sex"]) == ("SARI^DEWI", "O")
        assert not PatientIdentifier.objects.exists()
        last = his.get(f"{path}/history").json()["versions"][0]
        assert last["changes"] == {"patient_sex": ["F", "O"], "identifiers": [["NIK 3171234567890001"], []]}
        assert (last["reason"], last["by"], last["version"]) == ("typo", "simrs", 2)

    def test_without_the_version_or_with_an_old_one_nothing_changes(self, his: ApiProgram) -> None:
        made = post(his, "patients", SARI)
        path = f"patients/{made.json()['public_id']}"
        problem(his.patch(path, {"patient_sex": "M"}), 428, "If-Match")
        assert his.patch(path, {"patient_sex": "M"}, If_Match=made["ETag"]).status_code == 200
        found = problem(his.patch(path, {"patient_sex": "O"}, If_Match=made["ETag"]), 412, "If-Match")
        assert (found["existing"]["patient_sex"], found["existing"]["version"]) == ("M", 2)

    def test_another_patients_number_is_refused_with_that_patient(self, his: ApiProgram) -> None:
        known, other = make_patient("RM-7"), make_patient("RM-8")
        found = problem(
            his.patch(f"patients/{other.public_id}", {"patient_id": "RM-7"}, If_Match='"1"'), 409, "patient_id"
        )
        assert found["existing"]["public_id"] == str(known.public_id)


class TestMerging:
    def test_told_first_then_done_then_taken_back(self, his: ApiProgram) -> None:
        survivor, merged = make_patient("RM-1", "NEW^NAME"), make_patient("RM-2")
        study = make_study(merged)
        Order.objects.create(patient_ref=merged)
        path, body = f"patients/{survivor.public_id}/merge", {"merged": str(merged.public_id), "reason": "twice"}
        preview = post(his, path, {**body, "dry_run": True}).json()
        assert {each["kind"]: each["count"] for each in preview["moving"]} == {
            "pacs.study.patient_ref": 1,
            "radiology.order.patient_ref": 1,
        }
        assert "patient_name" in preview["differing"]
        made = post(his, path, body, Idempotency_Key="m-1")
        assert made.status_code == 201
        assert post(his, path, body, Idempotency_Key="m-1").json() == made.json()
        assert problem(post(his, path, body), 409, "merged")["merge"]["public_id"] == made.json()["public_id"]

        answer = his.get(f"patients/{merged.public_id}")
        assert answer.json()["public_id"] == str(survivor.public_id)
        assert answer.json()["asked_for"]["patient_id"] == "RM-2"
        assert answer["Content-Location"].endswith(str(survivor.public_id))
        for query in ({"patient_id": "RM-2"}, {"q": "RM-2"}):
            assert [each["patient_id"] for each in his.get("patients", query).json()["data"]] == ["RM-1"]
        (found,) = his.get(f"patients/{merged.public_id}/studies").json()["data"]
        assert found["study_instance_uid"] == study.study_instance_uid
        found = problem(his.patch(f"patients/{merged.public_id}", {"patient_sex": "O"}, If_Match='"2"'), 409)
        assert found["existing"]["public_id"] == str(survivor.public_id)

        undone = his.client.post(made.json()["links"]["undo"], headers={}, content_type="application/json")
        assert undone.status_code == 200 and undone.json()["undone_at"]
        assert his.get(f"patients/{merged.public_id}").json()["asked_for"] is None
        assert Patient.objects.get(pk=merged.pk).studies.get() == study

    def test_suspected_pairs_are_listed_and_gone_when_merged(self, his: ApiProgram) -> None:
        one = make_patient("RM-1", "SARI^DEWI", patient_birth_date="19700131")
        other = make_patient("RM-2", "SARY^DEWY", patient_birth_date="19700131")
        make_patient("RM-3", "SOMEBODY^ELSE", patient_birth_date="19700131")
        for patient in (one, other):
            keep_pairs(patient)
        (pair,) = his.get("patients/duplicates").json()["data"]
        assert {pair["one"]["patient_id"], pair["other"]["patient_id"]} == {"RM-1", "RM-2"}
        (candidate,) = his.get(f"patients/{one.public_id}/duplicates").json()["data"]
        assert candidate["patient"]["patient_id"] == "RM-2"
        post(his, f"patients/{one.public_id}/merge", {"merged": str(other.public_id)})
        assert his.get("patients/duplicates").json()["data"] == []


class TestRights:
    def test_each_scope_opens_its_own(self, site: Site) -> None:
        reader = ApiProgram(scopes=["studies.read"], name="reader")
        writer = ApiProgram(scopes=["patients.write"], name="writer")
        patient, other = make_patient(), make_patient()
        problem(post(reader, "patients", SARI), 403)
        problem(reader.patch(f"patients/{patient.public_id}", {"patient_sex": "O"}, If_Match='"1"'), 403)
        assert post(writer, "patients", SARI).status_code == 201
        assert writer.get(f"patients/{patient.public_id}").status_code == 200
        problem(post(writer, f"patients/{patient.public_id}/merge", {"merged": str(other.public_id)}), 403)
        problem(writer.get("patients/duplicates"), 403)

    def test_patients_of_another_site_are_not_there(self, his: ApiProgram) -> None:
        elsewhere = make_patient("RM-9", site=make_site())
        mine = make_patient("RM-1")
        problem(his.get(f"patients/{elsewhere.public_id}"), 404, "patient")
        problem(his.get(f"patients/{elsewhere.public_id}/history"), 404, "patient")
        problem(his.patch(f"patients/{elsewhere.public_id}", {"patient_sex": "O"}, If_Match='"1"'), 404, "patient")
        problem(post(his, f"patients/{mine.public_id}/merge", {"merged": str(elsewhere.public_id)}), 404, "merged")
        assert his.get("patients", q="RM-9").json()["data"] == []
        assert post(his, "patients", {**SARI, "patient_id": "RM-9"}).status_code == 201

    def test_people_use_it_with_their_roles(self, site: Site) -> None:
        for role, status in (("desk", 201), ("radiographer", 201), ("doctor", 403), ("radiologist", 403)):
            client = Client()
            client.force_login(make_user(role, role=role))
            body = {"patient_name": f"NAME^{role}"}
            assert client.post("/api/v1/patients", json.dumps(body), "application/json").status_code == status, role


@pytest.mark.parametrize("count", [1, 12])
def test_a_patient_costs_the_same_however_much_was_merged(his: ApiProgram, count: int) -> None:
    survivor = make_patient()
    for number in range(count):
        make_patient(merged_into=survivor)
        PatientIdentifier.objects.create(patient_ref=survivor, kind="U", value=str(number))
    his.get(f"patients/{survivor.public_id}")
    with CaptureQueriesContext(connection) as queries:
        his.get(f"patients/{survivor.public_id}")
    assert len(queries) <= 7
