"""Templates and macros of reports: which fit, what they say, and the one way to write them."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Case, CharField, Exists, F, IntegerField, OuterRef, Q, Value, When
from django.utils.translation import gettext as _

from radiology.errors import InvalidValue, NotAllowed, PreconditionFailed
from radiology.models import (
    ApiToken,
    AuditAction,
    Procedure,
    ReportMacro,
    ReportTemplate,
    RequestedProcedure,
    Site,
    TemplateSex,
    User,
)
from radiology.services import audit
from radiology.template_content import rendered

MOST = 200
# Radiographs are ordered and reported alike, whatever the plate.
ALIKE = {"CR": ("CR", "DX"), "DX": ("DX", "CR")}
TEMPLATE_FIELDS = ("code", "name", "language", "modality", "body_part_examined", "patient_sex", "content", "is_active")
MACRO_FIELDS = ("abbreviation", "language", "text")


def templates_for(*, who: Any, procedure: RequestedProcedure, language: str) -> list[ReportTemplate]:
    """Templates for reporting `procedure`, best first, at most `MOST`; one query, contents not read yet.

    Those in `language` come before all others. Among them: one's own that fit the catalogue entry or the body part;
    those bound to the entry; those of the same modality and body part; one's own and then the site's of the modality.
    A procedure without a modality is offered them all. Nobody is offered one for the other sex. Each says in `fits`
    how: `procedure`, `body_part` or `modality`.
    """
    site: Any = procedure.order_ref.site_id
    body_part = procedure.body_part_examined
    modalities = ALIKE.get(procedure.modality, (procedure.modality,))
    bound = ReportTemplate.procedures.through.objects.filter(
        reporttemplate_id=OuterRef("pk"), procedure_id__in=_entries_of(procedure)
    )
    of_part = Q(modality__in=modalities, body_part_examined=body_part) if body_part else Q(pk=None)
    own = Q(owner__isnull=False)
    found = (
        ReportTemplate.objects.visible_to(who)
        .filter(site_id=site, is_active=True, patient_sex__in=_sexes(procedure))
        .annotate(is_bound=Exists(bound))
        .annotate(
            is_other=Case(When(language=language, then=Value(0)), default=Value(1), output_field=IntegerField()),
            fits=Case(
                When(is_bound=True, then=Value("procedure")),
                When(of_part, then=Value("body_part")),
                default=Value("modality"),
                output_field=CharField(),
            ),
            place=Case(
                When(own & (Q(is_bound=True) | of_part), then=Value(0)),
                When(is_bound=True, then=Value(1)),
                When(of_part, then=Value(2)),
                When(own, then=Value(3)),
                default=Value(4),
                output_field=IntegerField(),
            ),
        )
    )
    if procedure.modality:
        found = found.filter(Q(is_bound=True) | Q(modality__in=modalities))
    return list(found.defer("content").order_by("is_other", "place", "name", "pk")[:MOST])


def _sexes(procedure: RequestedProcedure) -> list[str]:
    """Those that a template may be for: of a patient whose sex is not known, or another, both."""
    known = procedure.order_ref.patient_ref.patient_sex
    return ["", known] if known in TemplateSex.values else ["", *TemplateSex.values]


def sections_of(template: ReportTemplate, *, normal: bool) -> dict[str, str]:
    """What a report begins with, as HTML by section; see `template_content.rendered`."""
    return rendered(template.content, normal=normal)


def macros_for(who: Any, language: str) -> dict[str, str]:
    """Texts by abbreviation, in `language`; one's own take the place of the site's. One query."""
    found = ReportMacro.objects.visible_to(who).filter(site_id=who.site_id, language=language)
    rows = found.order_by(F("owner").asc(nulls_first=True), "abbreviation").values_list("abbreviation", "text")
    return dict(rows)


@transaction.atomic
def write_template(
    *,
    who: Any,
    values: Mapping[str, Any],
    template: ReportTemplate | None = None,
    version: int | None = None,
    procedures: Sequence[Procedure] | None = None,
    site: Site | None = None,
    is_personal: bool = False,
    address: str | None = None,
) -> ReportTemplate:
    """Write a template, a new one or `template`, which must be at `version`.

    `values` are of `TEMPLATE_FIELDS`; `procedures`, where given, replace those it is bound to. Raises NotAllowed,
    InvalidValue, PreconditionFailed.
    """
    row = template or ReportTemplate(**_owner(who, site, is_personal))
    _write(row, values, TEMPLATE_FIELDS, version, who=who)
    if procedures is not None:
        if any(each.site_id != row.site_id for each in procedures):
            raise InvalidValue(_("A template is bound to procedures of its own site."), field="procedures")
        row.procedures.set(procedures)
    _record(row, who, address, AuditAction.CREATE if row.version == 1 else AuditAction.UPDATE)
    return row


@transaction.atomic
def write_macro(
    *,
    who: Any,
    values: Mapping[str, Any],
    macro: ReportMacro | None = None,
    version: int | None = None,
    site: Site | None = None,
    is_personal: bool = False,
    address: str | None = None,
) -> ReportMacro:
    """Write a macro, a new one or `macro`, which must be at `version`. Raises as `write_template`."""
    row = macro or ReportMacro(**_owner(who, site, is_personal))
    _write(row, values, MACRO_FIELDS, version, who=who)
    _record(row, who, address, AuditAction.CREATE if row.version == 1 else AuditAction.UPDATE)
    return row


@transaction.atomic
def delete_template(*, who: Any, template: ReportTemplate, version: int, address: str | None = None) -> None:
    """Reports that began with it stay as they are. Raises NotAllowed, PreconditionFailed."""
    _delete(template, version, who=who, address=address)


@transaction.atomic
def delete_macro(*, who: Any, macro: ReportMacro, version: int, address: str | None = None) -> None:
    """Raises NotAllowed, PreconditionFailed."""
    _delete(macro, version, who=who, address=address)


@transaction.atomic
def save_checked(row: ReportTemplate | ReportMacro) -> None:
    """Write a row, new or edited, after all checks; an edit raises `version`.

    Raises ValidationError, PreconditionFailed when somebody else changed it since it was read.
    """
    row.full_clean()
    if row.pk is not None:
        _claim(row, row.version)
        row.version += 1
    row.save()


def _entries_of(procedure: RequestedProcedure) -> Any:
    """The catalogue entry of a procedure, by its link or, of what other systems order, by its code."""
    if procedure.procedure_ref_id is not None:
        return [procedure.procedure_ref_id]
    if not procedure.procedure_code_value:
        return []
    site: Any = procedure.order_ref.site_id
    return Procedure.objects.filter(site_id=site, code=procedure.procedure_code_value).values("pk")


def _owner(who: Any, site: Site | None, is_personal: bool) -> dict[str, Any]:
    if is_personal:
        if not isinstance(who, User):
            raise NotAllowed(_("Only people have templates and macros of their own."))
        return {"owner": who, "site_id": who.site_id}
    return {"site_id": site.pk if site is not None else who.site_id}


def _require_right(row: ReportTemplate | ReportMacro, who: Any) -> None:
    """One's own needs `reports.write`, the site's `templates.write`; what the server itself does needs no right."""
    if not isinstance(who, User | ApiToken):
        return
    if row.owner_id is not None:
        if row.owner_id != who.pk or not isinstance(who, User) or not who.may("reports.write"):
            raise NotAllowed(_("This belongs to somebody else."))
        return
    if not who.may("templates.write") or not (who.sees_every_site or row.site_id == who.site_id):
        raise NotAllowed(_("You may not change the templates and macros of this site."))


def _write(
    row: ReportTemplate | ReportMacro,
    values: Mapping[str, Any],
    known: tuple[str, ...],
    version: int | None,
    *,
    who: Any,
) -> None:
    _require_right(row, who)
    for name in values:
        if name not in known:
            raise InvalidValue(_("%(name)s is not known here.") % {"name": str(name)[:64]}, field=str(name)[:64])
    if row.pk is not None:
        _require_version(row, version)
    for name, value in values.items():
        setattr(row, name, value)
    try:
        save_checked(row)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidValue(" ".join(messages), field="" if field == "__all__" else field) from error


def _delete(row: ReportTemplate | ReportMacro, version: int, *, who: Any, address: str | None) -> None:
    _require_right(row, who)
    _require_version(row, version)
    _claim(row, version)
    _record(row, who, address, AuditAction.DELETE)
    row.delete()


def _require_version(row: ReportTemplate | ReportMacro, version: int | None) -> None:
    if version != row.version:
        raise _changed()


def _claim(row: ReportTemplate | ReportMacro, version: int) -> None:
    """The row locked at that version, for the rest of the transaction."""
    manager: Any = type(row)._default_manager
    if not manager.filter(pk=row.pk, version=version).update(version=F("version") + 1):
        raise _changed()


def _changed() -> PreconditionFailed:
    return PreconditionFailed(_("Somebody else changed this meanwhile: look at it again."))


def _record(row: ReportTemplate | ReportMacro, who: Any, address: str | None, action: AuditAction) -> None:
    kind = "report.template" if isinstance(row, ReportTemplate) else "report.macro"
    name = row.code if isinstance(row, ReportTemplate) else row.abbreviation
    audit.record(
        event=kind,
        action=action,
        who=who,
        address=address,
        site_id=row.site_id,
        detail={"id": str(row.public_id), "name": name, "language": row.language, "version": row.version},
    )
