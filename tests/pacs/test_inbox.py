"""The inbox page: two sides face to face, one click, undo; unknown patients with whom they may be."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pacs.models import Correction, HeldDecision, HeldObject, HeldState, Study
from pacs.services import unknown_patients
from radiology.models import Patient, Role, Site, User
from tests.factories import make_patient, make_site, make_study, make_user
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10

HTMX = {"HX-Request": "true"}
NOBODY = {"PatientID": "", "PatientName": "AMINAH^SITI", "PatientBirthDate": "19880812", "PatientSex": "F"}
SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def radiographer(site: Site) -> User:
    user = make_user("rina", language="en")
    user.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    return user


@pytest.fixture
def client(radiographer: User) -> Client:
    client = Client()
    client.force_login(radiographer)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def form_of(page: Any, number: int = 0) -> tuple[str, dict[str, str]]:
    """Address and hidden values of the page's n-th form that decides something."""
    forms = re.findall(r'<form method="post" action="(/inbox[^"]+)"(.*?)</form>', text(page), re.S)
    action, body = forms[number]
    values = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', body))
    return unescape(action), {name: unescape(value) for name, value in values.items()}


def conflict(site: Site, **values: Any) -> None:
    first = ct(**values)
    store(site, part10(first))
    first.StudyDescription = "Changed"
    store(site, part10(first))


def test_both_sides_stand_face_to_face_with_what_differs_marked(client: Client, site: Site) -> None:
    first = ct(PatientName="SANTOSO^BUDI", AccessionNumber="A1")
    store(site, part10(first))
    store(site, part10(ct(
        StudyInstanceUID=first.StudyInstanceUID, PatientID="MRN-2", PatientName="AMINAH^SITI", PatientSex="F",
        PatientBirthDate="19880812", AccessionNumber="A1",
    )))  # fmt: skip
    page = client.get("/inbox")
    facts = {fact.key: fact for fact in page.context["cases"][0][0].facts}
    assert (facts["name"].there, facts["name"].came) == ("BUDI SANTOSO", "SITI AMINAH")
    assert {key for key, fact in facts.items() if fact.differs} == {"name", "mrn", "born", "sex"}
    shown = text(page)
    assert shown.count('class="differs"') == 4
    for words in ("12 Aug 1988", "1 Jan 1970", "Female", "Another person", "The same person", "Reject"):
        assert words in shown
    assert shown.index("Another person") < shown.index("The same person")
    pictures = re.findall(r'src="(/(?:inbox|dicom-web)[^"]+)"', shown)
    assert len(pictures) == 2
    for address in pictures:
        picture = client.get(address)
        assert (picture.status_code, picture["Content-Type"]) == (200, "image/jpeg")
        assert client.get(address, headers={"If-None-Match": picture["ETag"]}).status_code == 304


def test_one_click_decides_and_the_bar_takes_it_back(client: Client, site: Site) -> None:
    conflict(site)
    address, values = form_of(client.get("/inbox"))
    part = client.post(address, {**values, "choice": "replace"}, headers=HTMX)
    assert "No conflict waits." in text(part)
    assert Study.objects.get().study_description == "Changed"
    undo = re.search(r'action="(/inbox/decisions/[0-9a-f-]+/undo)"', text(part))
    assert undo
    back = client.post(undo[1], {"next": "/inbox?tab=conflicts"}, follow=True)
    assert "Taken back" in text(back)
    assert len(back.context["cases"]) == 1
    assert Study.objects.get().study_description == ""


def test_it_works_without_scripts_and_errors_stand_on_the_card(client: Client, site: Site) -> None:
    first = ct(seed=1)
    store(site, part10(first))
    second = ct(seed=2)
    second.update({tag: first[tag] for tag in list(first.keys()) if tag != 0x7FE00010})
    store(site, part10(second))
    page = client.get("/inbox?tab=quarantine")
    address, values = form_of(page)
    refused = client.post(address, {**values, "choice": "replace", "why": ""})
    assert refused.status_code == 400
    assert "Say why" in text(refused)
    assert 'aria-invalid="true"' in text(refused)
    done = client.post(address, {**values, "choice": "replace", "why": "Rebuilt"}, follow=True)
    assert "Nothing is in quarantine." in text(done)
    assert HeldDecision.objects.get().why == "Rebuilt"


