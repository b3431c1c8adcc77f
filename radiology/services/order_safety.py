"""What must be asked before an examination is ordered, and what must be seen before it is ordered all the same.

Only questions that matter are asked: pregnancy where radiation meets somebody who can be pregnant, contrast
allergy, kidneys and metformin where contrast is given, the side where there are two.
"""

import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from radiology.models import (
    Answer,
    Laterality,
    Order,
    Patient,
    PregnancyStatus,
    Procedure,
    ProcedureStatus,
    RequestedProcedure,
    Site,
)

# Ages at which somebody female is asked about pregnancy; with an unknown age too.
YOUNGEST, OLDEST = 10, 60
# Below it contrast media harm the kidneys (ESUR guidelines 10.0: 30 ml/min/1.73 m²).
LEAST_EGFR = Decimal(30)
REPEATED_WITHIN = timedelta(hours=24)
SIDES = {Laterality.RIGHT.value, Laterality.LEFT.value, Laterality.BOTH.value}


@dataclass(frozen=True)
class Warning:
    """Something that does not forbid the order and must not be overlooked. `code` is for programs."""

    code: str
    message: str


def age_of(*, patient: Patient, site: Site) -> int | None:
    """Whole years today, in the site's zone."""
    if patient.birth_date is None:
        return None
    today = timezone.localtime(timezone=zoneinfo.ZoneInfo(site.time_zone)).date()
    return years_between(patient.birth_date, today)


def years_between(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def can_be_pregnant(*, patient: Patient, site: Site) -> bool:
    """Female, and of an age at which it is possible or of an age that nobody knows."""
    if patient.patient_sex != "F":
        return False
    age = age_of(patient=patient, site=site)
    return age is None or YOUNGEST <= age <= OLDEST


def questions(*, patient: Patient, site: Site, procedures: Iterable[Procedure | None]) -> list[str]:
    """The fields of the order that must be asked for these procedures of the catalogue."""
    known = [each for each in procedures if each is not None]
    asked = []
    if any(each.is_ionising for each in known) and can_be_pregnant(patient=patient, site=site):
        asked.append("pregnancy_status")
    if any(each.uses_contrast for each in known):
        asked += ["contrast_allergy", "egfr", "takes_metformin"]
    return asked


def missing_answers(
    *, patient: Patient, site: Site, procedures: Sequence[Procedure | None], order: Order
) -> dict[str, str]:
    """The questions that matter and have no answer: what to say beside each field.

    The kidneys' value may not be there yet, in an emergency above all: that is a warning.
    """
    said = {
        "pregnancy_status": _("Say whether the patient may be pregnant: this examination uses radiation."),
        "contrast_allergy": _("Say whether the patient is allergic to contrast media: this examination uses them."),
        "takes_metformin": _("Say whether the patient takes metformin: this examination uses contrast media."),
    }
    asked = questions(patient=patient, site=site, procedures=procedures)
    missing = {name: said[name] for name in asked if name in said and not getattr(order, name)}
    if order.contrast_allergy == Answer.YES and not order.contrast_allergies and "contrast_allergy" in asked:
        missing["contrast_allergies"] = _("Say to which contrast medium, and what happened.")
    return missing


def missing_side(*, procedure: Procedure | None, laterality: str) -> str:
    """What to say where an examination of one side does not say which; empty when all is well."""
    if procedure is not None and procedure.asks_laterality and laterality not in SIDES:
        return _("Say which side of %(procedure)s: right, left or both.") % {"procedure": procedure.name}
    return ""


def warnings_of(
    *, patient: Patient, site: Site, order: Order, procedures: Sequence[Procedure | None], codes: Sequence[str]
) -> list[Warning]:
    """What somebody must have seen before these procedures are ordered. One query."""
    asked = questions(patient=patient, site=site, procedures=procedures)
    found = []
    if "pregnancy_status" in asked and order.pregnancy_status in {PregnancyStatus.POSSIBLE, PregnancyStatus.YES}:
        found.append(Warning("pregnancy", _("The patient is or may be pregnant, and this examination uses radiation.")))
    if "contrast_allergy" in asked:
        found += _of_contrast(order)
    found += [
        Warning(
            "ordered-already",
            _("%(procedure)s was ordered for this patient already, %(when)s (%(number)s).")
            % {"procedure": name, "when": when, "number": number},
        )
        for name, when, number in _ordered_already(patient, site, order, codes)
    ]
    return found


def as_facts(warnings: Iterable[Warning]) -> list[Mapping[str, Any]]:
    """Warnings as an answer of the API carries them."""
    return [{"code": each.code, "message": each.message} for each in warnings]


def _of_contrast(order: Order) -> list[Warning]:
    found = []
    if order.contrast_allergy == Answer.YES:
        found.append(
            Warning(
                "contrast-allergy",
                _("The patient is allergic to contrast media (%(what)s), and this examination uses them.")
                % {"what": order.contrast_allergies},
            )
        )
    if order.egfr is None:
        found.append(
            Warning(
                "kidneys-unknown", _("No eGFR is given: nobody knows whether the kidneys bear the contrast medium.")
            )
        )
    elif order.egfr < LEAST_EGFR:
        text = _("eGFR %(value)s is below %(least)s: contrast media may harm the kidneys.")
        if order.takes_metformin == Answer.YES:
            text = _("eGFR %(value)s is below %(least)s: contrast media may harm the kidneys, and metformin must stop.")
        found.append(Warning("kidneys", text % {"value": order.egfr, "least": LEAST_EGFR}))
    return found


def _ordered_already(patient: Patient, site: Site, order: Order, codes: Sequence[str]) -> list[tuple[str, str, str]]:
    """The same procedures of other orders within a day, those that were called off left out."""
    wanted = [code for code in codes if code]
    if not wanted:
        return []
    since = timezone.now() - REPEATED_WITHIN
    rows = (
        RequestedProcedure.objects.filter(
            order_ref__patient_ref=patient,
            order_ref__site=site,
            order_ref__created_at__gte=since,
            procedure_code_value__in=wanted,
        )
        .exclude(status__in=[ProcedureStatus.CANCELLED, ProcedureStatus.DISCONTINUED])
        .exclude(order_ref=order.pk or 0)
        .select_related("order_ref")
        .order_by("-pk")[:5]
    )
    zone = zoneinfo.ZoneInfo(site.time_zone)
    return [(str(each), _time(each.order_ref.created_at, zone), str(each.order_ref)) for each in rows]


def _time(moment: datetime, zone: zoneinfo.ZoneInfo) -> str:
    return f"{timezone.localtime(moment, zone):%d.%m. %H:%M}"
