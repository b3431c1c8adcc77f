"""The reconciliation inbox: both sides face to face, one click, undo, and nobody's decision lost."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from pacs.models import Study
from radiology.models import RequestedProcedure, User
from tests.factories import (
    make_case,
    make_order,
    make_patient,
    make_requested_procedure,
    make_site,
    make_study,
    make_user,
)
from worklist.models import CaseState, ReconciliationCase, ReconciliationDecision
from worklist.services.reconciliation import link

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def rina() -> User:
    return make_user("rina", role="radiographer", language="en")


@pytest.fixture
def client(rina: User) -> Client:
    client = Client()
    client.force_login(rina, backend="django.contrib.auth.backends.ModelBackend")
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def waiting(name: str = "LESTARI^DEWI", number: str = "MISTYPED", **fields: Any) -> ReconciliationCase:
    patient = make_patient(None, name)
    procedure = make_requested_procedure(make_order(patient))
    return make_case(make_study(patient, series=1, instances=1, accession_number=number, **fields), procedure)


def answer(client: Client, case: ReconciliationCase, what: str, **values: Any) -> Any:
    procedure = case.candidates[0]["procedure"] if case.candidates else 0
    row = RequestedProcedure.objects.filter(pk=procedure).first()
    headers = HTMX if values.pop("htmx", False) else {}
    sent = {"version": case.version, "procedure": str(row.public_id) if row else "", **values}
    return client.post(reverse(f"reconciliation-{what}", args=[case.public_id]), sent, headers=headers)


def test_both_sides_stand_face_to_face_with_what_differs_marked(client: Client) -> None:
    case = waiting(SCRIPT)
    page = text(client.get("/reconciliation"))
    assert SCRIPT not in page
    assert "No order has this accession number" in page
    assert page.count('<tr class="differs">') == 1
    assert "MISTYPED" in page and case.study_ref.accession_number == "MISTYPED"
    assert "≠ Differs: accession number" in page and "Agrees: MRN" in page
    assert "^" not in page.partition("<main")[2]


def test_one_click_links_and_the_bar_takes_it_back(client: Client) -> None:
    case = waiting()
    done = answer(client, case, "link", htmx=True)
    assert "Every study has its order." in text(done)
    study = Study.objects.get()
    assert study.requested_procedure_ref_id == case.candidates[0]["procedure"]
    decision = ReconciliationDecision.objects.get()
    address = reverse("reconciliation-undo", args=[decision.public_id])
    assert address in text(done)
    assert client.post(address, {"next": "/reconciliation"}).headers["Location"] == "/reconciliation"
    study.refresh_from_db()
    assert (study.requested_procedure_ref, study.accession_number) == (None, "MISTYPED")
    assert "No order has this accession number" in text(client.get("/reconciliation"))


def test_it_works_without_script_and_leads_back_to_the_list(client: Client) -> None:
    case = waiting()
    done = answer(client, case, "dismiss", order="1", next="/reconciliation?tab=waiting")
    assert done.headers["Location"] == "/reconciliation?tab=waiting"
    case.refresh_from_db()
    assert case.state == CaseState.DISMISSED
    assert "An order was made for these images." in text(client.get("/reconciliation"))


def test_images_of_the_wrong_patient_are_seen_nowhere_but_in_the_history(client: Client) -> None:
    case = waiting()
    answer(client, case, "wrong-patient", reason="two newborns")
    assert not Study.objects.filter(deleted_at=None).exists()
    decided = text(client.get("/reconciliation?tab=decided"))
    assert "two newborns" in decided and "Take back" in decided
    client.post(reverse("reconciliation-undo", args=[ReconciliationDecision.objects.get().public_id]))
    assert Study.objects.filter(deleted_at=None).exists()


def test_the_second_of_two_is_told_and_sees_what_is_now(client: Client) -> None:
    case = waiting()
    budi = make_user("budi", role="radiographer")
    procedure = make_requested_procedure()
    link(who=budi, case=case, procedure=procedure)
    late = answer(client, case, "link")
    assert late.status_code == 412
    assert "budi decided this meanwhile" in text(late)
    assert "budi decided this meanwhile" in text(answer(client, case, "dismiss", htmx=True))
    assert Study.objects.get().requested_procedure_ref == procedure


def test_any_order_of_the_site_can_be_searched_and_linked(client: Client) -> None:
    case = waiting()
    order = make_order(make_patient("RM-77", "SITOMPUL^EKO"), accession_number="Z9-1", procedures=1)
    make_order(make_patient("RM-77", "SITOMPUL^EKO", site=make_site()), procedures=1)
    address = reverse("reconciliation-case", args=[case.public_id])
    for words in ("Z9", "RM-77", "eko sitom"):
        page = text(client.get(address, {"q": words}))
        assert page.count("Eko".upper()) >= 1 and page.count("Z9-1") == 1, words
    assert "No order with this number" in text(client.get(address, {"q": "nobody"}))
    answer(client, case, "link", procedure=str(order.requested_procedures.get().public_id))
    assert Study.objects.get().accession_number == "Z9-1"


def test_a_part_that_asks_again_gets_304_until_something_happens(client: Client) -> None:
    case = waiting()
    page = text(client.get("/reconciliation"))
    tag = page.partition('data-live="')[2].partition('"')[0].replace("&quot;", '"')
    again = {**HTMX, "If-None-Match": tag}
    assert client.get("/reconciliation", headers=again).status_code == 304
    answer(client, case, "dismiss")
    assert client.get("/reconciliation", headers=again).status_code == 200
    waiting()
    count = client.get("/reconciliation/count")
    assert ">1<" in text(count)
    assert client.get("/reconciliation/count", headers={"If-None-Match": count["ETag"]}).status_code == 304


def test_only_those_who_may_decide_see_it() -> None:
    case = waiting()
    doctor = Client()
    doctor.force_login(make_user("doctor", role="doctor"), backend="django.contrib.auth.backends.ModelBackend")
    assert doctor.get("/reconciliation").status_code == 403
    assert doctor.get(f"/reconciliation/{case.public_id}").status_code == 403
    assert doctor.get("/reconciliation/count").status_code == 204
    assert answer(doctor, case, "dismiss").status_code in {403, 404}
    assert "/reconciliation" not in text(doctor.get("/"))
    case.refresh_from_db()
    assert case.state == CaseState.OPEN


@pytest.mark.parametrize("address", ["/reconciliation", "/reconciliation?tab=decided"])
def test_a_full_page_costs_a_fixed_number_of_queries(
    client: Client, rina: User, address: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        case = waiting(f"NUMBER{number}^TEST")
        if "decided" in address:
            link(who=rina, case=case, procedure=make_requested_procedure())
    client.get("/")
    with django_assert_max_num_queries(14):
        page = client.get(address)
    assert text(page).count("data-rowgroup") >= 10
