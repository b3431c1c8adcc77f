"""Texts of one's own: words that stand for sentences, reports kept as templates; nobody else's are touched."""

from typing import Any

import pytest
from django.test import Client

from radiology.models import ReportMacro, ReportTemplate, RequestedProcedure, User
from radiology.services.report_templates import templates_for
from tests.factories import make_report_template, make_user
from tests.worklist.test_reading_view import Desk, procedure, radiologist  # noqa: F401  (fixtures)

pytestmark = pytest.mark.django_db
TEXTS = "/reading/texts"


@pytest.fixture
def desk(radiologist: User, procedure: RequestedProcedure) -> Desk:  # noqa: F811
    return Desk(radiologist, procedure)


def add(client: Client, abbreviation: str = ".Paru", text: str = "Cor dan pulmo normal.", **more: Any) -> Any:
    return client.post(f"{TEXTS}/macros", {"abbreviation": abbreviation, "language": "id", "text": text, **more})


def test_a_word_of_one_s_own_is_made_changed_and_deleted(desk: Desk) -> None:
    assert add(desk.client).status_code == 302
    macro = ReportMacro.objects.get()
    assert (macro.owner, macro.abbreviation, macro.text) == (desk.who, "paru", "Cor dan pulmo normal.")
    assert desk.client.get(desk.address, headers={"Accept-Language": "id"}).status_code == 200
    address = f"{TEXTS}/macros/{macro.public_id}"
    values = {"abbreviation": "paru", "language": "id", "text": "Paru bersih.", "version": "1"}
    assert desk.client.post(address, values).status_code == 302
    late = desk.client.post(address, {**values, "text": "Late."})
    assert late.status_code == 412 and b"Late." in late.content
    macro.refresh_from_db()
    assert (macro.text, macro.version) == ("Paru bersih.", 2)
    assert b"Paru bersih." in desk.client.get(TEXTS).content
    assert desk.client.post(address, {"do": "delete", "version": "2"}).status_code == 302
    assert not ReportMacro.objects.exists()
    assert desk.client.post(address, {"do": "delete", "version": "2"}).status_code == 404


@pytest.mark.parametrize(
    ("abbreviation", "text", "words"),
    [("pa ru", "x", "Small letters"), ("paru", "", ""), ("paru", "[open", ""), ("", "x", "")],
)
def test_what_is_wrong_stands_there_to_be_mended(desk: Desk, abbreviation: str, text: str, words: str) -> None:
    answer = add(desk.client, abbreviation, text)
    assert answer.status_code == 400 and words in answer.content.decode()
    assert f'value="{abbreviation}"' in answer.content.decode()
    assert not ReportMacro.objects.exists()


def test_the_same_word_twice_is_told(desk: Desk) -> None:
    add(desk.client)
    assert add(desk.client).status_code == 400
    assert ReportMacro.objects.count() == 1


def test_a_report_is_kept_as_a_template_and_offered_first(
    desk: Desk,
    procedure: RequestedProcedure,  # noqa: F811
) -> None:
    make_report_template("SITE", modality=procedure.modality, body_part_examined=procedure.body_part_examined)
    sections = {
        "findings": "<p>Cor <strong>normal</strong>.</p><ul><li>Nodul [kanan|kiri] [mm]</li></ul><script>x</script>",
        "impression": "<p>Normal.</p>",
    }
    kept = desk.send("POST", "template", {"name": "  Thorax  saya ", "sections": sections})
    assert (kept.status_code, kept.json()["name"]) == (201, "Thorax saya")
    template = ReportTemplate.objects.get(owner=desk.who)
    assert template.content["findings"] == [{"text": "Cor normal."}, {"text": "- Nodul [kanan|kiri] [mm]"}]
    assert (template.modality, template.body_part_examined) == (procedure.modality, procedure.body_part_examined)
    assert templates_for(who=desk.who, procedure=procedure, language=template.language)[0] == template
    other = make_user("other", role="radiologist")
    assert template not in templates_for(who=other, procedure=procedure, language=template.language)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": " ", "sections": {"findings": "<p>x</p>"}}, 400),
        ({"name": "x", "sections": {}}, 400),
        ({"name": "x", "sections": {"findings": "<p>[open</p>"}}, 400),
        ({"name": "x", "sections": {"findings": "<p>" + "x" * 2001 + "</p>"}}, 400),
        ({"name": "x" * 121, "sections": {"findings": "<p>x</p>"}}, 400),
        ({"name": "x", "sections": "no"}, 400),
    ],
)
def test_what_cannot_be_a_template_is_refused_and_said(desk: Desk, body: dict[str, Any], status: int) -> None:
    answer = desk.send("POST", "template", body)
    assert answer.status_code == status and answer.json()["message"]
    assert not ReportTemplate.objects.exists()


def test_a_template_of_one_s_own_is_changed_line_by_line(desk: Desk) -> None:
    desk.send("POST", "template", {"name": "Thorax", "sections": {"findings": "<p>Satu.</p>"}})
    template = ReportTemplate.objects.get()
    address = f"{TEXTS}/templates/{template.public_id}"
    assert b"Satu." in desk.client.get(address).content
    values = {"name": "Thorax PA", "findings": "Satu.\r\n\r\n- Dua [mm]\r\n", "impression": "Normal.", "version": "1"}
    assert desk.client.post(address, values).status_code == 302
    template.refresh_from_db()
    assert template.content["findings"] == [{"text": "Satu."}, {"text": "- Dua [mm]"}] and template.name == "Thorax PA"
    late = desk.client.post(address, {**values, "findings": "Late."})
    assert late.status_code == 412 and b"Late." in late.content
    assert desk.client.post(address, {**values, "findings": "[open", "version": "2"}).status_code == 400
    assert desk.client.post(address, {"do": "delete", "version": "2"}).status_code == 302
    assert desk.client.get(address).status_code == 404


def test_one_with_fields_is_not_flattened(desk: Desk) -> None:
    template = make_report_template("OWN", owner=desk.who)
    address = f"{TEXTS}/templates/{template.public_id}"
    assert b"has fields" in desk.client.get(address).content
    assert desk.client.post(address, {"name": "x", "findings": "x", "version": "1"}).status_code == 400
    template.refresh_from_db()
    assert template.content["findings"][0]["field"] == "lungs"


def test_nobody_touches_what_is_another_s_or_the_site_s(desk: Desk) -> None:
    other = make_user("other", role="radiologist")
    for owner in (other, None):
        macro = ReportMacro.objects.create(owner=owner, abbreviation="paru", text="SECRET")
        template = make_report_template("A", owner=owner)
        for address in (f"{TEXTS}/macros/{macro.public_id}", f"{TEXTS}/templates/{template.public_id}"):
            answer = desk.client.post(address, {"do": "delete", "version": "1"})
            assert answer.status_code == 404 and b"SECRET" not in answer.content
    assert b"SECRET" not in desk.client.get(TEXTS).content
    assert (ReportMacro.objects.count(), ReportTemplate.objects.count()) == (2, 2)


def test_who_writes_no_reports_has_no_texts(desk: Desk) -> None:
    client = Client()
    client.force_login(make_user("front", role="desk"))
    assert client.get(TEXTS).status_code == 403
    assert add(client).status_code == 403
    assert not ReportMacro.objects.exists()


def test_the_page_costs_a_bounded_number_of_queries(desk: Desk, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        ReportMacro.objects.create(owner=desk.who, abbreviation=f"w{number}", text="x")
        make_report_template(f"T{number}", owner=desk.who)
    with django_assert_max_num_queries(11):
        page = desk.client.get(TEXTS)
    assert page.content.count(b'name="version"') == 30