def test_the_second_person_is_told_what_the_first_decided(client: Client, site: Site) -> None:
    conflict(site)
    address, values = form_of(client.get("/inbox"))
    assert client.post(address, {**values, "choice": "reject"}).status_code == 302
    assert client.post(address, {**values, "choice": "reject"}).status_code == 302
    other = client.post(address, {**values, "choice": "replace"})
    assert other.status_code == 409
    assert "rina has decided otherwise" in text(other)
    assert HeldDecision.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("reason", "x"), ("choice", "x"), ("choice", ""), ("newest", "x"), ("newest", "-1"), ("site", "9" * 30)],
)
def test_nonsense_is_refused(client: Client, site: Site, name: str, value: str) -> None:
    conflict(site)
    address, values = form_of(client.get("/inbox"))
    assert client.post(address, {**values, "choice": "reject", name: value}).status_code in {400, 404}
    assert HeldObject.objects.get().state == HeldState.WAITING


def test_only_the_roles_that_decide_of_the_same_site_come_in(client: Client, site: Site) -> None:
    conflict(site)
    held = HeldObject.objects.get()
    address, values = form_of(client.get("/inbox"))
    client.post(address, {**values, "choice": "reject"})
    decision = HeldDecision.objects.get()
    doctor, elsewhere = Client(), Client()
    doctor.force_login(make_user("doc"))
    far = make_user("far", site=make_site())
    far.groups.add(Group.objects.get(name=Role.RADIOGRAPHER))
    elsewhere.force_login(far)
    assert doctor.get("/inbox").status_code == 403
    assert elsewhere.get("/inbox").context["cases"] == []
    for other in (doctor, elsewhere):
        assert other.get(f"/inbox/held/{held.pk}/picture").status_code == 404
        assert other.post(address, {**values, "choice": "replace"}).status_code in {403, 404}
        other.post(f"/inbox/decisions/{decision.public_id}/undo")
    decision.refresh_from_db()
    assert decision.undone_at is None
    assert client.get("/inbox/decide").status_code == 405


def test_an_unchanged_inbox_answers_304(client: Client, site: Site) -> None:
    page = client.get("/inbox", headers=HTMX)
    etag = page.context["etag"]
    assert "No conflict waits." in text(page)
    assert client.get("/inbox", headers={**HTMX, "If-None-Match": etag}).status_code == 304
    conflict(site)
    assert client.get("/inbox", headers={**HTMX, "If-None-Match": etag}).status_code == 200


def test_the_page_costs_the_same_however_much_waits(client: Client, site: Site) -> None:
    costs = []
    for count in (1, 9):
        for number in range(count):
            conflict(site, PatientID=f"M{count}-{number}")
        client.get("/inbox")
        with CaptureQueriesContext(connection) as queries:
            client.get("/inbox")
        costs.append(len(queries))
    assert costs[0] == costs[1] <= 20


def test_hostile_values_are_text(client: Client, site: Site) -> None:
    conflict(site, PatientName=SCRIPT[:60], AccessionNumber="<b>x", SeriesDescription=SCRIPT[:60], PatientID="")
    store(site, part10(ct(PatientName=SCRIPT[:60], PatientID="'\"><svg onload=alert(3)>\\2")))
    for tab in ("conflicts", "quarantine", "unknown"):
        page = text(client.get(f"/inbox?tab={tab}"))
        for mark in ("<img src=x", "<script>alert", "<svg onload", "<b>x"):
            assert mark not in page
    for query in ("tab=%00", "before=x", "before=-1", f"before={'9' * 40}"):
        assert client.get(f"/inbox?{query}").status_code == 200


def unknown(site: Site, **values: Any) -> Patient:
    store(site, part10(ct(**{**NOBODY, **values})))
    return Patient.objects.exclude(provisional_for="").latest("pk")


