"""Orders on pages: thirty seconds for a chest X-ray, nothing typed is lost, one order however often it is sent."""

import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from radiology import code128
from radiology.models import AuditEvent, Order, OrderStatus, Patient, Procedure
from radiology.services.catalogue import save_procedure
from radiology.services.merges import merge_patients
from tests.factories import default_site, make_order, make_patient, make_requested_procedure, make_site, make_user
from tests.radiology.admin_client import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(db: None) -> Client:
    return signed_in(make_user("desk", role="desk"))


def entry(code: str, name: str, **fields: Any) -> Procedure:
    made = Procedure(site=default_site(), code=code, name=name, **{"modality": "DX", "is_ionising": True, **fields})
    save_procedure(procedure=made)
    return made


@pytest.fixture
def chest(db: None) -> Procedure:
    return entry("DXTHXPA", "Foto Thorax PA", preparation="Lepaskan kalung.")


def text(response: Any) -> str:
    return response.content.decode()


def form(patient: Patient, *chosen: Procedure, **more: Any) -> dict[str, Any]:
    return {
        "patient": str(patient.public_id),
        "procedure": [str(each.public_id) for each in chosen],
        "priority": "ROUTINE",
        **more,
    }


def test_a_patient_is_found_as_one_types(desk: Client) -> None:
    make_patient("001234", "LESTARI^AYU")
    other = make_patient("001235", "LESTARI^DEWI", site=make_site())
    for question in ("les ayu", "0012"):
        page = text(desk.get("/orders/patients", {"q": question}, headers={"HX-Request": "true"}))
        assert "AYU LESTARI" in page and "DEWI" not in page
    assert "Nobody is found" in text(desk.get("/orders/new", {"q": "zzz"}))
    assert "any order" in text(desk.get("/orders/new", {"q": " "}))
    assert desk.get("/orders/new", {"patient": str(other.public_id)}).status_code == 404


def test_a_patient_is_found_by_sound_birth_date_other_numbers_and_a_former_name(
    desk: Client, django_assert_max_num_queries: Any
) -> None:
    there = make_patient(
        "RM-1", "SOEKARNO^DJOKO", patient_birth_date="19700131", identifiers=[("NIK", "3171000000000001")]
    )
    make_patient("RM-2", "SUPARNO^ADI")
    merge_patients(who=make_user("merges", role="radiographer"), survivor=there, merged=make_patient("RM-9", "KARNO"))
    choice = f"?patient={there.public_id}"
    for question in ("joko sukarno", "31/1/1970", "rm-1", "3171000000000001", "RM-9"):
        with django_assert_max_num_queries(18):
            page = text(desk.get("/orders/patients", {"q": question}, headers={"HX-Request": "true"}))
        assert choice in page and "DJOKO SOEKARNO" in page and "SUPARNO" not in page, question
    assert "merged from KARNO, RM-9" in page


def test_an_order_for_a_merged_patient_is_placed_for_the_survivor(desk: Client, chest: Procedure) -> None:
    merged, survivor = make_patient("RM-9", "KARNO"), make_patient("RM-1", "SOEKARNO^DJOKO")
    merge_patients(who=make_user("merges", role="radiographer"), survivor=survivor, merged=merged)
    page = text(desk.get("/orders/new", {"patient": str(merged.public_id)}))
    assert "DJOKO SOEKARNO" in page and f'name="patient" value="{survivor.public_id}"' in page
    assert desk.post("/orders/new", form(merged, chest)).status_code == 302
    assert Order.objects.get().patient_ref == survivor


def test_a_chest_x_ray_is_ordered_and_sent_twice_is_one(desk: Client, chest: Procedure) -> None:
    patient = make_patient("001234", "WIBOWO^BUDI")
    page = text(desk.get("/orders/new", {"patient": str(patient.public_id)}))
    assert "BUDI WIBOWO" in page and "Safety" not in page
    key = re.search(r'name="key" value="(form-[^"]+)"', page)
    assert key
    assert "Foto Thorax PA" in text(desk.get("/orders/procedures", {"procedure_text": "tho"}))
    step = desk.post("/orders/new", form(patient, add=str(chest.public_id), key=key[1]), headers={"HX-Request": "true"})
    assert f'name="procedure" value="{chest.public_id}"' in text(step) and key[1] in text(step)
    sent = form(patient, chest, key=key[1], reason_for_the_requested_procedure="Batuk")
    for _ in range(2):
        response = desk.post("/orders/new", sent)
        order = Order.objects.get()
        assert response["Location"] == f"/orders/{order.public_id}"
    assert order.reason_for_the_requested_procedure == "Batuk" and order.origin == "desk"
    assert order.entered_by and order.entered_by.username == "desk"
    shown = text(desk.get(f"/orders/{order.public_id}"))
    assert order.accession_number in shown and "Batuk" in shown and "Foto Thorax PA" in shown


