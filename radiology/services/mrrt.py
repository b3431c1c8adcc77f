"""Report templates of other makers (IHE RAD MRRT) as templates of our own."""

import re
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue
from radiology.models import ReportLanguage, ReportTemplate, Site
from radiology.services.mrrt_document import Control, Line, MrrtDocument, MrrtSection, read_document, squeezed
from radiology.services.report_templates import write_template
from radiology.template_content import LONGEST_LABEL, LONGEST_TEXT, LONGEST_UNIT, MOST_PARAGRAPHS, SECTIONS, checked

# LOINC and RadLex codes of the sections of a radiology report, and what templates call them.
CODES = {
    "indication": {"55752-0", "18785-6", "11329-0", "RID13166"},
    "technique": {"55111-9", "RID1559", "RID28482"},
    "comparison": {"18834-2", "55114-3", "RID28483"},
    "findings": {"18782-3", "59776-5", "RID28486"},
    "impression": {"19005-8", "55110-1", "RID13170"},
}
NAMES = {
    "indication": {
        "indication", "indications", "clinical information", "clinical history", "clinical indication", "history",
        "reason for exam", "reason for examination", "reason for study", "clinical data",
        "indikasi", "klinis", "informasi klinis", "riwayat",
    },
    "technique": {
        "technique", "imaging technique", "procedure", "procedure information", "procedure description", "protocol",
        "teknik", "teknik pemeriksaan", "prosedur",
    },
    "comparison": {"comparison", "comparisons", "prior studies", "pembanding", "perbandingan"},
    "findings": {"findings", "finding", "observations", "results", "temuan", "hasil", "deskripsi"},
    "impression": {
        "impression", "impressions", "conclusion", "conclusions", "summary", "assessment", "kesan", "kesimpulan",
    },
}  # fmt: skip
# By RadLex code or by word, in terms and title.
MODALITIES = {
    "CT": r"RID10321|computed tomography|\bct\b",
    "MR": r"RID10312|magnetic resonance|\bmri?\b",
    "US": r"RID10326|ultraso\w+|sonograph\w+|\busg?\b",
    "MG": r"RID10357|mammogra\w+",
    "RF": r"RID10361|fluoroscop\w+",
    "DX": r"RID10345|radiograph\w*|x-?ray|\bfoto\b",
}
PARTS = {
    "HEART": r"heart|cardiac|coronary",
    "BRAIN": r"brain",
    "BREAST": r"breast|mammogra\w+",
    "CHEST": r"chest|thorax|lung",
    "ABDOMEN": r"abdomen|abdominal",
    "CSPINE": r"cervical spine",
    "TSPINE": r"thoracic spine",
    "LSPINE": r"lumbar spine|lumbosacral",
    "PROSTATE": r"prostate",
    "PELVIS": r"pelvi[sc]",
    "LIVER": r"liver|hepar",
    "THYROID": r"thyroid",
    "KIDNEY": r"kidney|renal|urinary",
    "KNEE": r"knee|genu",
    "SHOULDER": r"shoulder",
    "HIP": r"\bhip\b",
    "ANKLE": r"ankle",
    "WRIST": r"wrist",
    "HEAD": r"\bhead\b|kepala",
}


@dataclass(frozen=True)
class Imported:
    """What a file says, as a template has it. Empty where the file does not tell."""

    code: str
    name: str
    language: str
    modality: str
    body_part_examined: str
    content: dict[str, list[dict[str, Any]]]


def read_template(raw: bytes) -> Imported:
    """The template that a file of MRRT describes; nothing is written. Raises TooLarge, InvalidValue."""
    document = read_document(raw)
    content = _Content(document).made()
    title = document.metadata.get("dcterms.title") or document.title or document.sections[0].name
    told = [f"{value} {meaning}" for value, meaning in document.terms] + [title]
    return Imported(
        code=_code(document, title),
        name=title[:120],
        language=_language(document),
        modality=_first(MODALITIES, told),
        body_part_examined=_first(PARTS, told),
        content=content,
    )


@transaction.atomic
def import_template(
    *,
    who: Any,
    site: Site,
    raw: bytes,
    language: str = "",
    modality: str = "",
    body_part_examined: str = "",
    replaces: bool = False,
    address: str | None = None,
) -> tuple[ReportTemplate, bool]:
    """Write the template of a file, and whether that changed anything; what is given goes before what the file tells.

    A template of its code and language that is there already stays, unless `replaces`. Raises TooLarge, InvalidValue,
    NotAllowed, Conflict.
    """
    found = read_template(raw)
    language, modality = language or found.language, modality or found.modality
    if language not in ReportLanguage.values:
        raise InvalidValue(_("The file does not say in which of our languages it is: choose one."), field="language")
    if not modality:
        raise InvalidValue(_("The file does not say for which modality it is: choose one."), field="modality")
    values = {
        "code": found.code,
        "name": found.name,
        "language": language,
        "modality": modality,
        "body_part_examined": body_part_examined or found.body_part_examined,
        "content": found.content,
    }
    there = ReportTemplate.objects.filter(site=site, owner=None, code=found.code, language=language).first()
    if there is not None and all(getattr(there, name) == value for name, value in values.items()):
        return there, False
    if there is not None and not replaces:
        raise Conflict(
            _("There is a template %(code)s (%(language)s) already, which says something else.")
            % {"code": found.code, "language": language},
            field="file",
        )
    version = there.version if there is not None else None
    return write_template(who=who, values=values, template=there, version=version, site=site, address=address), True


