"""The configuration of an installation as one file: written out, compared, read in.

Each app adds its sections with `register`. A section's rows have a natural key; reading in makes what is
missing and changes what differs, all or nothing, and never removes anything. Passwords, tokens and other
secrets are in no section.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import partial
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ForeignKey, Model
from django.utils.translation import gettext as _

from radiology.errors import InvalidValue, NotAllowed
from radiology.models import (
    ApiClient,
    AuditAction,
    CriticalPolicy,
    Letterhead,
    Procedure,
    ProcedureCode,
    ProcedureProtocol,
    ReportMacro,
    ReportTemplate,
    Site,
)
from radiology.services import audit
from radiology.services.catalogue import save_procedure
from radiology.services.report_templates import save_checked

FORMAT = 1
LARGEST = 5 * 1024 * 1024
MOST_ROWS = 10_000


@dataclass(frozen=True)
class Section:
    """The rows of one model in the file. `key` and `fields` name its columns; a relation to a site is its code.

    `when_new` are values that a row gets when it is made, whatever the file says. `references` are relations to
    other rows: by column, the paths whose values find the row, in the file a list. `many` are relations to many rows of
    the row's site: by name, the column whose values name them. `only` says which rows are written and found. `write`
    saves a row that has derived columns.
    """

    name: str
    model: type[Model]
    key: tuple[str, ...]
    fields: tuple[str, ...]
    when_new: dict[str, Any] = field(default_factory=dict)
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    only: dict[str, Any] = field(default_factory=dict)
    write: Callable[[Any], Any] | None = None
    many: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return str(self.model._meta.verbose_name_plural)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, as they stand in the file."""
        manager: Any = self.model._default_manager
        return [self.row(each) for each in manager.filter(**self.only).order_by(*self.key, "pk")]

    def row(self, found: Model) -> dict[str, Any]:
        values = {name: self._value(found, name) for name in (*self.key, *self.fields)}
        for name, column in self.many.items():
            rows = getattr(found, name).values_list(column, flat=True) if found.pk else ()
            values[name] = sorted(rows)
        return values

    def plan(self, entry: dict[str, Any], place: str) -> "Change | None":
        """What reading `entry` in would do; None for nothing. Raises InvalidValue that names its place."""
        unknown = sorted(entry.keys() - {*self.key, *self.fields, *self.many})
        if unknown:
            raise InvalidValue(
                _("%(place)s: %(names)s is not known here.") % {"place": place, "names": ", ".join(unknown)},
                field=place,
            )
        missing = [name for name in self.key if name not in entry]
        if missing:
            raise InvalidValue(
                _("%(place)s: %(names)s is missing.") % {"place": place, "names": ", ".join(missing)}, field=place
            )
        manager: Any = self.model._default_manager
        values = {name: self._resolved(name, value, place) for name, value in entry.items() if name not in self.many}
        try:
            found = manager.filter(**self.only, **{name: values[name] for name in self.key}).first()
        except (TypeError, ValueError) as error:
            raise InvalidValue(
                _("%(place)s: the values that identify it are malformed.") % {"place": place}, field=place
            ) from error
        row = found or self.model()
        before = self.row(row) if found is not None else {}
        if found is None:
            values |= self.when_new
        for name, value in values.items():
            setattr(row, name, value)
        try:
            row.full_clean()
        except ValidationError as error:
            texts = "; ".join(f"{name}: {' '.join(each)}" for name, each in error.message_dict.items())
            raise InvalidValue(f"{place}: {texts}", field=place) from error
        related = {name: self._related(row, name, entry[name], place) for name in self.many if name in entry}
        after = self.row(row) | {name: sorted(rows) for name, rows in related.items()}
        changed = {name: (before.get(name), value) for name, value in after.items() if before.get(name) != value}
        if found is not None and not changed:
            return None
        return Change(self.label, str(row), found is None, changed, partial(self._save, row, related))

    def _save(self, row: Any, related: dict[str, dict[str, Any]]) -> None:
        if self.write is None:
            row.save()
        else:
            self.write(row)
        for name, rows in related.items():
            getattr(row, name).set(rows.values())

    def _related(self, row: Any, name: str, given: Any, place: str) -> dict[str, Any]:
        """The rows that `given` names, by that name. Raises InvalidValue for what is no list, or of another site."""
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise InvalidValue(
                _("%(place)s: %(name)s must be a list of codes.") % {"place": place, "name": name}, field=place
            )
        column, model = self.many[name], self.model._meta.get_field(name).related_model
        manager: Any = model._default_manager  # type: ignore[union-attr]
        found = {getattr(each, column): each for each in manager.filter(site=row.site, **{f"{column}__in": given})}
        if missing := sorted(set(given) - found.keys()):
            raise InvalidValue(
                _("%(place)s: there is no %(name)s %(value)s.")
                % {"place": place, "name": name, "value": ", ".join(missing)[:200]},
                field=place,
            )
        return found

    def _value(self, found: Model, name: str) -> Any:
        value = getattr(found, name)
        if name in self.references:
            return value and [_at(value, path) for path in self.references[name]]
        if isinstance(value, time):
            return value.isoformat("minutes")
        return value.code if isinstance(value, Site) else value

    def _resolved(self, name: str, value: Any, place: str) -> Any:
        column = self.model._meta.get_field(name)
        if not isinstance(column, ForeignKey):
            return value
        if name in self.references:
            return self._referred(column, name, value, place)
        site = Site.objects.filter(code=value).first() if isinstance(value, str) else None
        if site is None:
            raise InvalidValue(
                _("%(place)s: there is no site of the code %(code)s.") % {"place": place, "code": repr(value)},
                field=place,
            )
        return site

    def _referred(self, column: Any, name: str, value: Any, place: str) -> Any:
        if value is None and column.null:
            return None
        paths = self.references[name]
        if isinstance(value, list) and len(value) == len(paths) and all(isinstance(each, str | int) for each in value):
            found = column.related_model._default_manager.filter(**dict(zip(paths, value, strict=True))).first()
            if found is not None:
                return found
        raise InvalidValue(
            _("%(place)s: there is no %(name)s %(value)s.")
            % {"place": place, "name": name, "value": repr(value)[:200]},
            field=place,
        )