def test_what_is_missing_stands_beside_its_field_and_what_was_typed_stays(desk: Client, chest: Procedure) -> None:
    patient = make_patient(patient_sex="F", patient_birth_date="19950505")
    knee = entry("DXKNEE", "Foto Genu", asks_laterality=True)
    page = desk.post("/orders/new", form(patient, chest, knee, clinical_history="Panjang sekali"))
    assert page.status_code == 400
    assert "Say which side of Foto Genu" in text(page) and "Panjang sekali" in text(page)
    sided = form(patient, chest, knee, clinical_history="Panjang sekali", **{f"side-{knee.public_id}": "R"})
    page = desk.post("/orders/new", sided)
    assert "Say whether the patient may be pregnant" in text(page) and "Panjang sekali" in text(page)
    assert "Choose at least one procedure" in text(desk.post("/orders/new", form(patient)))
    page = desk.post("/orders/new", {**sided, "pregnancy_status": "1", "egfr": "x", "patient_weight": "viel"})
    assert page.status_code == 400 and "viel" in text(page) and not Order.objects.exists()
    page = desk.post("/orders/new", {**sided, "pregnancy_status": "2"})
    assert "is or may be pregnant" in text(page) and 'name="accept"' in text(page)
    assert desk.post("/orders/new", {**sided, "pregnancy_status": "2", "accept": "1"}).status_code == 302
    assert Order.objects.get().requested_procedures.get(procedure_ref=knee).laterality == "R"


def test_the_form_works_without_script_and_asks_contrast_questions_only_then(desk: Client, chest: Procedure) -> None:
    patient = make_patient()
    contrast = entry("CTABDC", "CT Abdomen dengan kontras", modality="CT", contrast="required")
    found = text(desk.post("/orders/new", form(patient, chest, find="1", procedure_text="abd")))
    assert f'name="add" value="{contrast.public_id}"' in found and "metformin" not in found
    added = text(desk.post("/orders/new", form(patient, chest, add=str(contrast.public_id))))
    assert "metformin" in added and "eGFR" in added
    removed = text(desk.post("/orders/new", form(patient, chest, contrast, remove=str(contrast.public_id))))
    assert "metformin" not in removed and not Order.objects.exists()


def test_an_order_is_changed_with_its_history_and_a_lost_update_is_told(desk: Client, chest: Procedure) -> None:
    order = make_order(procedures=1)
    path = f"/orders/{order.public_id}/edit"
    assert desk.get(path).status_code == 200
    sent = {"version": "1", "priority": "STAT", "current_patient_location": "ICU", "reason": "gawat"}
    assert desk.post(path, sent).status_code == 302
    page = desk.post(path, {**sent, "current_patient_location": "IGD"})
    assert page.status_code == 412 and "Stands there now" in text(page) and "ICU" in text(page)
    assert desk.post(path, {**sent, "version": "2", "procedure": [str(chest.public_id)]}).status_code == 302
    order.refresh_from_db()
    assert order.priority == "STAT" and order.requested_procedures.count() == 2
    shown = text(desk.get(f"/orders/{order.public_id}"))
    assert "gawat" in shown and "→ ICU" in shown


