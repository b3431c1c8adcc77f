"""Rows as answers to a search, in the DICOM JSON model (PS3.18 F): as objects, or as text of JSON at once.

Only those columns are read that the answers tell of, as tuples: to make models of many rows takes longer than all else.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings

from pacs.models import RequestAttributes
from pacs.services.answer_text import element, element_text, value_writer
from pacs.services.attributes import BY_KEYWORD, UNIQUE, Attribute, Kind, Level, attribute, known_at, path
from pacs.services.overlay import Element
from pacs.services.patient_counts import Counts, patient_counts
from pacs.services.stored_values import Columns, OtherAttributes
from radiology.models import PatientIdentifier
from radiology.services.rows import SoughtValues

Row = Sequence[Any]
# Rows of other tables by the key of what they belong to.
Related = Mapping[str, Mapping[int, Any]]
ValuesOf = Callable[[Row, Related], list[Any]]
Part = tuple[str, str, int]
_IDENTIFIERS, _REQUEST_ATTRIBUTES = (
    SoughtValues(model, (owner, *BY_KEYWORD[keyword].items.values()), f"{owner} = ANY(%s::bigint[]) ORDER BY id")
    for model, owner, keyword in (
        (PatientIdentifier, "patient_ref_id", "OtherPatientIDsSequence"),
        (RequestAttributes, "series_ref_id", "RequestAttributesSequence"),
    )
)
COUNTS = [f"NumberOfPatientRelated{what}" for what in ("Studies", "Series", "Instances")]
NOTHING_COUNTED = Counts()
NAMED_IN_ADDRESS = {Level.STUDY: "studies", Level.SERIES: "series", Level.INSTANCE: "instances"}


@dataclass(frozen=True, slots=True)
class _Told:
    """An attribute as answers tell it: of a row, as an object and as text."""

    tag: str
    element: Callable[[Row, Related], Element]
    text: Callable[[Row, Related], str]


def answers_for(who: Any, level: Level, returned: Collection[str] | None, base_url: str = "") -> "Answers":
    """What makes the answers of one search.

    `returned` are keywords or tags; None returns whatever there is. An attribute without value is
    answered empty. `base_url` is the DICOMweb root, for RetrieveURL.
    """
    found = copy(
        _answers(level, None if returned is None else frozenset(returned), base_url, settings.DIMSE["AE_TITLE"])
    )
    found.who, found.columns = who, found.columns.copy()
    return found


@lru_cache(256)
def _answers(level: Level, returned: frozenset[str] | None, base_url: str, ae_title: str) -> "Answers":
    """How they are told is the same for all who ask for the same, and worked out once."""
    return Answers(level, returned, base_url, ae_title)


class Answers:
    """Makes answers, a page of rows at a time with a fixed number of queries. Rows are tuples of `columns`."""

    who: Any

    def __init__(self, level: Level, returned: Collection[str] | None, base_url: str, ae_title: str) -> None:
        self.level = level
        self.columns = Columns()
        self._base_url = base_url
        self._everything = returned is None
        known: Iterable[Attribute] = known_at(level)
        self._unlisted: list[str] = []
        if returned is None:
            known = [each for each in known if each.kind is not Kind.JSON]
        else:
            wanted = {found.keyword for name in returned if (found := attribute(name))}
            known = [each for each in known if each.keyword in wanted]
            self._unlisted = sorted({name.upper() for name in returned if len(name) == 8 and not attribute(name)})
        in_json = any(each.kind is Kind.JSON or each.column == "identifiers" for each in known)
        needs_json = self._everything or self._unlisted or in_json
        self._others = OtherAttributes(level, self.columns) if needs_json else None
        self._patient = self.columns(path(level, Level.PATIENT) + "id")
        self._needed = {each.column or each.kind.value for each in known}
        self._series = self.columns(path(level, Level.SERIES) + "id") if "request_attributes" in self._needed else 0
        self._counted = any(each.keyword in COUNTS for each in known)
        self._always = {
            "RetrieveAETitle": ae_title,
            "InstanceAvailability": "ONLINE",
            "SpecificCharacterSet": "ISO_IR 192",
        }
        self._told = [self._telling(each) for each in known]
        self._tags = {each.tag for each in self._told}

    def page(self, rows: Sequence[Row]) -> Iterable[dict[str, Element]]:
        """The answers of these rows, in their order."""
        related = self._related(rows)
        for row in rows:
            found = self._more(row)
            for each in self._told:
                found[each.tag] = each.element(row, related)
            yield dict(sorted(found.items())) if self._everything or self._unlisted else found

    def page_as_text(self, rows: Sequence[Row]) -> Iterable[str]:
        """The same, each as the text of a JSON object."""
        related = self._related(rows)
        for row in rows:
            found = [each.text(row, related) for each in self._told]
            if more := self._more(row):
                found += [element_text(tag, each) for tag, each in more.items() if tag not in self._tags]
                found.sort()  # by their tags, with which they begin
            yield f"{{{','.join(found)}}}"

    def _more(self, row: Row) -> dict[str, Element]:
        """What an answer holds of attributes that are not `_told`."""
        if self._others is None or not (self._everything or self._unlisted):
            return {}
        found = self._others.of(row.__getitem__, Level.STUDY) | self._others.of(row.__getitem__, Level.SERIES)
        return found if self._everything else {tag: found[tag] for tag in self._unlisted if tag in found}

    def _related(self, rows: Sequence[Row]) -> Related:
        found: dict[str, dict[int, Any]] = {"identifiers": {}, "request_attributes": {}, "counts": {}}
        patients = list({row[self._patient] for row in rows})
        if "identifiers" in self._needed:
            found["identifiers"] = _grouped(_IDENTIFIERS(patients))
        if "request_attributes" in self._needed:
            found["request_attributes"] = _grouped(_REQUEST_ATTRIBUTES(list({row[self._series] for row in rows})))
        if self._counted:
            found["counts"] = patient_counts(self.who, patients)
        return found

    def _telling(self, each: Attribute) -> _Told:
        tag, vr = each.tag, each.vr
        write = value_writer(tag, vr)
        if each.kind is Kind.JSON:
            found = self._from_json(each)
            return _Told(tag, found, lambda row, _: element_text(tag, found(row)))
        if each.kind in (Kind.COLUMN, Kind.SET):
            place = self.columns(path(self.level, each.level) + each.column)
            return _Told(tag, lambda row, _: element(vr, row[place]), lambda row, _: write(row[place]))
        if each.keyword in self._always:
            always = element(vr, self._always[each.keyword])
            text = element_text(tag, always)
            return _Told(tag, lambda row, _: always, lambda row, _: text)
        value = self._value(each)
        return _Told(
            tag, lambda row, related: element(vr, value(row, related)), lambda row, related: write(value(row, related))
        )

    def _value(self, each: Attribute) -> Callable[[Row, Related], Any]:
        """What works out the values of an attribute that are no column."""
        if each.kind is Kind.ITEM:
            return self._made_of_columns(each)
        if each.column == "request_attributes":
            series, parts = self._series, _parts(each.items, range(1, 1 + len(each.items)))
            return lambda row, related: [
                _item(item, parts) for item in related["request_attributes"].get(row[series], ())
            ]
        if each.column == "identifiers":
            return self._identifiers(each)
        if each.keyword in COUNTS:
            patient, place = self._patient, COUNTS.index(each.keyword)
            return lambda row, related: related["counts"].get(row[patient], NOTHING_COUNTED)[place]
        return self._address()

    def _from_json(self, each: Attribute) -> Callable[..., Element]:
        assert self._others is not None
        others, level, tag, empty = self._others, each.level, each.tag, {"vr": each.vr}
        return lambda row, *_: others.one(row.__getitem__, level, tag) or empty

    def _made_of_columns(self, each: Attribute) -> ValuesOf:
        prefix = path(self.level, each.level)
        parts = _parts(each.items, [self.columns(prefix + column) for column in each.items.values()])

        def found(row: Row, _: Related) -> list[Any]:
            item = _item(row, parts)
            return [item] if any("Value" in part for part in item.values()) else []

        return found

    def _identifiers(self, each: Attribute) -> ValuesOf:
        """Of the patient's row, and what was received: in the sequence the latter where there is none else."""
        assert self._others is not None
        sequence = BY_KEYWORD["OtherPatientIDsSequence"].items
        patient, others, parts = self._patient, self._others, _parts(sequence, range(1, 1 + len(sequence)))

        def found(row: Row, related: Related) -> list[Any]:
            identifiers = related["identifiers"].get(row[patient], ())
            received = others.one(row.__getitem__, Level.PATIENT, each.tag).get("Value", [])
            if each.vr == "SQ":
                return [_item(item, parts) for item in identifiers] or received
            return list(dict.fromkeys([*(value for _, value, _ in identifiers), *received]))

        return found

    def _address(self) -> Callable[[Row, Related], str]:
        """RetrieveURL of a row."""
        if not self._base_url or self.level == Level.PATIENT:
            return lambda row, _: ""
        steps = [(NAMED_IN_ADDRESS[each], self._uid(each)) for each in list(Level)[1 : self.level.depth + 1]]
        return lambda row, _: self._base_url + "".join(f"/{name}/{row[place]}" for name, place in steps)

    def _uid(self, level: Level) -> int:
        return self.columns(path(self.level, level) + BY_KEYWORD[UNIQUE[level]].column)


def _grouped(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows by what stands first in them."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def _parts(items: Mapping[str, str], places: Iterable[int]) -> list[Part]:
    """Tag, VR and place in a row of what an item is made of, by tags."""
    known = (BY_KEYWORD.get(keyword) or Attribute(keyword, Level.PATIENT, Kind.COLUMN) for keyword in items)
    return sorted((each.tag, each.vr, place) for each, place in zip(known, places, strict=True))


def _item(row: Row, parts: Iterable[Part]) -> dict[str, Element]:
    return {tag: element(vr, row[place]) for tag, vr, place in parts}
