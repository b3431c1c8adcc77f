"""What a report says against its order: another side, an organ that a patient of that sex does not have; and blanks.

Words are looked for, in Indonesian, English and the Latin that both use; sentences are not understood. So a warning
asks somebody to look, and nothing is refused because of one.
"""

import re
from collections.abc import Mapping

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from radiology.models import Laterality, ReportSection, RequestedProcedure

# Where the examination itself is spoken of; a comparison or a history may well name another side.
LOOKED_AT = (ReportSection.TECHNIQUE, ReportSection.FINDINGS, ReportSection.IMPRESSION)
SIDES = {
    Laterality.RIGHT: re.compile(r"\b(kanan|right|de(?:ks|x)t(?:er|r\w+))\b", re.IGNORECASE),
    Laterality.LEFT: re.compile(r"\b(kiri|left|sinist(?:er|r\w+))\b", re.IGNORECASE),
}
OTHER = {Laterality.RIGHT: Laterality.LEFT, Laterality.LEFT: Laterality.RIGHT}
ORGANS = {
    "F": re.compile(
        r"\b(prostat\w*|testis|testes|testik\w*|s[ck]rot\w*|penis|vesi[ck]ula\s+seminal\w*)\b", re.IGNORECASE
    ),
    "M": re.compile(
        r"\b(uter(?:us|i|ine)|rahim|ovar\w+|endometri\w+|adneksa|adnexa\w*|vagina\w*|hamil|pregnan\w+|gravid\w*"
        r"|cavum\s+douglas\w*|fetus|fetal|janin)\b",
        re.IGNORECASE,
    ),
}
# What a template leaves to be filled in.
BLANK = re.compile(r"\[[^\[\]\n]{0,200}\]")
# A sentence that says that the organ is not there contradicts nothing.
ABSENT = re.compile(r"\b(no|not|without|absent|tidak|tanpa|bukan)\b[^.\n]*$", re.IGNORECASE)


def warnings_of(*, procedure: RequestedProcedure, sections: Mapping[str, str]) -> list[str]:
    """What its writer should look at again, a sentence each, in the order of the texts."""
    text = "\n".join(sections.get(each.value, "") for each in LOOKED_AT)
    return [*_of_side(procedure, text), *_of_sex(procedure, text), *_of_blanks(sections)]


def _of_blanks(sections: Mapping[str, str]) -> list[str]:
    blanks = [found for text in sections.values() for found in BLANK.findall(text)]
    if not blanks:
        return []
    said = ngettext(
        "%(count)d blank is not filled in: %(first)s", "%(count)d blanks are not filled in: %(first)s", len(blanks)
    )
    return [said % {"count": len(blanks), "first": blanks[0][:60]}]


def _of_side(procedure: RequestedProcedure, text: str) -> list[str]:
    side = _side_of(procedure)
    if side is None:
        return []
    other = OTHER[side]
    found = SIDES[other].search(text)
    if found is None or SIDES[side].search(text):
        return []
    return [
        _("The order says %(ordered)s; the text says “%(said)s” and never %(ordered)s.")
        % {"ordered": side.label.lower(), "said": found[0]}
    ]


def _side_of(procedure: RequestedProcedure) -> Laterality | None:
    """The one side that was ordered: as it was answered, else as the procedure is called."""
    if procedure.laterality in OTHER:
        return Laterality(procedure.laterality)
    if procedure.laterality:
        return None
    named = [side for side, words in SIDES.items() if words.search(procedure.requested_procedure_description)]
    return named[0] if len(named) == 1 else None


def _of_sex(procedure: RequestedProcedure, text: str) -> list[str]:
    patient = procedure.order_ref.patient_ref
    organs = ORGANS.get(patient.patient_sex)
    said = [found for found in organs.finditer(text) if not ABSENT.search(text[: found.start()])] if organs else []
    if not said:
        return []
    sex = _("female") if patient.patient_sex == "F" else _("male")
    return [_("The text says “%(said)s”; the patient is %(sex)s.") % {"said": said[0][0], "sex": sex}]
