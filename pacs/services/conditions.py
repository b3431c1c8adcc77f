"""Matchers as conditions on the archive's tables. Each narrows; rows are asked again where it is not exact."""

import re
from collections.abc import Collection
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import BooleanField, F, Func, Q, QuerySet

from pacs.models import PatientModality, RequestAttributes, Series
from pacs.services.attributes import Attribute, Kind, Level
from pacs.services.matching import NOTHING, NUMBER_VR, DateRanges, FuzzyName, Matcher, Name, Text, UidList, any_of
from radiology.dicom import fold
from radiology.models import Patient, PatientIdentifier, PatientNameWord, Site

# Levels on which other attributes are kept as JSON: those of the patient stand on the study too.
JSON_OF = {Level.PATIENT: Level.STUDY, Level.STUDY: Level.STUDY, Level.SERIES: Level.SERIES}
FEW_PATIENTS = 1000
MOST_LISTED = 20_000


class IsOneOf(Func):
    """Whether a column is one of the values of a query, which is asked once, and then the column's index for them."""

    template = "%(expressions)s)"
    arg_joiner = " = ANY ("
    output_field = BooleanField()

    def __init__(self, column: str, values: QuerySet[Any, Any]) -> None:
        super().__init__(F(column), ArraySubquery(values))


def column_condition(each: Attribute, matcher: Matcher, prefix: str) -> Q:
    """Rows whose column may match; `prefix` is the ORM's path to the row that has it."""
    if each.keyword == "PatientName":
        return _patient_name(matcher, prefix)
    return matcher.condition(prefix + (each.search or each.column))


def empty_condition(each: Attribute, prefix: str) -> Q:
    """Rows where the attribute has no value."""
    if each.vr in NUMBER_VR:
        return Q(**{f"{prefix}{each.column}__isnull": True})
    column = "patient_name_sort" if each.keyword == "PatientName" else each.column
    return Q(**{prefix + column: ""})


def set_condition(each: Attribute, matcher: Matcher, prefix: str) -> Q:
    """Rows whose array holds one of the values; patterns are left to the matcher."""
    if isinstance(matcher, UidList) or (isinstance(matcher, Text) and not matcher.has_patterns):
        if each.keyword == "ModalitiesInStudy" and not _was_ever_here(matcher.values):
            return NOTHING
        return Q(**{f"{prefix}{each.column}__overlap": matcher.values})
    return Q(**{f"{prefix}{each.column}__len__gt": 0})


def _was_ever_here(modalities: list[str]) -> bool:
    """Whether there is a series of one of them: others would be looked for to the end of the archive."""
    return Series.objects.filter(site__in=Site.objects.values("pk"), modality__in=modalities).exists()


def json_condition(each: Attribute, matcher: Matcher, prefix: str) -> Q:
    """Rows whose JSON has the attribute, with the value where that can be asked so."""
    column = f"{prefix}attributes"
    if isinstance(matcher, UidList) or (isinstance(matcher, Text) and not matcher.has_patterns and each.vr != "DS"):
        return any_of(Q(**{f"{column}__contains": {each.tag: {"Value": [value]}}}) for value in matcher.values)
    return Q(**{f"{column}__has_key": each.tag})


def rows_condition(each: Attribute, wanted: Q, prefix: str) -> Q:
    """Rows that have one related row, an item, for which all of `wanted` holds."""
    if each.kind == Kind.ITEM:
        return Q(*[_prefixed(child, prefix) for child in wanted.children], _connector=wanted.connector)
    related: Any = RequestAttributes if each.column == "request_attributes" else PatientIdentifier
    owner = "series_ref" if related is RequestAttributes else "patient_ref"
    return Q(**{f"{prefix}pk__in": related.objects.filter(wanted).values(owner)})


def _prefixed(child: Any, prefix: str) -> Any:
    if isinstance(child, Q):
        return Q(*[_prefixed(each, prefix) for each in child.children], _connector=child.connector)
    return prefix + child[0], child[1]


def _patient_name(matcher: Matcher, prefix: str) -> Q:
    if isinstance(matcher, FuzzyName):
        return any_of(_words(words, prefix) for words in matcher.words)
    assert isinstance(matcher, Name)
    found = matcher.condition(f"{prefix}patient_name_search")
    starts = matcher.prefixes()
    if all(starts):
        found &= any_of(Q(**{f"{prefix}patient_name_sort__startswith": start}) for start in starts)
    elif not any(starts):
        beginnings = _beginnings(matcher)
        if beginnings:
            found &= any_of(_words([word], prefix) for word in beginnings)
    return found


