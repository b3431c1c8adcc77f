"""Report templates and macros: their shape, which are offered, who may write them, and what two at once come to."""

import threading
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections, transaction

from radiology.errors import InvalidValue, NotAllowed, PreconditionFailed
from radiology.models import AuditEvent, Patient, ReportMacro, ReportTemplate, RequestedProcedure, Site
from radiology.services.report_templates import (
    delete_macro,
    delete_template,
    macros_for,
    sections_of,
    templates_for,
    write_macro,
    write_template,
)
from radiology.services.usual_templates import add_usual_templates
from radiology.template_content import checked, rendered
from tests.factories import (
    default_site,
    make_order,
    make_patient,
    make_procedure,
    make_report_template,
    make_requested_procedure,
    make_site,
    make_token,
    make_user,
)

FIELD = {"field": "lungs", "label": "Paru <b>", "normal": "Bersih & baik.", "default": "Infiltrat [kanan|kiri] [mm]."}
VALUES: dict[str, Any] = {"code": "A", "name": "A", "modality": "CT", "content": {"findings": [FIELD]}}


def test_a_template_reads_normal_or_blank_with_every_text_escaped() -> None:
    content = checked(
        {
            "technique": [{"text": "- <i>satu</i>"}, {"text": "- dua"}, {"text": "tiga"}],
            "findings": [
                FIELD,
                {"field": "size", "label": "Ukuran", "kind": "number", "unit": "mm"},
                {"field": "grade", "label": "", "kind": "choice", "choices": ["I", "II"]},
            ],
            "impression": [{"field": "impression", "normal": "Normal."}],
        }
    )
    normal, blank = rendered(content, normal=True), rendered(content, normal=False)
    assert normal["technique"] == "<ul><li>&lt;i&gt;satu&lt;/i&gt;</li><li>dua</li></ul><p>tiga</p>"
    assert normal["findings"] == (
        "<p><strong>Paru &lt;b&gt;:</strong> Bersih &amp; baik.</p><p><strong>Ukuran:</strong> [mm]</p><p>[I|II]</p>"
    )
    assert blank["findings"].startswith("<p><strong>Paru &lt;b&gt;:</strong> Infiltrat [kanan|kiri] [mm].</p>")
    assert (normal["impression"], blank["impression"]) == ("<p>Normal.</p>", "<p>[  ]</p>")
    assert normal["comparison"] == blank["indication"] == ""


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ([], "content:"),
        ({}, "content:"),
        ({"findings": []}, "content:"),
        ({"temuan": []}, "temuan:"),
        ({"findings": {}}, "findings:"),
        ({"findings": ["x"]}, "findings 1:"),
        ({"findings": [{"text": "a"}, {"text": ""}]}, "findings 2:"),
        ({"findings": [{"text": 5}]}, "findings 1:"),
        ({"findings": [{"text": "a", "html": "b"}]}, "findings 1: html"),
        ({"findings": [{"text": "[a"}]}, "findings 1:"),
        ({"findings": [{"text": "a]"}]}, "findings 1:"),
        ({"findings": [{"text": "[a [b]]"}]}, "findings 1:"),
        ({"findings": [{"text": "[]"}]}, "findings 1:"),
        ({"findings": [{"text": "a\nb"}]}, "findings 1:"),
        ({"findings": [{"text": "a\x00b"}]}, "findings 1:"),
        ({"findings": [{"text": "a\ud800"}]}, "findings 1:"),
        ({"findings": [{"text": "x" * 2001}]}, "findings 1:"),
        ({"findings": [{"field": "Paru 1", "label": "a"}]}, "findings 1:"),
        ({"findings": [{"field": ["a"]}]}, "findings 1:"),
        ({"findings": [{"field": "a"}], "impression": [{"field": "a"}]}, "impression 1:"),
        ({"findings": [{"field": "a", "kind": "date"}]}, "findings 1 (a):"),
        ({"findings": [{"field": "a", "kind": "choice"}]}, "findings 1 (a):"),
        ({"findings": [{"field": "a", "kind": "choice", "choices": ["b", "b"]}]}, "findings 1 (a):"),
        ({"findings": [{"field": "a", "kind": "choice", "choices": ["b|c", "d"]}]}, "findings 1 (a):"),
        ({"findings": [{"field": "a", "choices": ["b", "c"]}]}, "findings 1 (a):"),
        ({"findings": [{"field": "a", "unit": "mm"}]}, "findings 1 (a):"),
        ({"findings": [{"field": "a", "kind": "number", "unit": "[mm]"}]}, "findings 1 (a):"),
        ({"findings": [{"text": "x"}] * 81}, "findings:"),
        ({"findings": [{"text": "x" * 1000}] * 70}, "content:"),
    ],
)
def test_what_has_not_the_shape_is_refused_and_its_place_is_named(content: Any, place: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        checked(content)
    assert raised.value.message.startswith(place), raised.value.message


@pytest.fixture
def radiologist(db: None) -> Any:
    return make_user("rad", role="radiologist")


def codes(found: list[ReportTemplate]) -> list[str]:
    return [f"{each.code} {each.language}" for each in found]


def test_own_ones_that_fit_come_first_then_bound_ones_then_by_part_and_modality(
    radiologist: Any, django_assert_num_queries: Any
) -> None:
    entry = make_procedure("CTTHX")
    procedure = make_requested_procedure(procedure_ref=entry)
    make_report_template("MODALITY", body_part_examined="HEAD")
    make_report_template("PART")
    make_report_template("PART", language="en")
    bound = make_report_template("BOUND", body_part_examined="", modality="XX")
    bound.procedures.add(entry)
    make_report_template("OWN", owner=radiologist)
    make_report_template("OWN-HEAD", owner=radiologist, body_part_examined="HEAD")
    make_report_template("COLLEAGUE", owner=make_user("other", role="radiologist"))
    make_report_template("OFF", is_active=False)
    make_report_template("US", modality="US")
    make_report_template("ELSEWHERE", site=make_site())
    procedure.order_ref.patient_ref.pk  # noqa: B018  (read before the count)
    radiologist.may("reports.write")
    with django_assert_num_queries(1):
        found = templates_for(who=radiologist, procedure=procedure, language="id")
    assert codes(found) == ["OWN id", "BOUND id", "PART id", "OWN-HEAD id", "MODALITY id", "PART en"]
    assert codes(templates_for(who=radiologist, procedure=procedure, language="en"))[0] == "PART en"
    assert codes(templates_for(who=make_user("front", role="desk"), procedure=procedure, language="id")) == []


@pytest.mark.parametrize(
    ("sex", "offered"), [("F", "ANY FEMALE"), ("M", "ANY MALE"), ("O", "ANY FEMALE MALE"), ("", "ANY FEMALE MALE")]
)
def test_nobody_is_offered_a_template_for_the_other_sex(radiologist: Any, sex: str, offered: str) -> None:
    entry = make_procedure("MRPEL")
    procedure = make_requested_procedure(procedure_ref=entry)
    Patient.objects.filter(pk=procedure.order_ref.patient_ref_id).update(patient_sex=sex)
    for code, meant in (("ANY", ""), ("FEMALE", "F"), ("MALE", "M")):
        make_report_template(code, patient_sex=meant).procedures.add(entry)
    procedure = RequestedProcedure.objects.get(pk=procedure.pk)
    found = templates_for(who=radiologist, procedure=procedure, language="id")
    assert sorted(each.code for each in found) == offered.split()


def test_a_procedure_of_another_system_is_known_by_its_code_and_plates_are_reported_alike(radiologist: Any) -> None:
    add_usual_templates(default_site())
    entry = make_procedure("DXTHXAP", "Foto Thorax AP", modality="DX")
    add_usual_templates(default_site())
    procedure = make_requested_procedure(
        procedure_code_value=entry.code, modality="CR", body_part_examined="CHEST", procedure_ref=None
    )
    found = codes(templates_for(who=radiologist, procedure=procedure, language="id"))
    assert found[0] == "DX-CHEST-BED id" and "DX-KNEE id" in found and "CT-CHEST id" not in found
    assert found.index("DX-CHEST-PA id") < found.index("DX-KNEE id") < found.index("DX-CHEST-BED en")
    unknown = make_requested_procedure(procedure_code_value="", modality="", body_part_examined="")
    assert len(templates_for(who=radiologist, procedure=unknown, language="id")) > 100


def test_macros_are_the_sites_with_ones_own_in_their_place(radiologist: Any, django_assert_num_queries: Any) -> None:
    add_usual_templates(default_site())
    write_macro(
        who=radiologist, values={"abbreviation": "paru", "text": "Punya saya.\r\n", "language": "id"}, is_personal=True
    )
    radiologist.may("reports.write")
    with django_assert_num_queries(1):
        mine = macros_for(radiologist, "id")
    assert mine["paru"] == "Punya saya." and mine["nl"] == "Dalam batas normal."
    assert macros_for(radiologist, "en")["nl"] == "Within normal limits."
    assert macros_for(make_user("other", role="radiologist"), "id")["paru"] != "Punya saya."
    assert macros_for(make_user("there", role="radiologist", site=make_site()), "id") == {}


def test_one_keeps_ones_own_and_the_sites_need_a_right(radiologist: Any) -> None:
    doctor, colleague = make_user("doc", role="doctor"), make_user("other", role="radiologist")
    own = write_template(who=radiologist, values=VALUES, is_personal=True)
    assert (own.owner, own.site_id, own.version) == (radiologist, radiologist.site_id, 1)
    site = write_template(who=radiologist, values=VALUES)
    assert site.owner is None
    for who in (doctor, make_token("program", scopes=["reports.write"])[0]):
        with pytest.raises(NotAllowed):
            write_template(who=who, values={**VALUES, "code": "B"})
        with pytest.raises(NotAllowed):
            write_template(who=who, values={**VALUES, "code": "B"}, is_personal=True)
        with pytest.raises(NotAllowed):
            delete_template(who=who, template=site, version=1)
    with pytest.raises(NotAllowed):
        write_template(who=colleague, values={"name": "Mine"}, template=own, version=1)
    there = make_user("there", role="radiologist", site=make_site())
    with pytest.raises(NotAllowed):
        write_template(who=there, values={"name": "Ours"}, template=site, version=1)
    edited = write_template(who=radiologist, values={"name": "B"}, template=own, version=1, address="10.0.0.1")
    assert edited.version == 2 and ReportTemplate.objects.get(pk=own.pk).name == "B"
    delete_template(who=radiologist, template=edited, version=2)
    events = AuditEvent.objects.filter(event="report.template").order_by("pk").values_list("action", flat=True)
    assert list(events) == ["C", "C", "U", "D"]


def test_what_is_wrong_is_named_and_nothing_is_written(radiologist: Any) -> None:
    for values, field in (
        ({**VALUES, "code": "a b"}, "code"),
        ({**VALUES, "language": "de"}, "language"),
        ({**VALUES, "content": {"findings": [{"text": "[a"}]}}, "content"),
        ({**VALUES, "owner": radiologist}, "owner"),
    ):
        with pytest.raises(InvalidValue) as raised:
            write_template(who=radiologist, values=values)
        assert raised.value.field == field
    with pytest.raises(InvalidValue) as raised:
        write_template(who=radiologist, values=VALUES, procedures=[make_procedure(site=make_site())])
    assert raised.value.field == "procedures"
    for macro, field in (
        ({"abbreviation": ".x", "text": "y"}, "abbreviation"),
        ({"abbreviation": "x", "text": "[kanan|kiri"}, "text"),
        ({"abbreviation": "x", "text": "a\x07"}, "text"),
        ({"abbreviation": "x", "text": "y" * 4001}, "text"),
        ({"abbreviation": "x", "text": ""}, "text"),
    ):
        with pytest.raises(InvalidValue) as raised:
            write_macro(who=radiologist, values=macro)
        assert raised.value.field == field
    assert not ReportTemplate.objects.exists() and not ReportMacro.objects.exists()
    write_template(who=radiologist, values=VALUES)
    with pytest.raises(InvalidValue):
        write_template(who=radiologist, values=VALUES)
    with pytest.raises(ValidationError):
        make_report_template("P", owner=make_user("there", site=make_site("third")))


def test_the_code_is_the_sites_once_and_each_persons_once(radiologist: Any) -> None:
    make_report_template("A")
    make_report_template("A", owner=radiologist)
    make_report_template("A", site=make_site())
    with pytest.raises(IntegrityError), transaction.atomic():
        ReportTemplate.objects.create(site=default_site(), code="A", modality="CT", content={}, name="A")


def test_who_comes_late_is_told(radiologist: Any) -> None:
    template = write_template(who=radiologist, values=VALUES)
    macro = write_macro(who=radiologist, values={"abbreviation": "x", "text": "y"})
    stale = ReportTemplate.objects.get()
    write_template(who=radiologist, values={"name": "B"}, template=template, version=1)
    with pytest.raises(PreconditionFailed):
        write_template(who=radiologist, values={"name": "C"}, template=stale, version=1)
    with pytest.raises(PreconditionFailed):
        write_template(who=radiologist, values={"name": "C"}, template=template)
    with pytest.raises(PreconditionFailed):
        delete_template(who=radiologist, template=stale, version=1)
    edited = write_macro(who=radiologist, values={"text": "z"}, macro=ReportMacro.objects.get(), version=1)
    with pytest.raises(PreconditionFailed):
        delete_macro(who=radiologist, macro=macro, version=1)
    delete_macro(who=radiologist, macro=edited, version=2)
    assert not ReportMacro.objects.exists()
    assert ReportTemplate.objects.get().name == "B"


def test_sections_of_a_listed_template_are_read_when_they_are_wanted(radiologist: Any) -> None:
    make_report_template("A")
    (found,) = templates_for(who=radiologist, procedure=make_requested_procedure(), language="id")
    assert sections_of(found, normal=True)["findings"] == "<p><strong>Lungs:</strong> Clear.</p>"


@pytest.mark.usefixtures("committed_db")
def test_adding_the_usual_ones_twice_at_once_adds_them_once() -> None:
    site = Site.objects.default()
    added, failed = [], []

    def add() -> None:
        try:
            added.append(add_usual_templates(site).templates)
        except Exception as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and sorted(added)[:2] == [0, 0]
    assert ReportTemplate.objects.count() == max(added) > 0


def test_a_patients_order_of_another_site_offers_that_sites_templates(radiologist: Any) -> None:
    other = make_site()
    procedure = make_requested_procedure(make_order(make_patient("9", site=other)))
    make_report_template("HERE")
    make_report_template("THERE", site=other)
    chief = make_user("chief", is_superuser=True)
    assert codes(templates_for(who=chief, procedure=procedure, language="id")) == ["THERE id"]
    assert templates_for(who=radiologist, procedure=procedure, language="id") == []
