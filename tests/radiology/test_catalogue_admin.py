"""The catalogue and orders in the administration: tables compared first, words kept, changes in the history."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from radiology.models import AccessionCounter, Order, Procedure
from radiology.services.catalogue_csv import import_csv, usual_procedures
from tests.factories import default_site, make_order, make_site
from tests.radiology.admin_client import administrator, errors, post, signed_in, superuser

pytestmark = pytest.mark.django_db
TABLE = "/admin/radiology/procedure/table/"


@pytest.fixture
def chief() -> Client:
    return signed_in(superuser())


def inlines(**fields: Any) -> dict[str, Any]:
    management = {"TOTAL_FORMS": "0", "INITIAL_FORMS": "0", "MIN_NUM_FORMS": "0", "MAX_NUM_FORMS": "1000"}
    sets = ("codes", "protocols", "requested_procedures")
    return {**fields, **{f"{name}-{key}": value for name in sets for key, value in management.items()}}


def test_an_empty_catalogue_offers_the_usual_procedures(chief: Client) -> None:
    assert "offers the usual procedures" in chief.get("/admin/radiology/procedure/").content.decode()
    page = chief.post(TABLE, {"usual": "1"})
    assert page.status_code == 200 and len(page.context["changes"]) > 60 and not Procedure.objects.exists()
    done = chief.post(TABLE, {"text": page.context["text"]}, follow=True)
    assert "changes were made" in done.content.decode()
    assert Procedure.objects.count() == len(page.context["changes"])
    assert "offers the usual procedures" not in chief.get("/admin/radiology/procedure/").content.decode()


def test_a_file_is_compared_before_it_is_read_in_and_mistakes_are_named(chief: Client) -> None:
    import_csv(site=default_site(), text=usual_procedures())
    wrong = SimpleUploadedFile("a.csv", b"code;name;modality\r\n001;;CT\r\n002;B;\r\n")
    page = chief.post(TABLE, {"file": wrong})
    assert page.status_code == 400
    assert "Line 2, column name" in page.content.decode() and "Line 3, column modality" in page.content.decode()
    right = SimpleUploadedFile("a.csv", "\ufeffcode;name;modality\r\n001;<b>CT</b>;CT\r\n".encode())
    page = chief.post(TABLE, {"file": right})
    assert [change.code for change in page.context["changes"]] == ["001"] and b"<b>CT" not in page.content
    assert chief.post(TABLE, {}).status_code == 400
    download = chief.get(f"{TABLE}?download")
    assert download["Content-Type"].startswith("text/csv") and b"CTTHX" in download.content


def test_an_entry_that_is_edited_is_found_by_its_new_words(chief: Client) -> None:
    post(chief, "radiology_procedure_add", inlines(
        name="CT Dada", code="CTD", modality="CT", duration="20", contrast="none", is_active="on",
        site=str(default_site().pk),
    ))  # fmt: skip
    assert "ct dada" in Procedure.objects.get().search
    found = chief.get("/admin/radiology/procedure/", {"q": "dad"})
    assert [row.code for row in found.context["cl"].result_list] == ["CTD"]


def test_only_ones_own_site_is_read_in_and_only_by_who_may() -> None:
    other = make_site()
    local = signed_in(administrator("local", default_site()))
    local.post(TABLE, {"text": "code,name,modality\nA,CT A,CT\n", "site": str(other.pk)})
    assert Procedure.objects.get().site == default_site()


def test_an_order_changed_in_the_administration_is_in_the_history_and_gets_a_number(chief: Client) -> None:
    order = make_order(accession_number="A1", priority="ROUTINE")
    sent = inlines(
        priority="STAT", accession_number="A1", seen_version=str(order.version), reason_for_the_requested_procedure="?"
    )
    post(chief, "radiology_order_change", sent, order.pk)
    kept = order.versions.get()
    assert kept.changes == {"priority": ["ROUTINE", "STAT"], "reason_for_the_requested_procedure": ["", "?"]}
    order.refresh_from_db()
    assert (order.version, order.status) == (2, "active")
    assert "Somebody else changed this" in errors(post(chief, "radiology_order_change", sent, order.pk))
    new = inlines(patient_ref=str(order.patient_ref_id), site=str(default_site().pk), priority="ROUTINE")
    post(chief, "radiology_order_add", new)
    assert Order.objects.latest("id").accession_number and AccessionCounter.objects.get().last == 1


def test_a_pattern_that_cannot_work_is_refused_at_its_field(chief: Client) -> None:
    site = default_site()
    page = post(
        chief, "radiology_site_change", {"name": site.name, "code": site.code, "accession_pattern": "{yy}"}, site.pk
    )
    assert "must stand in it once" in errors(page)
