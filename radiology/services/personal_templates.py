"""Templates of one's own: what was written once, kept for the next report, and changed as plain lines."""

import secrets
from collections.abc import Mapping

from django.utils.translation import gettext as _

from radiology.errors import InvalidValue
from radiology.models import ReportTemplate, RequestedProcedure, User
from radiology.services.report_templates import write_template
from radiology.template_content import SECTIONS


def keep_as_template(
    *,
    who: User,
    procedure: RequestedProcedure,
    sections: Mapping[str, str],
    name: str,
    language: str,
    address: str | None = None,
) -> ReportTemplate:
    """Keep the texts of a report as a template of `who`, for examinations like `procedure`.

    A line becomes a paragraph. Raises NotAllowed; InvalidValue without a name or a text, or where a bracket is open.
    """
    entry = procedure.procedure_ref
    return write_template(
        who=who,
        values={
            "code": f"own-{secrets.token_hex(6)}",
            "name": _named(name),
            "language": language,
            "modality": procedure.modality,
            "body_part_examined": procedure.body_part_examined,
            "content": content_of(sections),
        },
        procedures=[entry] if entry is not None and entry.site_id == who.site_id else None,
        is_personal=True,
        address=address,
    )


def change_template(
    *,
    who: User,
    template: ReportTemplate,
    version: int,
    name: str,
    sections: Mapping[str, str],
    address: str | None = None,
) -> ReportTemplate:
    """Write other lines into a template of one's own. Raises as `keep_as_template`, PreconditionFailed, and
    InvalidValue for one that has fields, which lines cannot say."""
    if has_fields(template):
        raise InvalidValue(_("This template has fields: the administration changes it."), field="content")
    return write_template(
        who=who,
        template=template,
        version=version,
        values={"name": _named(name), "content": content_of(sections)},
        address=address,
    )


def content_of(sections: Mapping[str, str]) -> dict[str, list[dict[str, str]]]:
    """What a template says, of lines by section; sections that there are not are left out."""
    return {
        name: [{"text": line.strip()} for line in sections.get(name, "").splitlines() if line.strip()]
        for name in SECTIONS
    }


def lines_of(template: ReportTemplate) -> dict[str, str]:
    """The lines of each section, of a template without fields."""
    return {name: "\n".join(each["text"] for each in template.content.get(name) or []) for name in SECTIONS}


def has_fields(template: ReportTemplate) -> bool:
    """Whether it says more than lines can."""
    return any("field" in each for paragraphs in template.content.values() for each in paragraphs)


def _named(name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise InvalidValue(_("Give the template a name."), field="name")
    return name
