"""Ordering: all of it or nothing, safe, once for each key, every change kept."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from radiology.errors import (
    Conflict,
    InvalidValue,
    NeedsConfirmation,
    NotAllowed,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
)
from radiology.models import (
    AuditEvent,
    ContrastUse,
    Order,
    OrderOrigin,
    OrderStatus,
    Patient,
    Procedure,
    ProcedureStatus,
    RequestedProcedure,
)
from radiology.services import order_moves
from radiology.services.order_attachments import (
    add_attachment,
    attachment_of,
    neutral_name,
    remove_attachment,
    restore_attachment,
)
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.order_states import move_procedure
from radiology.services.orders import add_procedures, change_order, place_order, remove_procedure
from radiology.signals import order_changed, order_placed
from tests.factories import (
    default_site,
    make_order,
    make_patient,
    make_procedure,
    make_requested_procedure,
    make_site,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def chest(db: None) -> Procedure:
    return make_procedure("DXTHX", "Foto Thorax PA", modality="DX", is_ionising=True)


@pytest.fixture
def contrast(db: None) -> Procedure:
    return make_procedure("CTABDC", "CT Abdomen dengan kontras", is_ionising=True, contrast=ContrastUse.REQUIRED)


def place(patient: Patient | None = None, *codes: str, **more: Any) -> Order:
    patient = patient or make_patient()
    requests = more.pop("procedures", [ProcedureRequest(code=code) for code in codes or ("DXTHX",)])
    return place_order(site=patient.site, patient=patient, procedures=requests, **more)


SAFE = {"contrast_allergy": "no", "takes_metformin": "no", "egfr": "90"}


def test_an_order_gets_its_number_its_procedures_and_tells_the_worklist(chest: Procedure) -> None:
    heard: list[Any] = []
    order_placed.connect(receiver := lambda **told: heard.append(told), weak=False)
    knee = make_procedure("DXKNEE", "Foto Genu", modality="DX", asks_laterality=True, duration=10)
    who, patient = make_user(role="desk"), make_patient()
    order = place_order(
        site=patient.site,
        patient=patient,
        procedures=[
            ProcedureRequest(procedure=chest, comments="berdiri"),
            ProcedureRequest(code="DXKNEE", laterality="L"),
        ],
        values={"priority": "STAT", "reason_for_the_requested_procedure": "Jatuh", "placer_order_number": "P1"},
        who=who,
        origin=OrderOrigin.WARD,
    )
    order_placed.disconnect(receiver)
    assert order.entered_by == who and order.origin == "ward" and order.placer_order_number == "P1"
    first, second = order.requested_procedures.order_by("pk")
    assert first.requested_procedure_id == f"{order.accession_number}-1"
    assert (second.procedure_ref, second.laterality, second.duration) == (knee, "L", 10)
    assert (first.modality, first.body_part_examined, first.procedure_code_value) == ("DX", "CHEST", "DXTHX")
    assert first.study_instance_uid.startswith("2.25.") and first.study_instance_uid != second.study_instance_uid
    (told,) = heard
    assert told["order"] == order and told["procedures"] == [first, second] and told["who"] == who
    event = AuditEvent.objects.get(event="order.placed")
    assert event.patient_ref_id == patient.pk and event.detail["accession_number"] == order.accession_number


def test_the_same_order_from_elsewhere_gets_the_same_study_uid(chest: Procedure) -> None:
    patient = make_patient()
    first = place(patient, accession_number="S1", issuer_of_accession_number="SIMRS")
    uid = first.requested_procedures.get().study_instance_uid
    first.delete()
    assert place(patient, accession_number="S1", issuer_of_accession_number="SIMRS", accept_warnings=True)
    assert RequestedProcedure.objects.get().study_instance_uid == uid


def test_a_number_that_is_taken_names_the_order_that_has_it(chest: Procedure) -> None:
    there = make_order(accession_number="S1")
    with pytest.raises(Conflict) as refused:
        place(accession_number="S1")
    assert refused.value.facts["order"] == there
    assert Order.objects.count() == 1


def test_a_key_makes_one_order_however_often_it_comes(chest: Procedure) -> None:
    patient = make_patient()
    first = place(patient, client_key="k-1")
    assert place(patient, client_key="k-1") == first
    with pytest.raises(Conflict) as refused:
        place(make_patient(), client_key="k-1")
    assert refused.value.facts["order"] == first and refused.value.field == "client_key"
    make_procedure("CTTHX")
    with pytest.raises(Conflict):
        place(patient, "CTTHX", client_key="k-1")
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("request_", "field", "told"),
    [
        ([], "procedures", "at least one"),
        ([ProcedureRequest()], "procedures.0.code", "by its code"),
        ([ProcedureRequest(code="NONE")], "procedures.0.code", "not in the procedure catalogue"),
        ([ProcedureRequest(code="OLD")], "procedures.0.code", "any longer"),
        ([ProcedureRequest(code="DXTHX"), ProcedureRequest(code="DXKNEE")], "procedures.1.laterality", "which side"),
        ([ProcedureRequest(code="DXKNEE", laterality="U")], "procedures.0.laterality", "which side"),
        ([ProcedureRequest(code="DXKNEE", laterality="X")], "procedures.0.laterality", "R, L, B or U"),
        (
            [ProcedureRequest(code="DXTHX", requested_procedure_id="x" * 17)],
            "procedures.0.requested_procedure_id",
            "17",
        ),
        ([ProcedureRequest(code="DXTHX", study_instance_uid="../1")], "procedures.0.study_instance_uid", "UID"),
        ([ProcedureRequest(code="DXTHX")] * 21, "procedures", "20"),
        ([ProcedureRequest(code="X", description="x" * 65, modality="CT")], "procedures.0.description", "65"),
    ],
)
def test_a_procedure_that_makes_no_sense_is_named(chest: Procedure, request_: Any, field: str, told: str) -> None:
    make_procedure("OLD", is_active=False)
    make_procedure("DXKNEE", modality="DX", asks_laterality=True)
    with pytest.raises(InvalidValue, match=told) as refused:
        place(procedures=request_)
    assert refused.value.field == field
    assert not Order.objects.exists()


def test_a_code_of_another_scheme_finds_the_catalogue_and_an_unknown_one_is_taken_as_said(chest: Procedure) -> None:
    chest.codes.create(coding_scheme_designator="LN", code_value="24648-8")
    order = place(
        procedures=[
            ProcedureRequest(code="24648-8", scheme="LN"),
            ProcedureRequest(code="9.9", scheme="KPTL", description="Foto khusus", modality="DX"),
        ]
    )
    known, unknown = order.requested_procedures.order_by("pk")
    assert known.procedure_ref == chest and known.procedure_code_value == "DXTHX"
    assert unknown.procedure_ref is None and unknown.procedure_coding_scheme == "KPTL"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"priority": "SOON"}, "priority"),
        ({"priority": ""}, "priority"),
        ({"egfr": "many"}, "egfr"),
        ({"egfr": -1}, "egfr"),
        ({"patient_size": "180"}, "patient_size"),
        ({"patient_weight": True}, "patient_weight"),
        ({"requested_start": "tomorrow"}, "requested_start"),
        ({"requested_start": 5}, "requested_start"),
        ({"requested_start": "2026-11-28T10:00:00"}, "requested_start"),
        ({"last_menstrual_date": f"{timezone.now() + timedelta(days=3):%Y-%m-%d}"}, "last_menstrual_date"),
        ({"clinical_history": {}}, "clinical_history"),
        ({"requesting_service": "x" * 65}, "requesting_service"),
        ({"requesting_service": "a\nb"}, "requesting_service"),
        ({"clinical_history": "x" * 10_001}, "clinical_history"),
        ({"accession": "1"}, "accession"),
        ({"patient_weight": "NaN"}, "patient_weight"),
    ],
)
def test_a_value_that_does_not_fit_is_named(chest: Procedure, values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        place(values=values)
    assert refused.value.field == field
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("sex", "born", "asked"),
    [("F", "19900101", True), ("F", "", True), ("F", "19500101", False), ("F", "20250101", False), ("M", "", False)],
)
def test_pregnancy_is_asked_where_it_matters(chest: Procedure, sex: str, born: str, asked: bool) -> None:
    patient = make_patient(patient_sex=sex, patient_birth_date=born)
    make_procedure("USABD", "USG Abdomen", modality="US")
    assert place(patient, "USABD").pregnancy_status == ""
    if not asked:
        assert place(patient).pk
        return
    with pytest.raises(InvalidValue) as refused:
        place(patient)
    assert refused.value.field == "pregnancy_status"
    assert place(patient, values={"pregnancy_status": "1"}).pregnancy_status == "1"
    with pytest.raises(NeedsConfirmation) as warned:
        place(patient, values={"pregnancy_status": "3"})
    assert [each["code"] for each in warned.value.facts["warnings"]] == ["pregnancy", "ordered-already"]


def test_contrast_asks_for_allergy_kidneys_and_metformin(contrast: Procedure) -> None:
    with pytest.raises(InvalidValue) as refused:
        place(None, "CTABDC")
    assert set(refused.value.facts["fields"]) == {"contrast_allergy", "takes_metformin"}
    with pytest.raises(InvalidValue) as refused:
        place(None, "CTABDC", values={**SAFE, "contrast_allergy": "yes"})
    assert refused.value.field == "contrast_allergies"
    for values, code in (
        ({**SAFE, "contrast_allergy": "yes", "contrast_allergies": "Iohexol: urtikaria"}, "contrast-allergy"),
        ({**SAFE, "egfr": "29.9"}, "kidneys"),
        ({**SAFE, "egfr": None}, "kidneys-unknown"),
    ):
        with pytest.raises(NeedsConfirmation) as warned:
            place(None, "CTABDC", values=values)
        assert [each["code"] for each in warned.value.facts["warnings"]] == [code]
        place(None, "CTABDC", values=values, accept_warnings=True)
        assert AuditEvent.objects.filter(event="order.placed").latest("id").detail["accepted"] == [code]
    assert place(None, "CTABDC", values=SAFE).egfr == 90
    assert place(None, "CTABDC", asks_safety=False).contrast_allergy == ""


def test_the_same_procedure_within_a_day_is_told_unless_it_was_called_off(chest: Procedure) -> None:
    patient = make_patient()
    first = place(patient)
    with pytest.raises(NeedsConfirmation, match=first.accession_number):
        place(patient)
    assert place(make_patient()).pk
    order_moves.cancel_order(order=first, reason="ordered twice")
    again = place(patient)
    Order.objects.filter(pk=again.pk).update(created_at=timezone.now() - timedelta(hours=25))
    assert place(patient).pk


def test_changes_are_kept_with_what_was_before(chest: Procedure) -> None:
    heard: list[Any] = []
    order_changed.connect(receiver := lambda **told: heard.append(told), weak=False)
    order, who = place(values={"current_patient_location": "IGD"}), make_user(role="desk")
    changed = change_order(
        order=order,
        version=1,
        changes={"current_patient_location": "ICU 3", "egfr": "55", "priority": "ROUTINE"},
        reason="dipindah",
        who=who,
    )
    order_changed.disconnect(receiver)
    kept = order.versions.get()
    assert kept.changes == {"current_patient_location": ["IGD", "ICU 3"], "egfr": [None, "55"]}
    assert (kept.user, kept.reason, kept.version, changed.version) == (who, "dipindah", 2, 2)
    assert heard[0]["changes"] == kept.changes
    assert change_order(order=order, version=2, changes={"egfr": "55.0"}, who=who).version == 2
    with pytest.raises(PreconditionFailed):
        change_order(order=order, version=1, changes={"egfr": "60"}, who=who)
    with pytest.raises(InvalidValue):
        change_order(order=order, version=2, changes={"accession_number": "X"}, who=who)
    order_moves.cancel_order(order=order, reason="salah", who=who)
    with pytest.raises(Conflict):
        change_order(order=order, version=3, changes={"egfr": "60"}, who=who)


def test_an_answer_that_makes_it_unsafe_is_warned_of_when_it_is_changed(contrast: Procedure) -> None:
    order = place(None, "CTABDC", values=SAFE)
    with pytest.raises(NeedsConfirmation):
        change_order(order=order, version=1, changes={"egfr": "12"})
    with pytest.raises(InvalidValue) as refused:
        change_order(order=order, version=1, changes={"takes_metformin": ""})
    assert refused.value.field == "takes_metformin"
    assert change_order(order=order, version=1, changes={"egfr": "12"}, accept_warnings=True).egfr == 12


def test_procedures_are_added_and_called_off(chest: Procedure, contrast: Procedure) -> None:
    order = place()
    with pytest.raises(InvalidValue) as refused:
        add_procedures(order=order, version=1, procedures=[ProcedureRequest(code="CTABDC")])
    assert refused.value.field == "contrast_allergy"
    change_order(order=order, version=1, changes=SAFE)
    (added,) = add_procedures(order=order, version=2, procedures=[ProcedureRequest(code="CTABDC")])
    assert added.requested_procedure_id == f"{order.accession_number}-2"
    with pytest.raises(InvalidValue) as no_reason:
        remove_procedure(procedure=added, version=3, reason="  ")
    assert no_reason.value.field == "reason"
    remove_procedure(procedure=added, version=3, reason="tidak perlu")
    order.refresh_from_db()
    assert order.status == OrderStatus.ACTIVE
    remove_procedure(procedure=order.requested_procedures.get(status="requested"), version=4, reason="batal")
    order.refresh_from_db()
    assert order.status == OrderStatus.REVOKED and order.versions.count() == 4
    with pytest.raises(Conflict):
        add_procedures(order=order, version=5, procedures=[ProcedureRequest(code="DXTHX")])


def test_calling_off_holding_and_taking_back(chest: Procedure) -> None:
    order, who = place(), make_user(role="desk")
    with pytest.raises(InvalidValue):
        order_moves.hold_order(order=order, reason="", who=who)
    order_moves.hold_order(order=order, reason="tunggu ureum", who=who, version=1)
    released = order_moves.release_order(order=order, who=who)
    assert (released.status, released.version) == (OrderStatus.ACTIVE, 3)
    order_moves.cancel_order(order=order, reason="pasien pulang", who=who)
    order.refresh_from_db()
    assert order.status_reason == "pasien pulang"
    assert order.requested_procedures.get().status == ProcedureStatus.CANCELLED
    with pytest.raises(Conflict):
        order_moves.release_order(order=order, who=who)
    order_moves.reinstate_order(order=order, who=who)
    assert order.requested_procedures.get().status == ProcedureStatus.REQUESTED
    with pytest.raises(PreconditionFailed):
        order_moves.cancel_order(order=order, version=1, reason="x", who=who)
    wrong = order_moves.mark_entered_in_error(order=order, reason="pasien salah", who=who)
    with pytest.raises(Conflict):
        order_moves.reinstate_order(order=wrong, who=who)


def states_of(order: Order) -> list[str]:
    return list(order.requested_procedures.order_by("pk").values_list("status", flat=True))


def test_reinstating_brings_back_what_was_cancelled_with_the_order_and_no_more() -> None:
    order, who = make_order(procedures=3), make_user(role="desk")
    first = order.requested_procedures.order_by("pk")[0]
    remove_procedure(procedure=first, version=1, reason="tidak perlu", who=who)
    order_moves.cancel_order(order=order, reason="pasien pulang", who=who)
    assert states_of(order) == ["cancelled"] * 3
    order_moves.reinstate_order(order=order, who=who)
    assert states_of(order) == ["cancelled", "requested", "requested"]
    second = order.requested_procedures.order_by("pk")[1]
    remove_procedure(procedure=second, version=None, reason="juga tidak", who=who)
    order_moves.discontinue_order(order=order, reason="pulang lagi", who=who)
    order_moves.reinstate_order(order=order, who=who)
    assert states_of(order) == ["cancelled", "cancelled", "requested"]
    kept = order.versions.order_by("-version")[0].changes
    third = order.requested_procedures.order_by("pk")[2]
    name = f"procedure {third.requested_procedure_id}"
    assert kept == {name: ["cancelled", "requested"], "status": ["revoked", "active"]}


def test_an_order_that_ended_with_its_last_procedure_comes_back_with_that_one() -> None:
    order = make_order(procedures=2)
    first, last = order.requested_procedures.order_by("pk")
    remove_procedure(procedure=first, version=1, reason="tidak perlu")
    assert remove_procedure(procedure=last, version=2, reason="batal").status == OrderStatus.REVOKED
    order_moves.reinstate_order(order=order)
    assert states_of(order) == ["cancelled", "requested"]


def test_releasing_an_order_leaves_cancelled_what_was_called_off() -> None:
    order = make_order(procedures=2)
    order_moves.hold_order(order=order, reason="tunggu ureum")
    first, last = order.requested_procedures.order_by("pk")
    remove_procedure(procedure=first, version=2, reason="tidak perlu")
    order_moves.release_order(order=order)
    assert states_of(order) == ["cancelled", "requested"]
    order_moves.hold_order(order=order, reason="tunggu lagi")
    ended = remove_procedure(procedure=last, version=None, reason="batal")
    assert (ended.status, ended.status_reason) == (OrderStatus.REVOKED, "batal")
    back = move_procedure(procedure=last, to=ProcedureStatus.REQUESTED)
    assert back.status == OrderStatus.ON_HOLD and states_of(order) == ["cancelled", "requested"]


def test_what_was_revoked_before_there_was_a_history_comes_back_whole() -> None:
    order = make_order(procedures=2, status=OrderStatus.REVOKED)
    order.requested_procedures.update(status=ProcedureStatus.CANCELLED)
    order_moves.reinstate_order(order=order)
    assert states_of(order) == ["requested", "requested"]


def test_what_has_begun_is_discontinued_not_cancelled() -> None:
    order = make_order()
    make_requested_procedure(order, status=ProcedureStatus.IN_PROGRESS)
    waiting = make_requested_procedure(order)
    with pytest.raises(Conflict, match="discontinue it"):
        order_moves.cancel_order(order=order, reason="x")
    order_moves.discontinue_order(order=order, reason="pasien gelisah")
    assert set(order.requested_procedures.values_list("status", flat=True)) == {"discontinued", "cancelled"}
    waiting.refresh_from_db()
    assert waiting.status == "cancelled"


def test_without_the_right_nothing_happens(chest: Procedure) -> None:
    order, radiologist = place(), make_user("reader", role="radiologist")
    token, _text = make_token(scopes=["studies.read", "studies.write"])
    for who in (radiologist, token):
        for act in (
            lambda who=who: place(who=who),
            lambda who=who: change_order(order=order, version=1, changes={"egfr": "9"}, who=who),
            lambda who=who: order_moves.cancel_order(order=order, reason="x", who=who),
            lambda who=who: add_attachment(order=order, name="a.pdf", content=b"%PDF-1.7", who=who),
        ):
            with pytest.raises(NotAllowed):
                act()
    assert Order.objects.count() == 1 and order.attachments.count() == 0


def test_a_patient_of_another_site_is_refused(chest: Procedure) -> None:
    with pytest.raises(InvalidValue, match="another site"):
        place_order(
            site=default_site(), patient=make_patient(site=make_site()), procedures=[ProcedureRequest(procedure=chest)]
        )


def test_attachments_are_what_their_bytes_say() -> None:
    order, who = make_order(), make_user(role="desk")
    letter = add_attachment(order=order, name="C:\\x\\..\\rujukan <b>.exe", content=b"%PDF-1.7 letter", who=who)
    assert (letter.name, letter.content_type, letter.size) == ("rujukan _b_.exe.pdf", "application/pdf", 15)
    assert add_attachment(order=order, name="again.pdf", content=b"%PDF-1.7 letter", who=who) == letter
    for bad in (b"MZ\x90\x00", b"<html>", b"PK\x03\x04", b" %PDF-1.7"):
        with pytest.raises(UnsupportedMediaType):
            add_attachment(order=order, name="a.pdf", content=bad, who=who)
    with pytest.raises(TooLarge):
        add_attachment(order=order, name="a.pdf", content=b"%PDF-" + bytes(10 << 20), who=who)
    with pytest.raises(InvalidValue):
        add_attachment(order=order, name="a.pdf", content=b"", who=who)
    assert bytes(attachment_of(order=order, public_id=letter.public_id, who=who).content) == b"%PDF-1.7 letter"
    remove_attachment(attachment=letter, who=who)
    assert not order.attachments.filter(removed_at=None).exists()
    restore_attachment(attachment=letter, who=who)
    order.refresh_from_db()
    assert order.version == 4 and order.attachments.filter(removed_at=None).count() == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("scan.JPG", "scan.jpg"),
        ("foto.jpeg", "foto.jpeg"),
        ("../../etc/passwd", "passwd.jpg"),
        ("", "file.jpg"),
        (".htaccess", "htaccess.jpg"),
        ("a\r\nSet-Cookie: x.jpg", "aSet-Cookie_ x.jpg"),
        ("surat “rujukan”.png", "surat _rujukan_.png.jpg"),
        ("x" * 300 + ".jpg", "x" * 120 + ".jpg"),
    ],
)
def test_names_of_attachments_mean_nothing(given: str, kept: str) -> None:
    name = neutral_name(given, media_type="image/jpeg", ending=".jpg")
    assert name == kept or name.replace("__", "") == kept.replace("__", "")
    assert "/" not in name and "\r" not in name and '"' not in name