def _words(words: list[str], prefix: str) -> Q:
    """Patients whose name has, for each of `words`, a word that begins with it."""
    named: Any = None
    for word in words:
        found = PatientNameWord.objects.filter(word__startswith=word[:60])
        named = (found if named is None else found.filter(patient_ref__in=named)).values("patient_ref")
    return Q(**{f"{prefix}pk__in": named})


def few_patients(matcher: Matcher, *, unnamed: bool) -> list[int] | None:
    """The patients whose name may match, where they are few and no other index leads to their studies; others are met
    soon enough. `unnamed` adds those without a name."""
    if not isinstance(matcher, Name) or any(matcher.prefixes()) or _beginnings(matcher) or _begins_many(matcher):
        return None
    named = _listed(matcher, unnamed)
    found = [list(each.values_list("pk", flat=True)[: FEW_PATIENTS + 1]) for each in named]
    return _few(found)


def _begins_many(matcher: Name) -> bool:
    """Whether a value is a part with which the words of many names begin: to list those who have it is in vain."""
    alone = (parts[0] for parts in matcher.parts() if len(parts) == 1)
    return any(having_word(part[:60])[FEW_PATIENTS : FEW_PATIENTS + 1].exists() for part in alone)


def few_examined(matcher: Matcher, *, modalities: Collection[str], unnamed: bool) -> list[int] | None:
    """The patients whose name may match and who have studies of one of `modalities`, where they are few."""
    found = []
    for named in _listed(matcher, unnamed):
        if named[MOST_LISTED : MOST_LISTED + 1].exists():
            return None
        examined = PatientModality.objects.filter(IsOneOf("patient_ref_id", named.values("pk")))
        patients = examined.filter(modality__in=modalities).values_list("patient_ref", flat=True)
        found.append(list(patients[: FEW_PATIENTS + 1]))
    return _few(found)


def _few(found: list[list[int]]) -> list[int] | None:
    """All of them together, where none are more than few."""
    return [pk for each in found for pk in each] if found and all(len(each) <= FEW_PATIENTS for each in found) else None


def _listed(matcher: Matcher, unnamed: bool) -> list[QuerySet[Patient]]:
    """Patients whose name may match, by an index, for each value; none where there is no such index."""
    named: list[QuerySet[Patient]] = []
    if isinstance(matcher, FuzzyName):
        named = [_having_words(words) for words in matcher.words]
    elif isinstance(matcher, Name):
        matching = Patient.objects.filter(matcher.condition("patient_name_search"))
        starts, beginnings, parts = matcher.prefixes(), _beginnings(matcher), matcher.parts()
        if all(starts):
            named = [matching.filter(patient_name_sort__startswith=start) for start in starts]
        elif beginnings:
            named = [matching & _having_words([word]) for word in beginnings]
        elif all(any(len(part) > 2 for part in each) for each in parts):
            named = [matching.holding(each) for each in parts]
    return [*named, Patient.objects.filter(patient_name_sort="")] if named and unnamed else named


def _having_words(words: list[str]) -> QuerySet[Patient]:
    return Patient.objects.filter(*(IsOneOf("pk", having_word(word[:60])) for word in words))


def having_word(beginning: str) -> QuerySet[Any, Any]:
    """The patients with a word in their name that begins so."""
    return PatientNameWord.objects.filter(word__startswith=beginning).values("patient_ref")


def _beginnings(matcher: Name) -> list[str]:
    """Of each value the beginning of a word that all matching names have; empty where one value has none."""
    beginnings = [_first_word(value) for value in matcher.values]
    return beginnings if all(beginnings) else []


def _first_word(key: str) -> str:
    """The beginning of a word that every name matching `key` has; empty where the key begins with a wild card."""
    first = re.split(r"[\^,*?\s]", key.lstrip("=^ "))[0] if "=" not in key.strip("=") else ""
    words = re.findall(r"[^\W_]+", fold(first))
    return words[0] if words else ""


def sorted_within(matcher: DateRanges) -> Q:
    """Where such studies stand in the list newest first: `sort_at` is their date and time in some time zone."""
    within = Q()
    first, last = min(first for first, _ in matcher.ranges), max(last for _, last in matcher.ranges)
    if first.year > 1:
        within &= Q(sort_at__gte=datetime.combine(first - timedelta(days=2), time(0), UTC))
    if last.year < 9999:
        within &= Q(sort_at__lt=datetime.combine(last + timedelta(days=3), time(0), UTC))
    return within
