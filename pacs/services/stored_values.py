"""What stands in a row and in the rows above it, whether it was read as a model or as a tuple of some columns."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from pacs.services.attributes import Level, path
from pacs.services.overlay import Element, laid_over
from radiology.dicom import NAME_GROUPS

# Gives what stands at a name: a path of the ORM, or a place in a tuple.
ValueOf = Callable[[Any], Any]
# Levels on which other attributes are kept as JSON; an overlay lies over those of studies and series.
JSON_LEVELS = (Level.PATIENT, Level.STUDY, Level.SERIES)


def is_json(name: str) -> bool:
    """Whether a column, named by its path, holds the JSON of other attributes."""
    return name.endswith(("attributes", "overlay"))


def value_of_model(row: Any) -> ValueOf:
    """What stands at paths of the ORM, of a model row with the rows above it."""

    def value(name: str) -> Any:
        found = row
        for step in name.split("__"):
            found = getattr(found, step)
        return found

    return value


class Models:
    """Rows read as models with those above them; the JSON of other attributes when somebody looks at it, or
    `with_json` at once."""

    value_of = staticmethod(value_of_model)

    def __init__(self, level: Level, *, with_json: bool) -> None:
        self.with_json = with_json
        self._above = path(level, Level.PATIENT).removesuffix("__")
        self._json = [path(level, each) + "attributes" for each in JSON_LEVELS if each.depth <= level.depth]

    def of(self, found: QuerySet[Any], *, tested: Iterable[str]) -> QuerySet[Any]:
        """The query that reads rows so; `tested` are looked at of each."""
        found = found.select_related(self._above) if self._above else found
        return found if self.with_json else found.defer(*{*self._json}.difference(tested))


class Columns:
    """Rows read as tuples of some columns: calling it with a path of the ORM adds one, and gives its place.

    JSON comes as text: of most rows, most of it is empty or not looked at.
    """

    def __init__(self, places: Mapping[str, int] = MappingProxyType({})) -> None:
        self._places = dict(places)

    def copy(self) -> "Columns":
        return Columns(self._places)

    def __call__(self, name: str) -> int:
        return self._places.setdefault(name, len(self._places))

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._places)

    def of(self, found: QuerySet[Any], *, tested: Iterable[str]) -> QuerySet[Any]:
        """The query that reads rows so; `tested` are looked at of each."""
        for name in tested:
            self(name)
        return found.values_list(*(Cast(name, TextField()) if is_json(name) else name for name in self._places))

    def value_of(self, row: Sequence[Any]) -> ValueOf:
        """What stands at paths of the ORM, of a tuple."""
        return lambda name: row[self._places[name]]

    def of_models(self, rows: Iterable[Any]) -> list[tuple[Any, ...]]:
        """Model rows as such tuples."""
        return [tuple(map(value_of_model(row), self._places)) for row in rows]


class OtherAttributes:
    """The JSON in which other attributes are kept, of a row of `level` and those above it.

    `name` is called with the paths of its columns and gives the names by which values are had.
    """

    def __init__(self, level: Level, name: Callable[[str], Any] = str) -> None:
        self._patient = name(path(level, Level.PATIENT) + "attributes")
        self._laid = {
            each: (name(path(level, each) + "overlay"), name(path(level, each) + "attributes"))
            for each in JSON_LEVELS[1:]
            if each.depth <= level.depth
        }

    @property
    def names(self) -> list[Any]:
        return [self._patient, *(each for names in self._laid.values() for each in names)]

    def of(self, value: ValueOf, level: Level) -> dict[str, Element]:
        """Those of a study or a series."""
        if level not in self._laid:
            return {}
        overlay, attributes = self._laid[level]
        return laid_over(_parsed(value(overlay)), _parsed(value(attributes)))

    def one(self, value: ValueOf, level: Level, tag: str) -> Element:
        """One attribute, empty where there is none; those of a patient stand on the study too."""
        if level == Level.PATIENT:
            found = value(self._patient)
            if tag in found and tag in (found := _parsed(found)):
                return found[tag] or {}
            level = Level.STUDY
        if level not in self._laid:
            return {}
        overlay, attributes = self._laid[level]
        laid, found = value(overlay), value(attributes)
        if tag not in found and not _parsed(laid):
            return {}
        laid = _parsed(laid).get("attributes", {})
        return (laid[tag] if tag in laid else _parsed(found).get(tag)) or {}


def _parsed(found: Any) -> dict[str, Any]:
    """JSON that may still be text."""
    parsed: dict[str, Any] = found if isinstance(found, dict) else {} if found == "{}" else json.loads(found)
    return parsed


def texts(found: Element) -> list[str]:
    """The values of an element as they are matched."""
    values = found.get("Value", [])
    if found.get("vr") == "PN":
        names = [value for value in values if isinstance(value, dict)]
        return ["=".join(name.get(group, "") for group in NAME_GROUPS) for name in names]
    return [str(value) for value in values if not isinstance(value, dict)]
