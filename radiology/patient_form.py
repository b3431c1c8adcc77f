"""The form of a patient, for registering and for changing."""

import uuid
from typing import Any

from django import forms
from django.utils import formats
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from radiology.dicom import PersonName, parse_da, person_name_of
from radiology.errors import RadiologyError
from radiology.models import IdentifierKind, Patient

NUMBERS = {"nik": IdentifierKind.NIK, "bpjs": IdentifierKind.BPJS, "passport": IdentifierKind.PASSPORT}
SEXES = [
    ("F", pgettext_lazy("sex", "Female")),
    ("M", pgettext_lazy("sex", "Male")),
    ("O", pgettext_lazy("sex", "Other")),
    ("", pgettext_lazy("sex", "Unknown")),
]


class PatientForm(forms.Form):
    """What the desk types. What may stand in a field is the service's affair; its errors stand at the fields."""

    patient_name = forms.CharField(label=_("Name"), max_length=400, help_text=_("As it is written: Dewi Sari"))
    patient_birth_date = forms.CharField(
        label=_("Birth date"), max_length=40, required=False, help_text=_("For example 31/01/1970")
    )
    patient_sex = forms.ChoiceField(label=_("Sex"), choices=SEXES, required=False, widget=forms.RadioSelect)
    nik = forms.CharField(label=_("NIK"), max_length=80, required=False, help_text=_("16 digits"))
    bpjs = forms.CharField(label=_("BPJS number"), max_length=80, required=False, help_text=_("13 digits"))
    passport = forms.CharField(label=_("Passport number"), max_length=64, required=False)
    patient_id = forms.CharField(label=_("MRN"), max_length=80, required=False, help_text=_("Empty: the next number"))
    patient_telephone_numbers = forms.CharField(label=_("Telephone"), max_length=120, required=False)
    patient_address = forms.CharField(
        label=_("Address"), max_length=400, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    patient_mother_birth_name = forms.CharField(label=_("Mother's birth name"), max_length=400, required=False)
    allergies = forms.CharField(label=_("Allergies"), max_length=600, required=False)
    medical_alerts = forms.CharField(label=_("Alerts"), max_length=600, required=False)
    patient_comments = forms.CharField(
        label=_("Comments"), max_length=2200, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    reason = forms.CharField(label=_("Reason"), max_length=200, required=False)
    key = forms.UUIDField(widget=forms.HiddenInput, required=False)
    version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def __init__(self, data: Any = None, *, patient: Patient | None = None, **kwargs: Any) -> None:
        self.patient = patient
        initial = initial_of(patient) if patient else {"key": uuid.uuid4(), "patient_sex": None}
        super().__init__(data, initial=initial, **kwargs)
        for name, field in self.fields.items():
            if not isinstance(field.widget, forms.RadioSelect | forms.HiddenInput):
                field.widget.attrs |= {"class": "form-control", "autocomplete": "off", "spellcheck": "false"}
            if field.help_text and not self.data:
                field.widget.attrs["aria-describedby"] = f"id_{name}_help"
            field.widget.attrs.pop("maxlength", None)  # what is too long is told, not cut off
        if patient is not None:
            self.fields["patient_id"].help_text = ""
        else:
            self.fields["patient_name"].widget.attrs["autofocus"] = True

    def values(self) -> dict[str, str]:
        """The fields as the service takes them."""
        given = self.cleaned_data
        before = self.patient
        names = [name for name in given if name.startswith("patient_") or name in {"allergies", "medical_alerts"}]
        values = {name: given[name] or "" for name in names}
        for name in ("patient_name", "patient_mother_birth_name"):
            values[name] = person_name_of(values[name], before=getattr(before, name) if before else "")
        if before is not None and values["patient_birth_date"] == initial_of(before)["patient_birth_date"]:
            del values["patient_birth_date"]  # also one that is no date, as it came with images
        return values

    def identifiers(self) -> list[dict[str, str]]:
        """All other numbers: those of the form, and those that it does not show."""
        typed = [
            {"kind": kind.value, "value": self.cleaned_data[name], "issuer": self._issuer(kind)}
            for name, kind in NUMBERS.items()
            if self.cleaned_data[name]
        ]
        return typed + [
            {"kind": each.kind, "value": each.value, "issuer": each.issuer}
            for each in (self.patient.identifiers.all() if self.patient else [])
            if each.kind not in NUMBERS.values()
        ]

    def add(self, error: RadiologyError) -> None:
        """Tell what the service refused at the field that it is about."""
        field = error.field
        if field == "identifiers":
            kinds = {"NIK": "nik", "BPJS": "bpjs"}
            field = next((name for word, name in kinds.items() if word in error.message), "passport")
        self.add_error(field if field in self.fields else None, error.message)

    def _issuer(self, kind: IdentifierKind) -> str:
        """Who issued that number as it stands now: the form does not ask."""
        known = [each.issuer for each in self.patient.identifiers.all() if each.kind == kind] if self.patient else []
        return known[0] if known else ""


def initial_of(patient: Patient) -> dict[str, Any]:
    """What stands in the form when it opens."""
    born = parse_da(patient.patient_birth_date)
    numbers = {each.kind: each.value for each in patient.identifiers.all()}
    same = ("patient_sex", "patient_id", "patient_telephone_numbers", "patient_address", "allergies")
    return {
        **{name: getattr(patient, name) for name in (*same, "medical_alerts", "patient_comments", "version")},
        **{name: numbers.get(kind, "") for name, kind in NUMBERS.items()},
        "patient_name": PersonName(patient.patient_name.split("=")[0]).display or patient.display_name,
        "patient_mother_birth_name": PersonName(patient.patient_mother_birth_name.split("=")[0]).display,
        "patient_birth_date": formats.date_format(born, "d/m/Y") if born else patient.patient_birth_date,
    }
