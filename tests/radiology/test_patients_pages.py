"""The pages about patients: who may what, what is told where, and that nothing typed is lost or done twice."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from radiology.models import Order, Patient, PatientDuplicate, PatientMerge, User
from radiology.services.duplicates import keep_pairs
from radiology.services.merges import merge_patients
from tests.factories import make_patient, make_site, make_study, make_user

pytestmark = pytest.mark.django_db
SIGNED_IN = 5


def browser(role: str, name: str = "") -> Client:
    client = Client()
    client.force_login(make_user(name or role, role=role, language="en"))
    return client


@pytest.fixture
def desk() -> Client:
    return browser("desk")


@pytest.fixture
def radiographer() -> Client:
    return browser("radiographer")


def text(response: Any) -> str:
    return str(response.content.decode())


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]*value="([^"]*)"|value="([^"]*)"[^>]*name="{name}"', page)
    assert found, name
    return found[1] or found[2] or ""


SARI = {"patient_name": "Dewi Sari", "patient_birth_date": "31/01/1970", "patient_sex": "F", "nik": "3171234567890001"}


class TestRegistering:
    def test_a_form_sent_twice_registers_once(self, desk: Client) -> None:
        key = field(text(desk.get("/patients/new")), "key")
        first = desk.post("/patients/new", {**SARI, "key": key})
        again = desk.post("/patients/new", {**SARI, "key": key})
        made = Patient.objects.get()
        assert first["Location"] == again["Location"] == f"/patients/{made.public_id}"
        assert (made.patient_name, made.patient_id) == ("Sari^Dewi", "RM000001")
        assert made.versions.get().agent == "desk"

    @pytest.mark.parametrize(
        ("change", "name", "message"),
        [
            ({"patient_name": ""}, "patient_name", "required"),
            ({"patient_name": "N" * 201}, "patient_name", "64 characters"),
            ({"patient_name": "A\x00"}, "patient_name", "Null characters"),
            ({"patient_birth_date": "31/02/1970"}, "patient_birth_date", "Write the birth date as"),
            ({"patient_birth_date": "01/01/2099"}, "patient_birth_date", "future"),
            ({"nik": "12"}, "nik", "16 digits"),
            ({"bpjs": "12"}, "bpjs", "13 digits"),
            ({"patient_id": "9" * 70}, "patient_id", "64 characters"),
        ],
    )
    def test_what_is_wrong_stands_at_its_field_and_what_was_typed_stays(
        self, desk: Client, change: dict[str, str], name: str, message: str
    ) -> None:
        answer = desk.post("/patients/new", {**SARI, "allergies": "Iodine", **change})
        page = text(answer)
        assert answer.status_code == 400
        wrong = re.search(rf'name="{name}"[^>]*aria-invalid="true"|aria-invalid="true"[^>]*name="{name}"', page)
        assert wrong, page
        assert message in page
        assert field(page, "allergies") == "Iodine"
        assert not Patient.objects.exists()

    def test_somebody_likely_the_same_stops_it_until_a_reason_is_given(self, desk: Client) -> None:
        make_patient("RM-7", "SARY^DEWY", patient_birth_date="19700131", patient_sex="F")
        part = text(desk.post("/patients/candidates", SARI))
        assert "DEWY SARY" in part and "name sounds the same" in part
        answer = desk.post("/patients/new", SARI)
        assert answer.status_code == 409 and "Register anyway" in text(answer)
        assert desk.post("/patients/new", {**SARI, "despite_duplicates": "1"}).status_code == 400
        assert desk.post("/patients/new", {**SARI, "despite_duplicates": "1", "reason": "twins"}).status_code == 302

    def test_a_taken_number_shows_whose_it_is(self, desk: Client) -> None:
        known = make_patient("RM-7", "WIBOWO^AGUS")
        answer = desk.post("/patients/new", {**SARI, "patient_id": "RM-7"})
        assert answer.status_code == 409
        assert f"/patients/{known.public_id}" in text(answer)

    def test_an_unknown_patient_is_one_press(self, desk: Client) -> None:
        key = field(text(desk.get("/patients")), "key")
        for _ in range(2):
            answer = desk.post("/patients/unknown", {"patient_sex": "F", "key": key})
        made = Patient.objects.get()
        assert answer["Location"] == f"/patients/{made.public_id}"
        assert made.display_name.startswith("UNKNOWN FEMALE 2")
        assert "temporary identity" in text(desk.get(answer["Location"]))

    def test_it_leads_back_to_where_somebody_was_needed_but_never_elsewhere(self, desk: Client) -> None:
        back = desk.post("/patients/new", {**SARI, "next": "/worklist?day=today"})
        assert back["Location"] == f"/worklist?day=today&patient={Patient.objects.get().public_id}"
        away = desk.post("/patients/new", {"patient_name": "Agus Wibowo", "next": "https://evil.example/"})
        assert away["Location"].startswith("/patients/")


class TestChanging:
    def test_two_people_who_edit_see_both(self, desk: Client) -> None:
        patient = make_patient("RM-1", "SARI^DEWI", identifiers=[("NIK", "3171234567890001"), ("U", "77")])
        address = f"/patients/{patient.public_id}/edit"
        page = text(desk.get(address))
        assert field(page, "patient_name") == "DEWI SARI"
        typed = {"patient_name": "DEWI SARI", "patient_id": "RM-1", "nik": "3171234567890001", "version": "1"}
        typed |= {"patient_birth_date": "01/01/1970", "patient_sex": "M"}
        assert desk.post(address, {**typed, "allergies": "Iodine"}).status_code == 302
        late = desk.post(address, {**typed, "allergies": "Latex", "reason": "told"})
        page = text(late)
        assert late.status_code == 412
        assert "Iodine" in page and field(page, "allergies") == "Latex" and field(page, "version") == "2"
        assert desk.post(address, {**typed, "allergies": "Latex", "version": "2"}).status_code == 302
        patient.refresh_from_db()
        assert (patient.allergies, patient.patient_name) == ("Latex", "SARI^DEWI")
        assert set(patient.identifiers.values_list("value", flat=True)) == {"3171234567890001", "77"}
        history = text(desk.get(f"/patients/{patient.public_id}/history"))
        assert history.index("Latex") < history.index("Iodine")

    def test_what_came_with_images_and_is_no_date_stays(self, desk: Client) -> None:
        patient = make_patient("RM-1", "SARI^DEWI=山田^太郎", patient_birth_date="1970")
        typed = {"patient_name": "DEWI LESTARI", "patient_id": "RM-1", "patient_birth_date": "1970", "version": "1"}
        assert desk.post(f"/patients/{patient.public_id}/edit", typed).status_code == 302
        patient.refresh_from_db()
        assert (patient.patient_name, patient.patient_birth_date) == ("LESTARI^DEWI=山田^太郎", "1970")


class TestMerging:
    def test_the_address_of_the_merged_one_leads_to_the_survivor(self, radiographer: Client) -> None:
        survivor, merged = make_patient("RM-1"), make_patient("RM-2")
        make_study(merged)
        page = text(radiographer.get(f"/patients/{survivor.public_id}/merge?with={merged.public_id}"))
        assert "1</strong> studies" in page
        body = {"with": str(merged.public_id), "reason": "twice"}
        assert radiographer.post(f"/patients/{survivor.public_id}/merge", body).status_code == 302
        for address in (f"/patients/{merged.public_id}", "/worklist?patientId=RM-2"):
            assert str(survivor.public_id) in radiographer.get(address)["Location"]
        assert str(survivor.public_id) in radiographer.get(f"/patients/{merged.public_id}/edit")["Location"]
        again = radiographer.post(f"/patients/{survivor.public_id}/merge", body)
        assert again.status_code == 409 and "already merged" in text(again)
        merge = PatientMerge.objects.get()
        assert "Take back" in text(radiographer.get(f"/patients/{survivor.public_id}/history"))
        assert radiographer.post(f"/patients/merges/{merge.public_id}/undo").status_code == 302
        assert merged.studies.count() == 1

    def test_pairs_are_decided_and_taken_back(self, radiographer: Client) -> None:
        one = make_patient("RM-1", "SARI^DEWI", patient_birth_date="19700131")
        make_patient("RM-2", "SARY^DEWY", patient_birth_date="19700131")
        keep_pairs(one)
        pair = PatientDuplicate.objects.get()
        assert "DEWY SARY" in text(radiographer.get("/patients/duplicates"))
        radiographer.post(f"/patients/duplicates/{pair.public_id}")
        keep_pairs(one)
        assert "No two patients" in text(radiographer.get("/patients/duplicates"))
        radiographer.post(f"/patients/duplicates/{pair.public_id}?undo=1")
        assert "DEWY SARY" in text(radiographer.get("/patients/duplicates"))


class TestRights:
    @pytest.mark.parametrize(
        ("role", "writes", "merges"),
        [("desk", True, False), ("radiographer", True, True), ("administrator", True, True), ("doctor", False, False)],
    )
    def test_each_role_does_its_own(self, role: str, writes: bool, merges: bool) -> None:
        client = browser(role)
        one, other = make_patient(), make_patient()
        page = text(client.get(f"/patients/{one.public_id}"))
        assert ("/edit" in page, f"/patients/{one.public_id}/merge" in page) == (writes, merges)
        for address, allowed in (
            ("/patients/new", writes),
            (f"/patients/{one.public_id}/edit", writes),
            (f"/patients/{one.public_id}/merge?with={other.public_id}", merges),
            ("/patients/duplicates", merges),
        ):
            assert client.get(address).status_code == (200 if allowed else 403), address
        posted = client.post(f"/patients/{one.public_id}/merge", {"with": str(other.public_id)})
        assert posted.status_code == (302 if merges else 403)
        assert client.post("/patients/new", SARI).status_code == (302 if writes else 403)

    def test_another_sites_patients_are_not_there(self, radiographer: Client) -> None:
        theirs, mine = make_patient(site=make_site()), make_patient()
        for page in ("", "/edit", "/merge", "/history"):
            assert radiographer.get(f"/patients/{theirs.public_id}{page}").status_code == 404
        answer = radiographer.post(f"/patients/{mine.public_id}/merge", {"with": str(theirs.public_id)})
        assert answer.status_code == 400 and not PatientMerge.objects.exists()


@pytest.mark.parametrize("count", [1, 20])
def test_pages_cost_the_same_however_much_there_is(count: int) -> None:
    who = make_user("dewi", role="radiographer", language="en")
    client = Client()
    client.force_login(who)
    survivor, other = make_patient("RM-0", "SARI^DEWI"), make_patient("RM-X", "SARI^DEWI")
    for number in range(count):
        merged = make_patient(f"RM-{number + 1}", f"SARI^DEWI{number}")
        make_study(other)
        Order.objects.create(patient_ref=other, accession_number=f"A{number}")
        merge_patients(who=User.objects.get(pk=who.pk), survivor=survivor, merged=merged)
    keep_pairs(survivor)
    for address, most in (
        ("/patients", 2),
        ("/patients?q=sary+dewy", 6),
        (f"/patients/{survivor.public_id}/edit", 2),
        (f"/patients/{survivor.public_id}/history", 6),
        (f"/patients/{survivor.public_id}/merge", 12),
        (f"/patients/{survivor.public_id}/merge?with={other.public_id}", 20),
        ("/patients/duplicates", 2),
    ):
        client.get(address)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        assert len(queries) <= SIGNED_IN + most, (address, len(queries))
