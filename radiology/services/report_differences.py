"""What one version of a report says and another does not, word by word.

E. W. Myers, An O(ND) Difference Algorithm and Its Variations (1986), over words and line ends. Versions that have
little in common are not compared to the last word: beyond `MOST_EDITS` the rest is told as replaced, so that no text
keeps a process busy.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from radiology.errors import InvalidValue, NotFound
from radiology.models import Report, ReportSection, ReportVersion

# Words that differ within a section; the work grows with their square.
MOST_EDITS = 600
_WORD = re.compile(r"\n|[^\s]+")


@dataclass(frozen=True)
class Run:
    """A stretch of text: `kind` is "same", "removed" or "added"."""

    kind: str
    text: str


@dataclass(frozen=True)
class SectionDifference:
    """The runs of one section, in the order in which they are read."""

    section: ReportSection
    runs: Sequence[Run]

    @property
    def is_changed(self) -> bool:
        return any(each.kind != "same" for each in self.runs)


@dataclass(frozen=True)
class Difference:
    """Two versions beside each other. `addenda` are those that the later one has more.

    `has_other_images`: the key images, their order or captions are not the same.
    """

    sections: Sequence[SectionDifference]
    addenda: Sequence[Mapping[str, Any]] = ()
    has_other_images: bool = False

    @property
    def is_changed(self) -> bool:
        return bool(self.addenda) or self.has_other_images or any(each.is_changed for each in self.sections)

    @property
    def added(self) -> int:
        return self._count("added")

    @property
    def removed(self) -> int:
        return self._count("removed")

    def _count(self, kind: str) -> int:
        """In words."""
        return sum(len(run.text.split()) for each in self.sections for run in each.runs if run.kind == kind)


def chosen_versions(report: Report, before: int | None, after: int | None) -> tuple[ReportVersion, ReportVersion]:
    """The versions to be compared, by their numbers, the earlier first.

    Without numbers what the supervisor made of the resident's version, else the last change. Raises InvalidValue where
    one is missing, NotFound.
    """
    if before is not None and after is not None:
        numbers = (before, after)
    elif before is not None or after is not None:
        raise InvalidValue(_("Say both from and to, or neither."), field="from" if before is None else "to")
    else:
        latest = report.co_signatures.exclude(final_number=None).order_by("-pk").first()
        numbers = (latest.number, latest.final_number or 0) if latest else (report.number - 1, report.number)
    found = {each.number: each for each in report.versions.defer("pdf").filter(number__in=numbers)}
    if len(found) < 2:
        raise NotFound(_("There are no two such versions to be compared."), field="from")
    return found[min(numbers)], found[max(numbers)]


def difference_of(before: ReportVersion, after: ReportVersion) -> Difference:
    """What a later version says otherwise than an earlier one."""
    found = difference_of_texts(before.sections, after.sections)
    addenda = after.addenda[len(before.addenda) :]
    return Difference(found.sections, addenda, list(before.key_images) != list(after.key_images))


def difference_of_texts(before: Mapping[str, str], after: Mapping[str, str]) -> Difference:
    """The same of texts by section; sections that neither has are left out."""
    rows = [
        SectionDifference(each, runs_between(before.get(each.value, ""), after.get(each.value, "")))
        for each in ReportSection
        if before.get(each.value) or after.get(each.value)
    ]
    return Difference(rows)


def runs_between(before: str, after: str) -> list[Run]:
    """How `after` comes of `before`: what is removed stands before what is added in its place."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    middle = _edits(old[start : len(old) - end], new[start : len(new) - end])
    edits = [("same", word) for word in old[:start]] + middle + [("same", word) for word in old[len(old) - end :]]
    return _joined(edits)


def _edits(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """The shortest way from one to the other, a word each."""
    furthest = {1: 0}
    seen: list[dict[int, int]] = []
    for edits in range(min(len(old) + len(new), MOST_EDITS) + 1):
        seen.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (
                diagonal != edits and furthest.get(diagonal - 1, -1) < furthest.get(diagonal + 1, -1)
            )
            x = furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1
            y = x - diagonal
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            furthest[diagonal] = x
            if x >= len(old) and y >= len(new):
                return _way_back(seen, old, new)
    return [("removed", word) for word in old] + [("added", word) for word in new]


def _way_back(seen: Sequence[dict[int, int]], old: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = []
    x, y = len(old), len(new)
    for edits in range(len(seen) - 1, -1, -1):
        furthest, diagonal = seen[edits], x - y
        down = diagonal == -edits or (
            diagonal != edits and furthest.get(diagonal - 1, -1) < furthest.get(diagonal + 1, -1)
        )
        before = diagonal + 1 if down else diagonal - 1
        from_x = furthest[before]
        from_y = from_x - before
        while x > max(from_x, 0) and y > max(from_y, 0):
            x, y = x - 1, y - 1
            made.append(("same", old[x]))
        if edits == 0:
            break
        if down:
            y -= 1
            made.append(("added", new[y]))
        else:
            x -= 1
            made.append(("removed", old[x]))
    return made[::-1]


def _joined(edits: Sequence[tuple[str, str]]) -> list[Run]:
    """Words of one kind as one text; between two that are the same, what went before what came."""
    runs: list[Run] = []
    waiting: dict[str, list[str]] = {"removed": [], "added": []}
    same: list[str] = []

    def close() -> None:
        runs.extend(Run(kind, _text(words)) for kind, words in waiting.items() if words)
        waiting.update(removed=[], added=[])

    for kind, word in edits:
        if kind == "same":
            if waiting["removed"] or waiting["added"]:
                close()
            same.append(word)
            continue
        if same:
            runs.append(Run("same", _text(same)))
            same.clear()
        waiting[kind].append(word)
    close()
    if same:
        runs.append(Run("same", _text(same)))
    return runs


def _text(words: Sequence[str]) -> str:
    """Words with a blank between them, lines as they were."""
    return re.sub(r" ?\n ?", "\n", " ".join(words))