def _at(row: Any, path: str) -> Any:
    for step in path.split("__"):
        row = getattr(row, step)
    return row


@dataclass(frozen=True)
class Change:
    """One row that is to be made or changed: its old and new values by name."""

    section: str
    name: str
    is_new: bool
    values: dict[str, tuple[Any, Any]]
    apply: Callable[[], Any]


SECTIONS: list[Section] = []


def register(*sections: Section) -> None:
    """Add sections, in the order in which they are read: what others refer to comes first."""
    SECTIONS.extend(sections)


register(
    Section(
        "sites",
        Site,
        ("code",),
        (
            "name",
            "time_zone",
            "issuer_of_patient_id",
            "accession_pattern",
            "mrn_pattern",
            "temporary_mrn_pattern",
            "temporary_name_pattern",
            "shows_rejected_for_quality",
            "resent_deleted",
            "keeps_deleted_for",
            "report_objects",
        ),
    ),
    Section("api_clients", ApiClient, ("name",), ("site", "is_active", "addresses", "requests_per_minute")),
)

BY_CODE = ("site__code", "code")
register(
    Section(
        "procedures",
        Procedure,
        ("site", "code"),
        (
            "name",
            "modality",
            "body_part_examined",
            "asks_laterality",
            "duration",
            "contrast",
            "is_ionising",
            "preparation",
            "price_code",
            "is_active",
        ),
        write=lambda procedure: save_procedure(procedure=procedure),
    ),
    Section(
        "procedure_codes",
        ProcedureCode,
        ("procedure_ref", "coding_scheme_designator", "code_value"),
        ("code_meaning",),
        references={"procedure_ref": BY_CODE},
    ),
    Section(
        "procedure_protocols",
        ProcedureProtocol,
        ("procedure_ref", "position"),
        ("code_value", "coding_scheme_designator", "code_meaning"),
        references={"procedure_ref": BY_CODE},
    ),
    # The logo is uploaded where the letterhead is edited.
    Section("letterheads", Letterhead, ("site",), ("address", "telephone", "email")),
    # What is somebody's own stays with the person.
    Section(
        "report_templates",
        ReportTemplate,
        ("site", "code", "language"),
        ("name", "modality", "body_part_examined", "patient_sex", "content", "is_active"),
        only={"owner": None},
        write=save_checked,
        many={"procedures": "code"},
    ),
    Section(
        "report_macros",
        ReportMacro,
        ("site", "abbreviation", "language"),
        ("text",),
        only={"owner": None},
        write=save_checked,
    ),
    # The people whom a policy names stay: the file knows no people.
    Section("critical_policies", CriticalPolicy, ("site", "category"), ("minutes", "roles", "addresses")),
)