def test_it_is_held_cancelled_and_taken_back(desk: Client) -> None:
    order = make_order(procedures=2)
    path = f"/orders/{order.public_id}/move"
    page = desk.post(path, {"move": "hold", "version": "1", "reason": ""})
    assert page.status_code == 400 and "Say why" in text(page)
    desk.post(path, {"move": "hold", "version": "1", "reason": "tunggu hasil"})
    order.refresh_from_db()
    assert order.status == OrderStatus.ON_HOLD
    assert "tunggu hasil" in text(desk.get(f"/orders/{order.public_id}"))
    desk.post(f"{path}?undo=release")
    page = desk.post(path, {"move": "cancel", "version": "1", "reason": "alasan lama"})
    assert page.status_code == 412 and "alasan lama" in text(page)
    done = desk.post(path, {"move": "cancel", "version": "3", "reason": "pulang"}, follow=True)
    assert f"{path}?undo=reinstate" in text(done)
    desk.post(f"{path}?undo=reinstate")
    order.refresh_from_db()
    assert order.status == OrderStatus.ACTIVE
    row = order.requested_procedures.order_by("pk")[0]
    removal = {"procedure": str(row.public_id), "version": str(order.version)}
    page = desk.post(f"/orders/{order.public_id}/remove", removal)
    assert page.status_code == 400 and "Say why" in text(page)
    stale = desk.post(f"/orders/{order.public_id}/remove", {**removal, "version": "1", "reason": "alasan lama"})
    assert stale.status_code == 412 and "alasan lama" in text(stale)
    done = desk.post(f"/orders/{order.public_id}/remove", {**removal, "reason": "tidak perlu"}, follow=True)
    row.refresh_from_db()
    assert row.status == "cancelled"
    undo = f"/orders/{order.public_id}/remove?undo={row.public_id}"
    assert undo in text(done)
    assert "is wanted again" in text(desk.post(undo, follow=True))
    row.refresh_from_db()
    assert row.status == "requested"
    assert desk.post(f"/orders/{order.public_id}/remove?undo=x").status_code == 302


def test_a_procedure_is_added_from_the_page_of_the_order_and_one_that_stands_in_it_is_told(
    desk: Client, chest: Procedure
) -> None:
    patient, abdomen = make_patient(), entry("USABD", "USG Abdomen", modality="US", is_ionising=False)
    desk.post("/orders/new", form(patient, chest))
    order = Order.objects.get()
    path = f"/orders/{order.public_id}"
    assert f'data-key="a" href="{path}/edit#procedure-text"' in text(desk.get(path))
    assert 'id="procedure-text"' in text(desk.get(f"{path}/edit"))
    sent = {"version": "1", "priority": "ROUTINE", "reason": "curiga batu"}
    refused = desk.post(f"{path}/edit", {**sent, "procedure": [str(abdomen.public_id), str(chest.public_id)]})
    assert refused.status_code == 409 and "Foto Thorax PA stands in this order already" in text(refused)
    assert f'id="chosen-{abdomen.public_id}"' in text(refused) and "curiga batu" in text(refused)
    assert order.requested_procedures.count() == 1
    assert desk.post(f"{path}/edit", {**sent, "procedure": [str(abdomen.public_id)]}).status_code == 302
    assert "USG Abdomen" in text(desk.get(path)) and "curiga batu" in text(desk.get(path))
    Order.objects.filter(pk=order.pk).update(status=OrderStatus.COMPLETED)
    assert 'data-key="a"' not in text(desk.get(path))


def test_papers_are_attached_served_as_files_and_taken_away(desk: Client) -> None:
    order = make_order()
    path = f"/orders/{order.public_id}"
    page = desk.post(f"{path}/attachments", {"file": SimpleUploadedFile("a.pdf", b"MZ")})
    assert page.status_code == 415 and "Attach a PDF" in text(page)
    desk.post(f"{path}/attachments", {"file": SimpleUploadedFile("rujukan.pdf", b"%PDF-1.7 x")})
    paper = order.attachments.get()
    served = desk.get(f"{path}/attachments/{paper.public_id}")
    assert served["Content-Disposition"] == 'attachment; filename="rujukan.pdf"'
    assert served["X-Content-Type-Options"] == "nosniff" and "sandbox" in served["Content-Security-Policy"]
    gone = desk.post(f"{path}/attachments/{paper.public_id}/remove", follow=True)
    assert "restore" in text(gone) and "attachments/" in text(gone)
    assert desk.get(f"{path}/attachments/{paper.public_id}").status_code == 404
    desk.post(f"{path}/attachments/{paper.public_id}/restore")
    assert desk.get(f"{path}/attachments/{paper.public_id}").status_code == 200


