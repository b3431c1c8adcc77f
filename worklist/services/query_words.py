"""A worklist query, and why it refuses an examination, in the words of the people who stand at the device."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import formats
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from pydicom.datadict import dictionary_description, dictionary_VR

from pacs.services.attributes import keyword_of
from radiology.dicom import PersonName, parse_da, parse_tm
from worklist.models import ScheduledProcedureStep, WorklistReach
from worklist.services.modality_worklist import TITLES, KeyTest, WorklistSearch
from worklist.services.start_interval import DATE, TIME
from worklist.services.worklist_rules import Rule, RuleName

# Keys that have a name in the trade; the others go by the name that DICOM gives them.
LABELS: dict[str, str | Promise] = {
    TITLES: gettext_lazy("station"),
    DATE: gettext_lazy("start date"),
    TIME: gettext_lazy("start time"),
    "Modality": gettext_lazy("modality"),
    "ScheduledPerformingPhysicianName": gettext_lazy("performing physician"),
    "ScheduledProcedureStepDescription": gettext_lazy("examination"),
    "ScheduledStationName": gettext_lazy("station name"),
    "ScheduledProcedureStepLocation": gettext_lazy("room"),
    "ScheduledProcedureStepID": gettext_lazy("step ID"),
    "ScheduledProcedureStepStatus": gettext_lazy("step status"),
    "RequestedProcedureID": gettext_lazy("requested procedure ID"),
    "RequestedProcedureDescription": gettext_lazy("procedure"),
    "RequestedProcedurePriority": gettext_lazy("priority"),
    "StudyInstanceUID": "Study Instance UID",
    "AccessionNumber": gettext_lazy("accession number"),
    "RequestingPhysician": gettext_lazy("requesting physician"),
    "ReferringPhysicianName": gettext_lazy("referring physician"),
    "AdmissionID": gettext_lazy("admission ID"),
    "CurrentPatientLocation": gettext_lazy("patient's location"),
    "PatientName": gettext_lazy("patient name"),
    "PatientID": gettext_lazy("patient ID"),
    "IssuerOfPatientID": gettext_lazy("issuer of patient ID"),
    "PatientBirthDate": gettext_lazy("birth date"),
    "PatientSex": gettext_lazy("sex"),
}


@dataclass(frozen=True)
class KeyInWords:
    """A key that has a value. `keyword` is empty for a private one."""

    keyword: str
    label: str
    value: str


def label_of(keyword: str) -> str:
    if keyword in LABELS:
        return str(LABELS[keyword])
    try:
        return dictionary_description(keyword)
    except (KeyError, ValueError):
        return keyword


def keys_in_words(keys: Mapping[str, Any]) -> list[KeyInWords]:
    """The keys of a question that have a value, those within sequences too."""
    return list(_described(keys))


def _described(keys: Mapping[str, Any]) -> Iterator[KeyInWords]:
    for name, value in keys.items():
        if isinstance(value, Mapping):
            yield from _described(value)
        elif value:
            keyword = keyword_of(name) or name
            yield KeyInWords(keyword, label_of(keyword), value_in_words(keyword, value))


def value_in_words(keyword: str, text: str) -> str:
    """The text of a key as people write such values; what is no such value stays as it came."""
    try:
        vr = dictionary_VR(keyword)
    except (KeyError, ValueError):
        return text
    parts = text.split("\\")
    if vr in {"DA", "TM"}:
        return ", ".join(_range_in_words(vr, part) for part in parts)
    if vr == "PN":
        return ", ".join(PersonName(part).display or part for part in parts)
    return ", ".join(parts)


def _range_in_words(vr: str, text: str) -> str:
    first, dash, last = (part.strip() for part in text.partition("-"))
    words = _day if vr == "DA" else _clock
    if not dash:
        return words(first)
    if first and last:
        return f"{words(first)} – {words(last)}"
    if first:
        return _("from %(start)s") % {"start": words(first)}
    return _("until %(end)s") % {"end": words(last)} if last else text


def _day(text: str) -> str:
    day = parse_da(text)
    return formats.date_format(day, "j M Y") if day else text


def _clock(text: str) -> str:
    moment = parse_tm(text)
    return formats.time_format(moment, "H:i:s" if moment.second else "H:i") if moment else text


def refusal_in_words(refusal: Rule | KeyTest, step: ScheduledProcedureStep, search: WorklistSearch) -> str:
    """Why this examination is not told of."""
    return _rule(refusal, step, search) if isinstance(refusal, Rule) else _key(refusal, step, search)


def _rule(rule: Rule, step: ScheduledProcedureStep, search: WorklistSearch) -> str:
    order = step.requested_procedure_ref.order_ref
    if rule.name == RuleName.IN_USE:
        return _("This device is marked as not in use.")
    if rule.name == RuleName.STATUS:
        return _("It is no longer open: %(status)s.") % {"status": step.get_status_display()}
    if rule.name == RuleName.ORDER:
        return _("Its order is not active: %(status)s.") % {"status": order.get_status_display()}
    if rule.name == RuleName.TIME:
        return _("It has no time yet: put it on the calendar.")
    if rule.name == RuleName.IDENTITY:
        return _("Its patient has no ID or no name yet.")
    return _reach(step, search) if rule.name == RuleName.REACH else _days(step, search)


def _reach(step: ScheduledProcedureStep, search: WorklistSearch) -> str:
    device = search.station.device
    assert device is not None
    if device.worklist_reach == WorklistReach.STATION:
        stations = ", ".join(step.scheduled_station_ae_titles) or _("no station")
        return _("This device is shown its own examinations only; this one is for %(stations)s.") % {
            "stations": stations
        }
    if device.worklist_reach == WorklistReach.ROOM:
        return _("This device is shown the examinations of room %(room)s only; this one is in %(other)s.") % {
            "room": device.room,
            "other": step.room or _("no room"),
        }
    return _("This device is shown examinations of modality %(modality)s only; this one is %(other)s.") % {
        "modality": device.modality,
        "other": step.modality,
    }


def _days(step: ScheduledProcedureStep, search: WorklistSearch) -> str:
    days = search.station.days(search.now)
    assert days is not None and step.scheduled_start is not None
    return _("This device is shown %(first)s to %(last)s; this one is on %(day)s.") % {
        "first": formats.date_format(days[0], "j M Y"),
        "last": formats.date_format(days[1], "j M Y"),
        "day": formats.date_format(step.scheduled_start.astimezone(search.station.zone), "j M Y"),
    }


def _key(test: KeyTest, step: ScheduledProcedureStep, search: WorklistSearch) -> str:
    if test.keywords[0] in (DATE, TIME):
        return _("Asks for %(asked)s; this one starts %(stored)s.") % {
            "asked": _asked(test),
            "stored": _start(step, search),
        }
    keyword = test.keywords[0]
    stored = [value_in_words(keyword, text) for text in test.stored(step, search.context)]
    facts = {"key": label_of(keyword), "asked": _asked(test), "stored": ", ".join(stored)}
    if keyword == TITLES:
        return _("Asks for station %(asked)s; this one is scheduled for %(stored)s.") % facts
    if keyword == "Modality":
        return _("Asks for modality %(asked)s; this one is %(stored)s.") % facts
    if not any(stored):
        return _("Asks for %(key)s “%(asked)s”; this one has none.") % facts
    return _("Asks for %(key)s “%(asked)s”; this one has “%(stored)s”.") % facts


def _asked(test: KeyTest) -> str:
    if len(test.keywords) == 1:
        return value_in_words(test.keywords[0], test.asked)
    return " ".join(
        value_in_words(keyword, text) for keyword, text in zip(test.keywords, test.asked.split(" ", 1), strict=False)
    )


def _start(step: ScheduledProcedureStep, search: WorklistSearch) -> str:
    if step.scheduled_start is None:
        return _("at no time yet")
    local: datetime = step.scheduled_start.astimezone(search.context.zone)
    return formats.date_format(local, "j M Y H:i")
