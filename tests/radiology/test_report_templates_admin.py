"""Report templates in the administration: readable before and after, added as the usual ones, imported, kept apart."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from radiology.models import ReportMacro, ReportTemplate
from radiology.services.usual_templates import add_usual_templates, usual_macros, usual_templates
from tests.factories import default_site, make_procedure, make_report_template, make_site, make_user
from tests.radiology.admin_client import administrator, errors, post, signed_in, superuser, texts

pytestmark = pytest.mark.django_db
MORE = "/admin/radiology/reporttemplate/more/"
SAMPLE = Path(__file__).parent / "mrrt" / "chest.html"


@pytest.fixture
def chief() -> Client:
    return signed_in(superuser())


def form(template: ReportTemplate, **changes: Any) -> dict[str, Any]:
    sent = {
        "name": template.name, "code": template.code, "language": template.language, "modality": template.modality,
        "body_part_examined": template.body_part_examined, "is_active": "on", "site": str(template.site_id),
        "content": json.dumps(template.content), "seen_version": str(template.version),
    }  # fmt: skip
    return {**sent, **changes}


def test_a_page_shows_both_renderings_and_an_edit_is_checked(chief: Client) -> None:
    template = make_report_template("A", name="<i>Thorax</i>")
    address = f"/admin/radiology/reporttemplate/{template.pk}/change/"
    page = chief.get(address).content.decode()
    assert "<strong>Lungs:</strong> Clear." in page and "<strong>Lungs:</strong> [  ]" in page
    assert "<i>Thorax" not in page
    usual = ReportTemplate(code="B", name="B", content=usual_templates()[0]["id"]["content"], modality="DX")
    usual.save()
    area = chief.get(f"/admin/radiology/reporttemplate/{usual.pk}/change/").content.decode()
    assert (
        area.index("&quot;technique&quot;") < area.index("&quot;findings&quot;") < area.index("&quot;impression&quot;")
    )
    wrong = form(template, content='{"findings": [{"text": "[a"}]}')
    assert "findings 1" in errors(post(chief, "radiology_reporttemplate_change", wrong, template.pk))
    assert "JSON" in errors(post(chief, "radiology_reporttemplate_change", form(template, content="{"), template.pk))
    entry = make_procedure()
    sent = form(template, content='{"findings": [{"text": "<u>Bersih</u>"}]}', procedures=[str(entry.pk)])
    post(chief, "radiology_reporttemplate_change", sent, template.pk)
    template.refresh_from_db()
    assert template.version == 2 and list(template.procedures.all()) == [entry]
    assert "&lt;u&gt;Bersih&lt;/u&gt;" in chief.get(address).content.decode()
    assert "Somebody else changed this" in errors(post(chief, "radiology_reporttemplate_change", sent, template.pk))
    elsewhere = make_procedure("X", site=make_site())
    sent = form(template, procedures=[str(elsewhere.pk)])
    assert "own site" in errors(post(chief, "radiology_reporttemplate_change", sent, template.pk))


def test_the_usual_ones_are_added_by_a_button_and_found_by_a_part_of_their_name(chief: Client) -> None:
    assert chief.get(MORE).status_code == 200 and not ReportTemplate.objects.exists()
    done = chief.post(MORE, {"usual": "1"}, follow=True)
    told = f"{2 * len(usual_templates())} templates and {2 * len(usual_macros())} macros were added."
    assert texts(done) == [told]
    assert texts(chief.post(MORE, {"usual": "1"}, follow=True)) == ["0 templates and 0 macros were added."]
    found = chief.get("/admin/radiology/reporttemplate/", {"q": "tiroid"}).context["cl"].result_list
    assert [(row.code, row.language) for row in found] == [("US-THYROID", "id")]
    rows = chief.get("/admin/radiology/reporttemplate/", {"modality": "MG", "language__exact": "en"})
    assert {row.code for row in rows.context["cl"].result_list} == {"MG-SCREENING", "MG-DIAGNOSTIC"}


def test_a_file_is_imported_or_refused_beside_its_field(chief: Client) -> None:
    def send(**values: str) -> Any:
        file = SimpleUploadedFile("chest.html", SAMPLE.read_bytes(), content_type="text/html")
        return chief.post(MORE, {"file": file, **values}, follow=True)

    done = send()
    made = ReportTemplate.objects.get()
    assert done.redirect_chain[-1][0].endswith(f"/{made.pk}/change/") and b"EVIL" not in done.content
    ReportTemplate.objects.update(name="Edited")
    refused = send()
    assert refused.status_code == 400 and b"already, which says something else" in refused.content
    send(replaces="on")
    made.refresh_from_db()
    assert made.name != "Edited" and made.version == 2
    broken = chief.post(MORE, {"file": SimpleUploadedFile("a.html", b"<p>page</p>")})
    assert broken.status_code == 400 and b"data-section-name" in broken.content
    large = chief.post(MORE, {"file": SimpleUploadedFile("a.html", b"x" * ((1 << 20) + 1))})
    assert large.status_code == 400 and b"1 MB" in large.content
    assert chief.post(MORE, {}).status_code == 400


def test_only_ones_own_site_is_written_and_only_by_who_may() -> None:
    other = make_site()
    local = signed_in(administrator("local", other))
    local.post(MORE, {"usual": "1", "site": str(default_site().pk)})
    assert set(ReportTemplate.objects.values_list("site", flat=True)) == {other.pk}
    add_usual_templates(default_site())
    theirs = ReportTemplate.objects.filter(site=default_site()).first()
    assert theirs is not None
    assert local.get(f"/admin/radiology/reporttemplate/{theirs.pk}/change/").status_code == 302
    desk = signed_in(make_user("front", role="desk", is_staff=True))
    assert desk.get(MORE).status_code == 403 and desk.post(MORE, {"usual": "1"}).status_code == 403


def test_macros_are_written_and_their_abbreviations_checked(chief: Client) -> None:
    sent = {"abbreviation": "hati", "language": "id", "text": "Hepar normal.", "site": str(default_site().pk)}
    post(chief, "radiology_reportmacro_add", sent)
    macro = ReportMacro.objects.get()
    assert (macro.abbreviation, macro.version) == ("hati", 1)
    assert "Small letters" in errors(post(chief, "radiology_reportmacro_add", {**sent, "abbreviation": ".Hati"}))
    assert "already exists" in errors(post(chief, "radiology_reportmacro_add", sent))
