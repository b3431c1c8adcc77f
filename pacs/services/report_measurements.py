"""The measurements in the text of a report: links into the viewer that carry what was measured behind their `#`.

The reading view writes them, and they pass through a browser: whatever is not understood, or is not what its words
say any more, is no measurement.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

from radiology.dicom import fit, is_uid
from radiology.models import ReportVersion
from radiology.services.report_markup import VIEWER

MOST = 200
MOST_POINTS = 1000
# How many points each tool of the viewer (by its name in OHIF) gives: least, most.
TOOLS = {
    "Length": (2, 2),
    "Bidirectional": (4, 4),
    "Angle": (3, 3),
    "CobbAngle": (4, 4),
    "EllipticalROI": (4, 4),
    "RectangleROI": (4, 4),
    "CircleROI": (2, 2),
    "PlanarFreehandROI": (3, MOST_POINTS),
    "Probe": (1, 1),
}
Point = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One figure of a measurement: its name in the viewer, its value, and its unit as the viewer writes it."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Measured:
    """A measurement in the text. Points are column and row of the image (PS3.3 C.18.6); none where it was made across
    images. `frame` counts from 1.
    """

    study_instance_uid: str
    sop_instance_uid: str
    tool: str
    label: str
    frame: int
    figures: tuple[Figure, ...]
    points: tuple[Point, ...]


def measured_in(version: ReportVersion) -> list[Measured]:
    """The measurements in the sections of a version, in order, each once."""
    found: dict[Measured, None] = {}
    for section, _ in version.texts:
        links = _Links()
        links.feed(version.markup.get(section.value, ""))
        links.close()
        for address, words in links.found:
            measured = _measured(address, words)
            if measured is not None:
                found[measured] = None
    return list(found)[:MOST]


def _measured(address: str, words: str) -> Measured | None:
    if not address.startswith(VIEWER):
        return None
    parts = urlsplit(address)
    image, said = dict(parse_qsl(parts.query)), parse_qsl(parts.fragment)
    one = dict(said)
    tool, shown = one.get("tool", ""), one.get("shown", "")
    study, instance = image.get("StudyInstanceUIDs", ""), image.get("initialSOPInstanceUID", "")
    if tool not in TOOLS or not shown or not is_uid(study) or not is_uid(instance):
        return None
    if _plain(shown) not in _plain(words):
        return None  # somebody has written another figure over it
    figures = tuple(_figures(value for name, value in said if name == "value"))
    if not figures:
        return None
    return Measured(study, instance, tool, fit("LO", one.get("label", "")), _frame(one), figures, _points(tool, one))


def _plain(text: str) -> str:
    return " ".join(text.split())


def _figures(values: Iterator[str]) -> Iterator[Figure]:
    seen = set()
    for each in values:
        name, _, rest = each.partition(" ")
        number, _, unit = rest.partition(" ")
        value = _number(number)
        if value is not None and name not in seen:
            seen.add(name)
            yield Figure(name, value, unit.strip())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e12 else None


def _frame(one: Mapping[str, str]) -> int:
    text = one.get("frame", "1")
    return int(text) if text.isascii() and text.isdecimal() and 0 < int(text[:9]) == int(text) else 1


def _points(tool: str, one: Mapping[str, str]) -> tuple[Point, ...]:
    """All of them, or none."""
    numbers = [_number(each) for each in one.get("points", "").split(" ")[: 2 * MOST_POINTS + 2]]
    values = [each for each in numbers if each is not None and abs(each) < 1e6]
    least, most = TOOLS[tool]
    if len(values) != len(numbers) or len(values) % 2 or not least <= len(values) // 2 <= most:
        return ()
    return tuple(zip(values[::2], values[1::2], strict=True))


class _Links(HTMLParser):
    """Addresses and words of links."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self._address: str | None = None
        self._words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._address, self._words = dict(attrs).get("href"), ""

    def handle_data(self, data: str) -> None:
        self._words += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._address:
            self.found.append((self._address, self._words))
            self._address = None
