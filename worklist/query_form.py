"""The form that asks the worklist as a device would: people's dates and words become matching keys."""

from collections.abc import Mapping
from datetime import date, time
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from worklist.models import Device

STEP = "00400100"
# Fields of the form that are keys as they stand: their tag, and whether it stands in the step's item.
TEXTS = {
    "station": ("00400001", True),
    "modality": ("00080060", True),
    "performing_physician": ("00400006", True),
    "patient_name": ("00100010", False),
    "patient_id": ("00100020", False),
    "accession_number": ("00080050", False),
    "requested_procedure_id": ("00401001", False),
}
RANGES = {"00400002": ("date_from", "date_to"), "00400003": ("time_from", "time_to")}
KEYWORDS = {
    "ScheduledStationAETitle": "station",
    "ScheduledProcedureStepStartDate": "date_from",
    "ScheduledProcedureStepStartTime": "time_from",
    "Modality": "modality",
    "ScheduledPerformingPhysicianName": "performing_physician",
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "AccessionNumber": "accession_number",
    "RequestedProcedureID": "requested_procedure_id",
}


def _text(label: Any, **options: Any) -> forms.CharField:
    return forms.CharField(label=label, required=False, max_length=200, **options)


def _moment(kind: str) -> dict[str, Any]:
    format_ = "%Y-%m-%d" if kind == "date" else "%H:%M"
    widget = forms.DateInput if kind == "date" else forms.TimeInput
    return {"required": False, "widget": widget(attrs={"type": kind}, format=format_)}


class TryForm(forms.Form):
    """`devices` are those as which this person may ask; without one, any station that is not registered."""

    device = forms.ChoiceField(label=_("Ask as"), required=False)
    station = _text(_("Station AE title"))
    date_from = forms.DateField(label=_("Start date from"), **_moment("date"))
    date_to = forms.DateField(label=_("until"), **_moment("date"))
    time_from = forms.TimeField(label=_("Start time from"), **_moment("time"))
    time_to = forms.TimeField(label=_("until"), **_moment("time"))
    modality = _text(_("Modality"))
    performing_physician = _text(_("Performing physician"))
    patient_name = _text(_("Patient name"), help_text=_("FAMILY^GIVEN; * and ? stand for any characters."))
    patient_id = _text(_("Patient ID"))
    accession_number = _text(_("Accession number"))
    requested_procedure_id = _text(_("Requested procedure ID"))
    sought = _text(_("Whom do you miss?"), help_text=_("Name, patient ID, accession number or step ID."))

    def __init__(self, *args: Any, devices: list[Device], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["device"]
        field.choices = [("", _("A station that is not registered"))] + [
            (str(device.public_id), f"{device.name} ({device.station_ae_title})") for device in devices
        ]

    def keys(self) -> dict[str, Any]:
        """The keys of the identifier that a device would send, by tag."""
        given = self.cleaned_data
        step: dict[str, str] = {}
        keys: dict[str, Any] = {STEP: step}
        for name, (tag, in_step) in TEXTS.items():
            if given[name]:
                (step if in_step else keys)[tag] = given[name]
        for tag, (first, last) in RANGES.items():
            if given[first] or given[last]:
                step[tag] = _range(given[first], given[last])
        return keys


def _range(first: date | time | None, last: date | time | None) -> str:
    texts = [_dicom(each) if each else "" for each in (first, last)]
    return texts[0] if texts[0] == texts[1] else "-".join(texts)


def _dicom(value: date | time) -> str:
    return f"{value:%Y%m%d}" if isinstance(value, date) else f"{value:%H%M}"


def answers_of(keys: Mapping[str, Any]) -> dict[str, str]:
    """What the form would hold for a device's question, as far as it has fields for it."""
    step = keys.get(STEP)
    step = step if isinstance(step, Mapping) else {}
    found = {name: (step if in_step else keys).get(tag, "") for name, (tag, in_step) in TEXTS.items()}
    for tag, (first, last) in RANGES.items():
        text = str(step.get(tag, ""))
        start, dash, end = text.partition("-")
        found[first], found[last] = _people(start.strip()), _people((end if dash else start).strip())
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _people(text: str) -> str:
    """A DA or TM value as the browser's fields take it; empty for anything else."""
    if not (text.isascii() and text.isdigit()):
        return ""
    if len(text) == 8:
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return f"{text[:2]}:{text[2:4] or '00'}" if len(text) in {2, 4, 6} else ""