def export(*, who: Any, address: str | None = None) -> str:
    """The whole configuration as JSON text."""
    _require(who)
    document: dict[str, Any] = {"sinar": FORMAT, "written_at": datetime.now(UTC).isoformat(timespec="seconds")}
    document |= {section.name: section.rows() for section in SECTIONS}
    document["roles"] = {
        group.name: sorted(f"{app}.{codename}" for app, codename in _rights_of(group))
        for group in Group.objects.order_by("name").prefetch_related("permissions__content_type")
    }
    audit.record(event="configuration.exported", action=AuditAction.READ, who=who, address=address)
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def plan(*, text: str) -> list[Change]:
    """What reading this file in would change. Raises InvalidValue that says where the file is wrong.

    Rows may refer to sites that the same file makes, so the plan is made in a transaction that is undone.
    """
    document = _parsed(text)
    with transaction.atomic():
        changes = _carried_out(document)
        transaction.set_rollback(True)
    return changes


@transaction.atomic
def apply(*, who: Any, text: str, address: str | None = None) -> list[Change]:
    """Read a file in, all of it or nothing; what was changed."""
    _require(who)
    changes = _carried_out(_parsed(text))
    audit.record(
        event="configuration.imported",
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        detail={"changes": [f"{'+' if each.is_new else '~'} {each.section}: {each.name}" for each in changes][:500]},
    )
    return changes


def _require(who: Any) -> None:
    if who is not None and not getattr(who, "is_superuser", False):
        raise NotAllowed(_("Only a superuser may move the whole configuration."))


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > LARGEST:
        raise InvalidValue(_("The file is larger than any configuration: 5 MB at most."), field="file")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(_("The file is no JSON: %(error)s.") % {"error": error}, field="file") from error
    if not isinstance(document, dict) or document.get("sinar") != FORMAT:
        raise InvalidValue(_('The file is no configuration of this product: "sinar": 1 is missing.'), field="file")
    known = {"sinar", "written_at", "roles", *(section.name for section in SECTIONS)}
    if unknown := sorted(map(str, document.keys() - known)):
        raise InvalidValue(
            _("The file has sections that are not known here: %(names)s.") % {"names": ", ".join(unknown)}, field="file"
        )
    return document


def _carried_out(document: dict[str, Any]) -> list[Change]:
    changes: list[Change] = []
    for section in SECTIONS:
        rows = document.get(section.name, [])
        if not isinstance(rows, list) or len(rows) > MOST_ROWS:
            raise InvalidValue(
                _("%(section)s must be a list of %(most)d rows at most.")
                % {"section": section.name, "most": MOST_ROWS},
                field=section.name,
            )
        for number, entry in enumerate(rows, 1):
            place = f"{section.name} {number}"
            if not isinstance(entry, dict):
                raise InvalidValue(_("%(place)s is no object.") % {"place": place}, field=place)
            change = section.plan(entry, place)
            if change is not None:
                change.apply()
                changes.append(change)
    return changes + _roles(document.get("roles", {}))


def _roles(roles: Any) -> list[Change]:
    if not isinstance(roles, dict):
        raise InvalidValue(_("roles must be an object of lists of rights."), field="roles")
    known = {f"{each.content_type.app_label}.{each.codename}": each for each in _permissions()}
    changes = []
    for name, rights in roles.items():
        if not isinstance(rights, list) or not all(isinstance(right, str) for right in rights) or len(name) > 150:
            raise InvalidValue(_("roles %(name)s is no list of rights.") % {"name": name}, field="roles")
        if unknown := sorted(set(rights) - known.keys()):
            raise InvalidValue(
                _("roles %(name)s: %(rights)s is no right of this version.")
                % {"name": name, "rights": ", ".join(unknown[:5])},
                field="roles",
            )
        group, made = Group.objects.get_or_create(name=name)
        before = sorted(f"{app}.{codename}" for app, codename in _rights_of(group))
        if made or before != sorted(set(rights)):
            group.permissions.set([known[right] for right in rights])
            gone, new = sorted(set(before) - set(rights)), sorted(set(rights) - set(before))
            changes.append(Change("roles", name, made, {"rights": (gone, new)}, group.save))
    return changes


def _permissions() -> Sequence[Permission]:
    return list(Permission.objects.select_related("content_type"))


def _rights_of(group: Group) -> list[tuple[str, str]]:
    return [(each.content_type.app_label, each.codename) for each in group.permissions.select_related("content_type")]
