"""The templates that come with the product: each a text of its own, in both languages, safe to add twice."""

import csv
import difflib
import io
import re
from itertools import combinations
from typing import Any

import pytest

from radiology.models import AuditEvent, Procedure, ReportLanguage, ReportMacro, ReportTemplate
from radiology.services.catalogue_csv import import_csv, usual_procedures
from radiology.services.usual_templates import Added, add_usual_templates, usual_macros, usual_templates
from radiology.template_content import SECTIONS, checked, rendered
from tests.factories import default_site, make_site

LANGUAGES = ReportLanguage.values
CATALOGUE = {row["code"]: row for row in csv.DictReader(io.StringIO(usual_procedures()))}


def words(content: dict[str, Any]) -> list[str]:
    text = " ".join(rendered(content, normal=True).values())
    return re.sub(r"<[^>]+>", " ", text).casefold().split()


def test_there_are_enough_of_every_modality_in_both_languages() -> None:
    count = {
        name: sum(each["modality"] == name for each in usual_templates()) for name in ("DX", "CT", "MR", "US", "MG")
    }
    assert sum(count.values()) >= 60 and min(count.values()) >= 2
    assert all(each[language]["name"] for each in usual_templates() for language in LANGUAGES)
    assert len({each["code"] for each in usual_templates()}) == len(usual_templates())
    assert len(usual_macros()) >= 15


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_has_technique_findings_of_its_own_and_a_normal_impression(language: str) -> None:
    for each in usual_templates():
        content = checked(each[language]["content"])
        findings = [field for field in content["findings"] if field.get("label")]
        whole = [field for field in findings if field.get("choices") or {"normal", "default"} <= field.keys()]
        assert len(whole) >= 4, each["code"]
        assert content["technique"], each["code"]
        said = rendered(content, normal=True)
        assert said["impression"] and "[" not in re.sub(r"<p>.*?BI-RADS.*?</p>", "", said["impression"]), each["code"]
        assert any("[" in text for text in rendered(content, normal=False).values()), each["code"]


def test_both_languages_have_the_same_fields_and_no_field_refers_to_its_neighbour() -> None:
    for each in usual_templates():
        fields = [
            [field.get("field") for name in SECTIONS for field in checked(each[language]["content"])[name]]
            for language in LANGUAGES
        ]
        assert fields[0] == fields[1], each["code"]
        for language in LANGUAGES:
            text = " ".join(words(each[language]["content"]))
            # Said of a side whose neighbour was changed, such a sentence would be wrong.
            assert not re.search(r"\b(likewise|demikian pula|begitu juga|hal yang sama)\b", text), each["code"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_share_more_than_three_fifths_of_their_text(language: str) -> None:
    texts = {each["code"]: words(each[language]["content"]) for each in usual_templates()}
    for (one, first), (other, second) in combinations(texts.items(), 2):
        matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
        assert matcher.quick_ratio() <= 0.6 or matcher.ratio() <= 0.6, (one, other)


def test_the_two_languages_are_not_one_text_under_two_names() -> None:
    for each in usual_templates():
        first, second = (words(each[language]["content"]) for language in LANGUAGES)
        assert difflib.SequenceMatcher(None, first, second, autojunk=False).ratio() < 0.5, each["code"]


def test_they_fit_the_usual_procedures() -> None:
    bound = {code for each in usual_templates() for code in each["procedures"]}
    assert bound <= set(CATALOGUE)
    for each in usual_templates():
        for code in each["procedures"]:
            assert CATALOGUE[code]["modality"] == each["modality"], (each["code"], code)
    assert set(CATALOGUE) == bound, "nobody wrote a template for these"


@pytest.mark.django_db
def test_adding_them_twice_adds_nothing_and_keeps_what_the_hospital_changed() -> None:
    site = default_site()
    assert add_usual_templates(site) == Added(2 * len(usual_templates()), 2 * len(usual_macros()))
    changed = ReportTemplate.objects.get(code="CT-HEAD", language="id")
    changed.content = {"findings": [{"text": "Ours."}]}
    changed.save()
    ReportMacro.objects.filter(abbreviation="nl", language="en").update(text="Ours.")
    ReportTemplate.objects.get(code="US-ABD", language="en").delete()
    assert add_usual_templates(site) == Added(1, 0)
    changed.refresh_from_db()
    assert changed.content == {"findings": [{"text": "Ours."}]}
    assert ReportMacro.objects.get(abbreviation="nl", language="en").text == "Ours."
    assert AuditEvent.objects.filter(event="report.templates.usual").count() == 2
    assert not ReportTemplate.objects.exclude(site=site).exists()


@pytest.mark.django_db
def test_they_are_bound_to_the_catalogue_whenever_it_comes(django_assert_max_num_queries: Any) -> None:
    site = make_site()
    with django_assert_max_num_queries(12):
        add_usual_templates(site)
    assert not ReportTemplate.procedures.through.objects.exists()
    ReportTemplate.objects.filter(code="CT-HEAD", language="id").update(version=2)  # somebody unbound it
    import_csv(site=site, text=usual_procedures())
    add_usual_templates(site)
    head = ReportTemplate.objects.get(code="CT-HEAD", language="en")
    assert list(head.procedures.all()) == [Procedure.objects.get(site=site, code="CTHEAD")]
    assert not ReportTemplate.objects.get(code="CT-HEAD", language="id").procedures.exists()


@pytest.mark.django_db
def test_every_one_passes_the_checks_of_a_form() -> None:
    add_usual_templates(default_site())
    for row in [*ReportTemplate.objects.all(), *ReportMacro.objects.all()]:
        row.full_clean(validate_unique=False, validate_constraints=False, exclude=["site"])
