"""The templates and macros that come with the product, for a hospital to begin with."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from radiology.errors import NotAllowed
from radiology.models import (
    ApiToken,
    AuditAction,
    Procedure,
    ReportLanguage,
    ReportMacro,
    ReportTemplate,
    Site,
    User,
)
from radiology.services import audit
from radiology.template_content import checked

MODALITIES = ("dx", "px", "rf", "ct", "mr", "us", "mg", "bmd")


@dataclass(frozen=True)
class Added:
    """How many were not there yet."""

    templates: int
    macros: int


def usual_templates() -> list[dict[str, Any]]:
    """One entry a template: code, modality, body part, codes of procedures, and by language name and content.

    Where patients of one sex alone are meant, it says that too.
    """
    return [dict(each) for name in MODALITIES for each in _read(f"report_templates/{name}.json")["templates"]]


def usual_macros() -> list[dict[str, str]]:
    """One entry a macro: its abbreviation, and by language its text."""
    return [dict(each) for each in _read("report_macros.json")["macros"]]


@transaction.atomic
def add_usual_templates(site: Site, *, who: Any = None, address: str | None = None) -> Added:
    """Add what `site` has not; what it has stays, whatever became of it. Again adds nothing.

    Those that nobody changed are bound to procedures that have come into the catalogue since. Raises NotAllowed.
    """
    if isinstance(who, User | ApiToken) and not who.may("templates.write"):
        raise NotAllowed(_("You may not change the templates and macros of this site."))
    Site.objects.select_for_update(no_key=True).get(pk=site.pk)  # two at once: one after the other
    added = Added(_add_templates(site), _add_macros(site))
    _bind(site)
    if added.templates or added.macros:
        audit.record(
            event="report.templates.usual",
            action=AuditAction.CREATE,
            who=who,
            address=address,
            site_id=site.pk,
            detail={"templates": added.templates, "macros": added.macros},
        )
    return added


def _add_templates(site: Site) -> int:
    there = set(ReportTemplate.objects.filter(site=site, owner=None).values_list("code", "language"))
    rows = [
        ReportTemplate(
            site=site,
            code=each["code"],
            language=language,
            name=each[language]["name"],
            modality=each["modality"],
            body_part_examined=each["body_part_examined"],
            patient_sex=each.get("patient_sex", ""),
            content=checked(each[language]["content"]),
        )
        for each in usual_templates()
        for language in ReportLanguage.values
        if (each["code"], language) not in there
    ]
    return len(ReportTemplate.objects.bulk_create(rows))


def _add_macros(site: Site) -> int:
    there = set(ReportMacro.objects.filter(site=site, owner=None).values_list("abbreviation", "language"))
    rows = [
        ReportMacro(site=site, abbreviation=each["abbreviation"], language=language, text=each[language])
        for each in usual_macros()
        for language in ReportLanguage.values
        if (each["abbreviation"], language) not in there
    ]
    return len(ReportMacro.objects.bulk_create(rows))


def _bind(site: Site) -> None:
    """Bind untouched templates to the procedures of the catalogue that they were written for."""
    codes = {each["code"]: each["procedures"] for each in usual_templates() if each["procedures"]}
    untouched = ReportTemplate.objects.filter(site=site, owner=None, version=1, procedures=None, code__in=list(codes))
    wanted = {code for each in codes.values() for code in each}
    entries = dict(Procedure.objects.filter(site=site, code__in=wanted).values_list("code", "pk"))
    through = ReportTemplate.procedures.through
    through.objects.bulk_create(
        [
            through(reporttemplate_id=pk, procedure_id=entries[procedure])
            for pk, code in untouched.values_list("pk", "code")
            for procedure in codes[code]
            if procedure in entries
        ],
        ignore_conflicts=True,
    )


@cache
def _read(name: str) -> Any:
    return json.loads((resources.files("radiology") / "data" / name).read_text(encoding="utf-8"))