def test_a_study_of_nobody_known_is_given_to_the_first_proposal(client: Client, site: Site) -> None:
    right = make_patient("MRN-5", "AMINAH^SITI", patient_birth_date="19880812", patient_sex="F")
    make_patient("MRN-6", "AMINAH^SRI", patient_birth_date="19880812", patient_sex="F")
    make_patient("MRN-7", "WIBOWO^AGUS", patient_birth_date="19880812")
    make_patient("MRN-8", "AMINAH^SITI", site=make_site(), patient_birth_date="19880812")
    who = unknown(site)
    page = client.get("/inbox?tab=unknown")
    found = page.context["unknown"][0]
    assert [proposal.patient.patient_id for proposal in found.proposals] == ["MRN-5", "MRN-6"]
    address, values = form_of(page)
    done = client.post(address, values, headers=HTMX)
    assert "Every study has a patient." in text(done)
    assert Study.objects.get().patient_ref == right
    undo = re.search(r'action="(/inbox/corrections/[0-9a-f-]+/undo)"', text(done))
    assert undo
    client.post(undo[1])
    assert Study.objects.get().patient_ref == who
    assert len(client.get("/inbox?tab=unknown").context["unknown"]) == 1


def test_a_number_that_is_somebody_elses_proposes_that_person_last(client: Client, site: Site) -> None:
    make_patient("MRN-1001", "HARTONO^AGUS", patient_birth_date="19500505")
    right = make_patient("MRN-9", "AMINAH^SITI", patient_birth_date="19880812", patient_sex="F")
    unknown(site, PatientID="MRN-1001")
    proposals = client.get("/inbox?tab=unknown").context["unknown"][0].proposals
    assert proposals[0].patient == right


def test_a_new_patient_gets_a_number_of_its_own(client: Client, site: Site) -> None:
    make_patient("TAKEN", "HARTONO^AGUS")
    who = unknown(site)
    address, values = form_of(client.get("/inbox?tab=unknown"))
    assert address.startswith(f"/inbox/unknown/{who.public_id}/register")
    for number, words in (("", "Give the medical record number"), ("TAKEN", "AGUS HARTONO")):
        refused = client.post(address, {**values, "patient_id": number})
        assert refused.status_code == 400
        assert words in text(refused)
    assert client.post(address, {**values, "patient_id": "NEW-1"}).status_code == 302
    patient = Study.objects.get().patient_ref
    assert (patient.patient_id, patient.patient_name, patient.is_provisional) == ("NEW-1", "AMINAH^SITI", False)
    assert Correction.objects.get().after["PatientID"] == "NEW-1"


def test_late_images_of_an_assigned_study_follow_it(client: Client, site: Site) -> None:
    right = make_patient("MRN-5", "AMINAH^SITI", patient_birth_date="19880812")
    unknown(site, StudyInstanceUID="2.25.9")
    client.post(*form_of(client.get("/inbox?tab=unknown")))
    store(
        site,
        part10(ct(PatientID="", PatientName="AMINAH^SITI", PatientBirthDate="19880812", StudyInstanceUID="2.25.9")),
    )
    assert HeldObject.objects.count() == 0
    study = Study.objects.get()
    assert (study.patient_ref, study.number_of_study_related_instances) == (right, 2)


def test_unknown_patients_page_at_a_fixed_cost(client: Client, radiographer: User, site: Site) -> None:
    for number in range(12):
        make_study(make_patient(f"P{number}", f"AMINAH^SITI{number}", provisional_for=f"1.2.{number}"), series=1)
    assert radiographer.may("inbox.decide")
    costs = []
    for size in (2, 12):
        with CaptureQueriesContext(connection) as queries:
            page = unknown_patients.unknown_patients(who=radiographer, size=size)
        costs.append(len(queries))
    assert costs[0] == costs[1]
    assert page.older is None
    seen = []
    place = None
    for _ in range(4):
        page = unknown_patients.unknown_patients(who=radiographer, before=place, size=5)
        seen += [each.patient.pk for each in page.unknown]
        place = page.older
        if place is None:
            break
    assert len(seen) == len(set(seen)) == 12
