"""The procedure catalogue: the one way to write it, and to find what somebody is typing."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext as _

from radiology.dicom import fold
from radiology.errors import Conflict, NotAllowed
from radiology.models import ApiToken, AuditAction, Procedure, ProcedureCode, ProcedureProtocol, Site, User
from radiology.services import audit

FOUND = 20
MOST_WORDS = 6
# What people call the modalities, so that they are found by it.
CALLED = {
    "CT": "ct scan",
    "MR": "mri",
    "US": "usg ultrasound",
    "DX": "rontgen xray foto",
    "CR": "rontgen xray foto",
    "MG": "mammografi mammography",
    "XA": "angiografi angiography",
    "RF": "fluoroskopi fluoroscopy",
    "NM": "scintigrafi nuclear",
    "BMD": "densitometri dexa",
    "PX": "panoramik panoramic",
    "IO": "dental gigi",
}


def search_words(procedure: Procedure) -> str:
    """The words by which an entry is found: of its name, its code, its modality and what that is called."""
    text = " ".join(
        [
            procedure.name,
            procedure.code,
            procedure.modality,
            CALLED.get(procedure.modality, ""),
            procedure.body_part_examined,
            procedure.price_code,
        ]
    )
    return " ".join(dict.fromkeys(words_of(text)))[:400]


def words_of(text: str) -> list[str]:
    """The words of a text, folded."""
    return re.findall(r"[^\W_]+", fold(text))


@transaction.atomic
def save_procedure(
    *,
    procedure: Procedure,
    codes: Sequence[Mapping[str, str]] | None = None,
    protocols: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Write an entry, new or edited, with what is derived from it; an edit raises `version`.

    `codes` and `protocols`, where they are given, replace those that were there. Raises ValidationError for
    values that do not fit, Conflict when somebody else changed the entry since it was read.
    """
    procedure.full_clean()
    procedure.search = search_words(procedure)
    if procedure.pk is not None:
        claimed = Procedure.objects.filter(pk=procedure.pk, version=procedure.version).update(version=F("version") + 1)
        if not claimed:
            raise Conflict(_("Somebody else changed this procedure meanwhile: look at it again."))
        procedure.version += 1
    procedure.save()
    if codes is not None:
        _replace(procedure, ProcedureCode, codes)
    if protocols is not None:
        _replace(
            procedure, ProcedureProtocol, [{**each, "position": place} for place, each in enumerate(protocols, start=1)]
        )


def find_procedures(
    *, who: Any, text: str, site: Site | None = None, modality: str = "", most: int = FOUND
) -> list[Procedure]:
    """Entries that can be ordered and have, for each word of `text`, a word that begins with it; by name.

    Nothing typed finds nothing unless a modality says where to look. One query.
    """
    words = words_of(text)[:MOST_WORDS]
    found = catalogue_of(who=who, site=site)
    if modality:
        found = found.filter(modality=modality)
    if words:
        found = found.found_by(words)
    elif not modality:
        return []
    return list(found.order_by("name", "pk")[:most])


def catalogue_of(*, who: Any, site: Site | None = None) -> Any:
    """The queryset of what `who` may order."""
    found = Procedure.objects.visible_to(who).active()
    return found.filter(site=site) if site is not None else found


def require_right(who: Any) -> None:
    """Raises NotAllowed. What the server itself does (`who` is no account) needs no right."""
    if isinstance(who, User | ApiToken) and not who.may("catalogue.write"):
        raise NotAllowed(_("You may not change the procedure catalogue."))


def record(*, who: Any, site: Site, address: str | None, **detail: Any) -> None:
    """Many entries at once stand in the audit trail as one event."""
    audit.record(
        event="catalogue.imported", action=AuditAction.UPDATE, who=who, address=address, site_id=site.pk, detail=detail
    )


def _replace(procedure: Procedure, model: Any, values: Sequence[Mapping[str, Any]]) -> None:
    """The rows of one kind that belong to an entry, those that stay the same left alone."""
    wanted = {(each["coding_scheme_designator"], each["code_value"]): each for each in values}
    for row in model.objects.filter(procedure_ref=procedure):
        given = wanted.pop((row.coding_scheme_designator, row.code_value), None)
        if given is None:
            row.delete()
            continue
        for name, value in given.items():
            # A meaning that the file does not tell stays as it is.
            if name != "code_meaning" or value:
                setattr(row, name, value)
        row.save()
    for given in wanted.values():
        row = model(procedure_ref=procedure, **given)
        row.full_clean()
        row.save()
