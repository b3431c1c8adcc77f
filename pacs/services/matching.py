"""How one matching key is compared with stored values (PS3.4 C.2.2.2), in Python and in SQL.

`parse` turns a key's text into a matcher. Its `accepts` is exact; its `condition` narrows the rows in
SQL and lets none through the fingers: where `exact` is False, rows must be asked again with `accepts`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from functools import reduce
from operator import or_
from typing import Any, Protocol

from django.db.models import CharField, Lookup, Q

from radiology.dicom import LENIENT_UID, PersonName, fold, parse_da, parse_tm
from radiology.errors import InvalidValue

# PS3.4 C.2.2.2.4. CS too: it is named there for wild cards, though its repertoire lacks them.
WILDCARD_VR = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
NUMBER_VR = frozenset({"IS", "US", "SS", "UL", "SL"})
MATCHED_VR = WILDCARD_VR | NUMBER_VR | {"AS", "DA", "DS", "TM", "UI"}
LARGEST = 2**31 - 1
DA = r"\d{8}|\d{4}\.\d{2}\.\d{2}"
TM = r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?|\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?"
NOTHING = Q(pk__in=[])
# Sorts behind every character of a TM.
BEHIND = "~"


@CharField.register_lookup
class Like(Lookup):
    """`column LIKE pattern`; the pattern is one of `like_pattern`."""

    lookup_name = "like"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, left_params = self.process_lhs(compiler, connection)
        right, right_params = self.process_rhs(compiler, connection)
        return f"{left} LIKE {right}", (*left_params, *right_params)


class Matcher(Protocol):
    """A key that has a value."""

    @property
    def exact(self) -> bool: ...

    def accepts(self, values: Sequence[str]) -> bool:
        """Whether any of the stored values matches; none at all is one empty value."""

    def condition(self, column: str) -> Q:
        """The rows whose `column` (a path of the ORM) may match."""


def parse(*, keyword: str, vr: str, text: str, fuzzy: bool = False) -> Matcher | None:
    """The matcher of a key's text (several values joined by a backslash); None where it matches everything.

    Raises InvalidValue, naming the keyword, for a value that is malformed for its VR.
    """
    one = vr in {"LT", "ST", "UT", "UR"}
    values = [value for part in ([text] if one else text.split("\\")) if (value := part.strip(" \0"))]
    open_ended = "*^= " if vr == "PN" else "*"
    if not values or any(not value.strip(open_ended) for value in values):
        return None
    if vr == "UI":
        return UidList(keyword, values)
    if vr == "DA":
        return DateRanges.parse(keyword, values)
    if vr == "TM":
        return TimeRanges.parse(keyword, values)
    if vr in NUMBER_VR:
        return Numbers.parse(keyword, values)
    if vr == "PN":
        if fuzzy:
            return FuzzyName(values) if all(FuzzyName(values).words) else None
        return Name(values)
    return Text(values, wildcards=vr in WILDCARD_VR)


def like_pattern(text: str) -> str:
    """A DICOM wild card pattern as one of LIKE, where `%` and `_` are ordinary."""
    return re.sub(r"[%_\\]", r"\\\g<0>", text).replace("*", "%").replace("?", "_")


def glob(pattern: str, text: str) -> bool:
    """Whether `pattern` with `*` and `?` matches all of `text`, in time proportional to their product."""
    at = start = 0
    star = -1
    for _ in range(len(text) * (len(pattern) + 1) + 1):
        if start == len(text):
            break
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, start
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[start]):
            at += 1
            start += 1
        elif star >= 0:
            mark += 1
            at, start = star + 1, mark
        else:
            return False
    return start == len(text) and not pattern[at:].strip("*")


def any_of(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions)


@dataclass(frozen=True)
class Text:
    """Single value and wild card matching, case-sensitive (C.2.2.2.1, C.2.2.2.4); several values: any."""

    values: list[str]
    wildcards: bool = True
    exact: bool = True

    def accepts(self, values: Sequence[str]) -> bool:
        return any(
            glob(key, value.strip()) if self.wildcards else key == value.strip()
            for key in self.values
            for value in values or [""]
        )

    def condition(self, column: str) -> Q:
        plain = [key for key in self.values if not self._is_pattern(key)]
        found = [Q(**{f"{column}__like": like_pattern(key)}) for key in self.values if self._is_pattern(key)]
        if plain:
            found.append(Q(**{f"{column}__in": plain}) if len(plain) > 1 else Q(**{column: plain[0]}))
        return any_of(found)

    @property
    def has_patterns(self) -> bool:
        return any(self._is_pattern(key) for key in self.values)

    def _is_pattern(self, key: str) -> bool:
        return self.wildcards and ("*" in key or "?" in key)


@dataclass(frozen=True)
class UidList:
    """Single value and list of UID matching (C.2.2.2.2)."""

    keyword: str
    values: list[str]
    exact: bool = True

    def __post_init__(self) -> None:
        for value in self.values:
            if len(value) > 64 or LENIENT_UID.fullmatch(value) is None:
                raise InvalidValue(f"{self.keyword} must be a UID, or a list of UIDs.", field=self.keyword)

    def accepts(self, values: Sequence[str]) -> bool:
        return any(value in self.values for value in values)

    def condition(self, column: str) -> Q:
        return Q(**{column: self.values[0]}) if len(self.values) == 1 else Q(**{f"{column}__in": self.values})


@dataclass(frozen=True)
class Numbers:
    """Single value matching of numbers, by value and not by spelling."""

    values: list[int]
    exact: bool = True

    @classmethod
    def parse(cls, keyword: str, values: list[str]) -> "Numbers":
        for value in values:
            if re.fullmatch(r"[+-]?\d{1,20}", value, re.ASCII) is None:
                raise InvalidValue(f"{keyword} must be a whole number.", field=keyword)
        return cls([int(value) for value in values])

    def accepts(self, values: Sequence[str]) -> bool:
        return any(re.fullmatch(r"[+-]?\d{1,20}", v.strip(), re.ASCII) and int(v) in self.values for v in values)

    def condition(self, column: str) -> Q:
        fitting = [value for value in self.values if abs(value) <= LARGEST]
        return Q(**{f"{column}__in": fitting}) if fitting else NOTHING


@dataclass(frozen=True)
class DateRanges:
    """Dates and date ranges, both ends included (C.2.2.2.5.1); the retired YYYY.MM.DD is a date too."""

    ranges: list[tuple[date, date]]
    exact: bool = False

    @classmethod
    def parse(cls, keyword: str, values: list[str]) -> "DateRanges | None":
        ranges = []
        for value in values:
            found = re.fullmatch(rf"({DA})?\s*(-)?\s*({DA})?", value, re.ASCII)
            bounds = [parse_da(found[n]) if found and found[n] else None for n in (1, 3)]
            if found is None or any(found[n] and not bound for n, bound in zip((1, 3), bounds, strict=True)):
                raise InvalidValue(f"{keyword} must be a date (YYYYMMDD) or a range of dates.", field=keyword)
            if not found[2]:
                if found[1] and found[3]:
                    raise InvalidValue(f"{keyword} must be a date (YYYYMMDD) or a range of dates.", field=keyword)
                bounds = [bounds[0], bounds[0]]
            first, last = bounds[0] or date.min, bounds[1] or date.max
            if first > last:
                raise InvalidValue(f"{keyword} must be a range whose first date is the earlier.", field=keyword)
            ranges.append((first, last))
        return None if (date.min, date.max) in ranges else cls(ranges)

    def accepts(self, values: Sequence[str]) -> bool:
        days = [parse_da(value) for value in values]
        return any(day and first <= day <= last for day in days for first, last in self.ranges)

    def condition(self, column: str) -> Q:
        found = Q()
        dotted = Q(**{f"{column}__contains": "."})
        for first, last in self.ranges:
            start, end = first.isoformat(), last.isoformat()
            found |= self._between(column, start.replace("-", ""), end.replace("-", ""))
            found |= self._between(column, start.replace("-", "."), end.replace("-", ".")) & dotted
        return found

    @staticmethod
    def _between(column: str, first: str, last: str) -> Q:
        return Q(**{column: first}) if first == last else Q(**{f"{column}__gte": first, f"{column}__lte": last})


@dataclass(frozen=True)
class TimeRanges:
    """Times and time ranges, both ends included (C.2.2.2.5.2). A time without minutes or seconds means
    the whole hour or minute. A range may end before it begins: with dates it then spans midnight."""

    ranges: list[tuple[time, time]]
    exact: bool = False

    @classmethod
    def parse(cls, keyword: str, values: list[str]) -> "TimeRanges | None":
        ranges = []
        for value in values:
            found = re.fullmatch(rf"({TM})?\s*(-)?\s*({TM})?", value, re.ASCII)
            bounds = [parse_tm(found[n]) if found and found[n] else None for n in (1, 3)]
            wrong = found is None or any(found[n] and b is None for n, b in zip((1, 3), bounds, strict=True))
            if found is None or wrong or (found[1] and found[3] and not found[2]):
                raise InvalidValue(f"{keyword} must be a time (HHMMSS) or a range of times.", field=keyword)
            first = bounds[0] if bounds[0] is not None else time.min
            end = found[3] if found[2] else found[1]
            last = _end_of(end) if end else time.max
            ranges.append((first, last))
        return None if (time.min, time.max) in ranges else cls(ranges)

    def accepts(self, values: Sequence[str]) -> bool:
        moments = [parse_tm(value) for value in values]
        return any(m is not None and first <= m <= last for m in moments for first, last in self.ranges)

    def condition(self, column: str) -> Q:
        found = Q(**{f"{column}__contains": ":"})
        for first, last in self.ranges:
            low = re.sub(r"(00)+$", "", f"{first:%H%M%S}") or "00"
            found |= Q(**{f"{column}__gte": low, f"{column}__lte": f"{last:%H%M%S}{BEHIND}"})
        return found


def _end_of(text: str) -> time:
    """The last moment that a TM value of this precision names."""
    parsed = parse_tm(text)
    assert parsed is not None
    digits = text.replace(":", "")
    whole, _, fraction = digits.partition(".")
    if len(whole) == 2:
        return parsed.replace(minute=59, second=59, microsecond=999999)
    if len(whole) == 4:
        return parsed.replace(second=59, microsecond=999999)
    return parsed.replace(microsecond=int(fraction.ljust(6, "9")) if fraction else 999999)


@dataclass(frozen=True)
class Name:
    """Person names, without regard to case and diacritics (C.2.2.2.1, C.2.2.2.4).

    Components are compared with trailing empty ones left out, so `Doe^John` is `DOE^JOHN^^^`, and `*`
    reaches across components. A key of several groups is compared group by group. One of a single
    group is compared with the first that the stored name has if it is Latin, else with each. A key
    without `^` also matches where the name has `^` for its spaces.
    """

    values: list[str]
    exact: bool = False
    _tests: list[Callable[[str], bool]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tests", [_name_test(value) for value in self.values])

    def accepts(self, values: Sequence[str]) -> bool:
        return any(test(value) for test in self._tests for value in values or [""])

    def condition(self, column: str) -> Q:
        """`column` holds `PersonName.normalised` of the name."""
        return any_of(Q(**{f"{column}__like": self._normalised(value)}) for value in self.values)

    def prefixes(self) -> list[str]:
        """What the first group begins with, folded, one for each value; empty where that is open."""
        return [_tokens(value)[0] if _anchored(value) else "" for value in self.values]

    def parts(self) -> list[list[str]]:
        """What a name has in it, folded, for each value; in order, with anything between."""
        return [_tokens(value) for value in self.values]

    @staticmethod
    def _normalised(value: str) -> str:
        tokens = [like_pattern(token) for token in _tokens(value)]
        return ("" if _anchored(value) else "%") + "%".join(tokens) + "%"


@dataclass(frozen=True)
class FuzzyName:
    """Every word of the key begins a word of the name, in any order (fuzzymatching, PS3.18 8.3.4.2)."""

    values: list[str]
    exact: bool = False

    @property
    def words(self) -> list[list[str]]:
        return [PersonName(value.replace("*", " ").replace("?", " ")).words for value in self.values]

    def accepts(self, values: Sequence[str]) -> bool:
        stored = [PersonName(value).words for value in values]
        return any(
            all(any(has.startswith(word) for has in name) for word in words) for words in self.words for name in stored
        )

    def condition(self, column: str) -> Q:
        found = Q()
        for words in self.words:
            each = Q()
            for word in words:
                each &= Q(**{f"{column}__contains": word})
            found |= each
        return found


def _folded(text: str) -> str:
    """One component group, folded component by component, trailing empty components left out."""
    return "^".join(fold(component) for component in text.split("^")).rstrip("^")


def _group_test(key: str) -> Callable[[str], bool]:
    pattern = _folded(key)
    carets = pattern.count("^")

    def test(group: str) -> bool:
        stored = _folded(group)
        if glob(pattern, stored + "^" * max(0, carets - stored.count("^"))):
            return True
        return carets == 0 and glob(pattern, " ".join(stored.replace("^", " ").split()))

    return test


def _name_test(key: str) -> Callable[[str], bool]:
    groups = key.split("=")[:3]
    tests = [_group_test(group) if group.strip("^ ") else None for group in groups]
    if len(groups) > 1:
        return lambda raw: all(
            test is None or test(group) for test, group in zip(tests, PersonName(raw).groups, strict=False)
        )
    only = _group_test(key)
    if fold(key).isascii():
        return lambda raw: only(next(filter(None, PersonName(raw).groups), ""))
    return lambda raw: any(only(group) for group in PersonName(raw).groups if group)


def _tokens(key: str) -> list[str]:
    """The literal pieces of a name key, folded, in order."""
    return [piece for part in re.split(r"[\^=,*?\s]+", key) if (piece := fold(part))]


def _anchored(key: str) -> bool:
    """Whether the stored name, all in one line, must begin with the key's first piece."""
    first = key.split("=")[0].strip("^ ")
    compared_with_first = "=" in key or fold(key).isascii()
    return compared_with_first and first[:1] not in ("", "*", "?", ",") and bool(_tokens(first))