def test_the_list_is_searched_and_costs_the_same_for_many(desk: Client, django_assert_max_num_queries: Any) -> None:
    patient = make_patient("001234", "LESTARI^AYU")
    make_order(patient, procedures=2, accession_number="A0001", status=OrderStatus.REVOKED)
    for number in range(60):
        make_order(procedures=1, accession_number=f"B{number:04d}")
    make_order(make_patient(patient_name="RAHASIA^X", site=make_site()), accession_number="A0002")
    with django_assert_max_num_queries(11):
        page = text(desk.get("/orders"))
    assert page.count("data-row ") == 50 and "B0059" in page and "A0001" not in page and "RAHASIA" not in page
    older = re.search(r'rel="next" href="([^"]+)"', page)
    assert older and "A0001" in text(desk.get(older[1].replace("&amp;", "&")))
    for query in ("ayu les", "0012", "A00", "a0001"):
        with django_assert_max_num_queries(11):
            assert "AYU LESTARI" in text(desk.get("/orders", {"q": query})), query
    assert "No order matches" in text(desk.get("/orders", {"q": "A0002"}))
    assert "AYU LESTARI" in text(desk.get("/orders", {"status": "revoked", "day": "today"}))
    assert "AYU LESTARI" not in text(desk.get("/orders", {"status": "open", "q": "ayu"}))
    part = text(desk.get("/orders", {"q": "ayu"}, headers={"HX-Request": "true"}))
    assert "<html" not in part and "AYU LESTARI" in part


def test_persons_are_named_as_people_write_them(desk: Client) -> None:
    order = make_order(referring_physician_name="TAN^ANI^^dr", requesting_physician="LIM^BUDI")
    page = text(desk.get(f"/orders/{order.public_id}"))
    assert "ANI TAN" in page and "BUDI LIM" in page and "^" not in page


def test_the_page_costs_the_same_with_many_procedures(desk: Client, django_assert_max_num_queries: Any) -> None:
    order = make_order(procedures=12)
    with django_assert_max_num_queries(16):
        assert desk.get(f"/orders/{order.public_id}").status_code == 200
    assert AuditEvent.objects.filter(event="order.read", patient_ref=order.patient_ref).exists()


def test_the_slip_has_barcode_and_preparation(desk: Client, chest: Procedure) -> None:
    order = make_order(make_patient("7", "O'NEIL^<b>"), accession_number="26030900001", priority="STAT")
    make_requested_procedure(
        order, procedure_ref=chest, requested_procedure_description="Foto Thorax PA", laterality="L"
    )
    page = text(desk.get(f"/orders/{order.public_id}/slip"))
    assert "Lepaskan kalung." in page and "Left" in page and "26030900001" in page and "<b>" not in page
    assert str(code128.svg("26030900001")) in page and "Stat" in page
    make_order(accession_number="É1")
    assert desk.get(f"/orders/{Order.objects.get(accession_number='É1').public_id}/slip").status_code == 200


def test_who_may_not_order_is_told_and_who_sees_it_not_finds_nothing(chest: Procedure) -> None:
    reader = signed_in(make_user("reader", role="radiologist"))
    mine, other = make_order(procedures=1), make_order(make_patient(site=make_site()))
    assert reader.get("/orders/new").status_code == 403
    assert reader.get(f"/orders/{mine.public_id}").status_code == 200
    assert "Hold" not in text(reader.get(f"/orders/{mine.public_id}"))
    assert reader.post(f"/orders/{mine.public_id}/move", {"move": "cancel", "reason": "x"}).status_code == 403
    for path in ("", "/edit", "/slip"):
        assert (
            signed_in(make_user(f"d{path[1:]}", role="desk")).get(f"/orders/{other.public_id}{path}").status_code == 404
        )
    assert Client().get(f"/orders/{mine.public_id}").status_code == 302


def test_a_doctor_orders_from_the_ward(chest: Procedure) -> None:
    doctor, patient = signed_in(make_user("doctor", role="doctor")), make_patient()
    page = text(doctor.get("/orders/new", {"patient": str(patient.public_id)}))
    assert 'name="from" value="ward"' in page
    sent = form(patient, chest, current_patient_location="Melati 3", **{"from": "ward"})
    assert doctor.post("/orders/new", sent).status_code == 302
    assert Order.objects.get().origin == "ward"
    shown = text(doctor.get(f"/patients/{patient.public_id}"))
    assert 'data-key="o"' in shown and f"/orders/{Order.objects.get().public_id}" in shown
