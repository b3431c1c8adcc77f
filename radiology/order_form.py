"""What the order form holds between two requests: the procedures that were chosen and what was typed."""

import uuid
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.errors import RadiologyError
from radiology.models import Answer, Laterality, Order, Patient, PregnancyStatus, Priority, Procedure, Site
from radiology.services.order_fields import FIELDS, field_of
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.order_safety import questions

SIDES = [(side.value, side.label) for side in (Laterality.RIGHT, Laterality.LEFT, Laterality.BOTH)]
TEXTS = ("reason_for_the_requested_procedure", "clinical_history")
DAYS = ("last_menstrual_date", "egfr_date")
NUMBERS = ("patient_weight", "patient_size", "egfr")
LABELS = {
    "reason_for_the_requested_procedure": _("Clinical question"),
    "pregnancy_status": _("Is or may the patient be pregnant?"),
    "contrast_allergy": _("Allergic to contrast media?"),
    "contrast_allergies": _("To which, and what happened?"),
    "egfr": _("eGFR (ml/min/1.73 m²)"),
    "takes_metformin": _("Takes metformin?"),
    "egfr_date": _("Measured on"),
    "patient_state": _("Isolation, dangers for staff"),
}
CHOICES: dict[str, list[tuple[str, Any]]] = {
    "priority": [(each.value, each.label) for each in (Priority.ROUTINE, Priority.HIGH, Priority.STAT)],
    "pregnancy_status": [(value, label) for value, label in PregnancyStatus.choices if value],
    "contrast_allergy": [(value, label) for value, label in Answer.choices if value],
    "takes_metformin": [(value, label) for value, label in Answer.choices if value],
}
TRANSPORT = (_("Walks"), _("Wheelchair"), _("Bed"), _("Ambulance"))


def label_of(name: str) -> str:
    """What a field of the order is called on a page."""
    if name in LABELS:
        return str(LABELS[name])
    label = str(field_of(name).verbose_name)
    return label[:1].upper() + label[1:]


class OrderForm(forms.Form):
    """The fields of an order. What may stand in them is the service's affair; its errors stand at the fields."""

    def __init__(self, data: Any = None, *, site: Site, order: Order | None = None) -> None:
        self.zone = zoneinfo.ZoneInfo(site.time_zone)
        super().__init__(data, initial=self._initial(order))
        for name in FIELDS:
            self.fields[name] = self._field(name)

    def values(self) -> dict[str, Any]:
        """What was typed, as the service takes it; a question that was not shown was not answered."""
        given = {name: self.cleaned_data[name] for name in FIELDS if self.add_prefix(name) in self.data}
        start = given.get("requested_start")
        if start:
            try:
                given["requested_start"] = datetime.fromisoformat(start).replace(tzinfo=self.zone)
            except ValueError:
                given["requested_start"] = start
        return given

    def add(self, error: RadiologyError) -> bool:
        """Tell what the service refused at the field that it is about; whether there is such a field."""
        told: Mapping[str, str] = error.facts.get("fields") or {error.field: error.message}
        for name, message in told.items():
            if name not in self.fields:
                return False
            self.add_error(name, message)
        return True

    def _field(self, name: str) -> forms.Field:
        column = field_of(name)
        label = label_of(name)
        if name in CHOICES:
            choices = CHOICES[name]
            now = self.initial.get(name)
            if now and now not in dict(choices):  # what came by another door stays a choice
                choices = [*choices, (now, dict(column.flatchoices).get(now, now))]
            return forms.ChoiceField(label=label, choices=choices, required=False, widget=forms.RadioSelect)
        attributes = {"autocomplete": "off"}
        widget: Any = forms.TextInput(attrs=attributes)
        if name in TEXTS:
            widget = forms.Textarea(attrs={**attributes, "rows": 2})
        elif name in DAYS:
            widget = forms.DateInput(attrs={**attributes, "type": "date"}, format="%Y-%m-%d")
        elif name in NUMBERS:
            widget = forms.TextInput(attrs={**attributes, "inputmode": "decimal"})
        elif name == "requested_start":
            widget = forms.TextInput(attrs={**attributes, "type": "datetime-local"})
        elif name == "patient_transport_arrangements":
            widget = forms.TextInput(attrs={**attributes, "list": "transports"})
        return forms.CharField(label=label, required=False, widget=widget, help_text=str(column.help_text))

    def _initial(self, order: Order | None) -> dict[str, Any]:
        if order is None:
            return {"priority": Priority.ROUTINE.value}
        values = {name: getattr(order, name) for name in FIELDS}
        for name in DAYS:
            values[name] = values[name].isoformat() if values[name] else ""
        start = values["requested_start"]
        values["requested_start"] = f"{timezone.localtime(start, self.zone):%Y-%m-%dT%H:%M}" if start else ""
        return values


@dataclass
class Chosen:
    """A procedure that stands in the form."""

    procedure: Procedure
    side: str = ""
    comments: str = ""
    error: str = ""


@dataclass
class Draft:
    """The form as it stands: whose order, which procedures, which questions they ask."""

    site: Site
    patient: Patient
    chosen: list[Chosen] = field(default_factory=list)
    there: list[Procedure | None] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        """The questions of safety that matter for what was chosen and what is ordered already."""
        entries = [each.procedure for each in self.chosen]
        return questions(patient=self.patient, site=self.site, procedures=[*entries, *self.there])

    @property
    def requests(self) -> list[ProcedureRequest]:
        return [
            ProcedureRequest(procedure=each.procedure, laterality=each.side, comments=each.comments)
            for each in self.chosen
        ]

    def take(self, data: QueryDict) -> None:
        """Read what was chosen from the form that was sent: added and removed by their buttons. One query."""
        keys = [key for key in map(_uuid, data.getlist("procedure")) if key]
        added, removed = _uuid(data.get("add", "")), _uuid(data.get("remove", ""))
        keys = list(dict.fromkeys([*keys, *([added] if added else [])]))[:20]
        keys = [key for key in keys if key != removed]
        known = {each.public_id: each for each in Procedure.objects.filter(site=self.site, public_id__in=keys)}
        self.chosen = [
            Chosen(
                known[key],
                side=data.get(f"side-{key}", "")[:1],
                comments=data.get(f"comments-{key}", "")[:1000],
            )
            for key in keys
            if key in known
        ]

    def add(self, error: RadiologyError) -> bool:
        """Tell what is wrong with a procedure beside it; whether it is about one."""
        first, _dot, rest = error.field.partition(".")
        number = rest.partition(".")[0]
        if first != "procedures" or not number.isdigit() or int(number) >= len(self.chosen):
            return False
        self.chosen[int(number)].error = error.message
        return True


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