class _Content:
    """The paragraphs of a document by section."""

    def __init__(self, document: MrrtDocument) -> None:
        self.document = document
        self.found: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
        self.names: set[str] = set()

    def made(self) -> dict[str, list[dict[str, Any]]]:
        for section in self.document.sections:
            known = self._known(section)
            if known:
                self._lay(section, known, skips_heading=True)
            else:
                # What we have no section for is said among the findings, under its own name.
                self._heading(section.name, "findings")
                self._lay(section, "findings", skips_heading=True)
        return checked(self.found)

    def _known(self, section: MrrtSection) -> str:
        codes = self.document.codes.get(section.identifier, []) if section.identifier else []
        name = re.sub(r"[\s:.]+$", "", section.name).casefold()
        by_code = (ours for ours, theirs in CODES.items() if theirs & set(codes))
        return next(by_code, "") or next((ours for ours, theirs in NAMES.items() if name in theirs), "")

    def _lay(self, section: MrrtSection, ours: str, *, skips_heading: bool) -> None:
        for each in section.content:
            if isinstance(each, MrrtSection):
                inner = self._known(each)
                if not inner:
                    self._heading(each.name, ours)
                self._lay(each, inner or ours, skips_heading=True)
            elif each.is_heading:
                if not skips_heading:
                    self._heading(each.text, ours)
                skips_heading = False
            elif each.controls:
                self._add(ours, self._field(each))
            else:
                self._add(ours, {"text": _plain(each.text)[:LONGEST_TEXT]})

    def _heading(self, name: str, ours: str) -> None:
        if text := _plain(name).rstrip(": "):
            self._add(ours, {"text": f"{text}:"[:LONGEST_TEXT]})

    def _add(self, ours: str, paragraph: dict[str, Any]) -> None:
        if len(self.found[ours]) >= MOST_PARAGRAPHS:
            raise InvalidValue(_("A section of it has more than %d paragraphs.") % MOST_PARAGRAPHS, field="file")
        self.found[ours].append(paragraph)

    def _field(self, line: Line) -> dict[str, Any]:
        label = _plain(_before(line)).rstrip(" :")
        first = line.controls[0]
        found: dict[str, Any] = {
            "field": self._name(first.name or label),
            "label": label[:LONGEST_LABEL],
            "kind": "text",
        }
        rest = line.pieces[line.pieces.index(first) :]
        normal, blank = _said(rest, filled=True), _said(rest, filled=False)
        if len(line.controls) == 1 and len(first.options) > 1 and first.kind == "choice":
            options = list(dict.fromkeys(_option(text) for text, _chosen in first.options))
            if 2 <= len(options) <= 40:
                found |= {"kind": "choice", "choices": options}
        elif len(line.controls) == 1 and first.kind == "number":
            found["kind"] = "number"
            if unit := _option(first.unit)[:LONGEST_UNIT]:
                found["unit"] = unit
        if "[" not in normal and normal:
            found["normal"] = normal[:LONGEST_TEXT]
        if len(blank) <= LONGEST_TEXT:
            found["default"] = blank
        return found

    def _name(self, said: str) -> str:
        base = re.sub(r"[^a-z0-9]+", "_", said.casefold()).strip("_")[:36]
        base = base if base[:1].isalpha() else f"f_{base}".rstrip("_")[:36]
        name, number = base, 1
        while name in self.names:
            number += 1
            name = f"{base[: 39 - len(str(number))]}_{number}"
        self.names.add(name)
        return name


def _before(line: Line) -> str:
    texts = []
    for piece in line.pieces:
        if not isinstance(piece, str):
            break
        texts.append(piece)
    return squeezed(" ".join(texts))


def _said(pieces: list[str | Control], *, filled: bool) -> str:
    """A line's texts and controls; each control as what is in it at first, where `filled`, or as a blank."""
    found: list[str] = []
    unit = ""
    for piece in pieces:
        if isinstance(piece, Control):
            value = _value(piece) if filled else ""
            found.append(_plain(value) if value else _blank(piece))
            unit = "" if value else piece.unit
            continue
        text = _plain(squeezed(piece))
        if unit and text.casefold().startswith(unit.casefold()):
            text = text[len(unit) :].strip()  # the blank says the unit already
        if text:
            unit = ""
            found.append(text)
    return " ".join(found)


def _value(control: Control) -> str:
    if control.kind == "choice":
        return next((text for text, chosen in control.options if chosen), "")
    return squeezed(control.value)


def _blank(control: Control) -> str:
    if control.kind == "choice" and control.options:
        return f"[{'|'.join(dict.fromkeys(_option(text) for text, _chosen in control.options))}]"
    unit = _option(control.unit)
    return f"[{unit}]" if unit else "[  ]"


def _plain(text: str) -> str:
    """Text in which brackets are no blanks."""
    return text.replace("[", "(").replace("]", ")")


def _option(text: str) -> str:
    return squeezed(_plain(text).replace("|", "/"))[:200]


def _code(document: MrrtDocument, title: str) -> str:
    """From its identifier, the last part of an address or an OID; else from the title."""
    said = document.metadata.get("dcterms.identifier", "")
    last = re.split(r"[/:]", said.rstrip("/"))[-1]
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")
    return f"MRRT-{word[-27:].strip('-.') or 'TEMPLATE'}"


def _language(document: MrrtDocument) -> str:
    said = document.metadata.get("dcterms.language", "").casefold()[:2]
    return said if said in ReportLanguage.values else ""


def _first(known: dict[str, str], told: list[str]) -> str:
    return next((name for name, words in known.items() if any(re.search(words, each, re.I) for each in told)), "")
