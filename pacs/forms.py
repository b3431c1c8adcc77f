from datetime import date, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from pacs.services.search import Criteria, Order
from pacs.study_list import query_of
from radiology.models import SavedFilter

MODALITY_NAMES = {
    "CR": _("X-ray (CR)"),
    "DX": _("X-ray (DX)"),
    "CT": _("CT"),
    "MR": _("MRI"),
    "US": _("Ultrasound"),
    "MG": _("Mammography"),
    "RF": _("Fluoroscopy"),
    "XA": _("Angiography"),
    "NM": _("Nuclear medicine"),
    "PT": _("PET"),
    "IO": _("Intra-oral"),
    "PX": _("Panoramic"),
    "ES": _("Endoscopy"),
    "XC": _("Photography"),
    "SC": _("Secondary capture"),
    "BMD": _("Bone densitometry"),
    "OP": _("Ophthalmic photography"),
    "ECG": _("Electrocardiography"),
    "RTDOSE": _("Radiotherapy dose"),
    "RTPLAN": _("Radiotherapy plan"),
    "DOC": _("Document"),
    "SR": _("Structured report"),
    "OT": _("Other"),
}
DAYS = [
    ("", _("All days")),
    ("today", _("Today")),
    ("yesterday", _("Yesterday")),
    ("week", _("7 days")),
    ("range", _("From – to")),
]
ORDERS = [
    (Order.DATE.value, _("By date")),
    (Order.ARRIVAL.value, _("By arrival")),
    (Order.NAME.value, _("By patient name")),
]
EARLIEST = date(1895, 1, 1)


class DayInput(forms.DateInput):
    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d", attrs={"class": "form-control"})


class StudySearchForm(forms.Form):
    """The filters above a list of studies, as they stand in its address."""

    q = forms.CharField(required=False, max_length=200, strip=True)
    modality = forms.ChoiceField(
        required=False,
        choices=[("", _("All modalities")), *MODALITY_NAMES.items()],
        widget=forms.Select({"class": "form-select"}),
    )
    day = forms.ChoiceField(required=False, choices=DAYS)
    start = forms.DateField(required=False, widget=DayInput())
    end = forms.DateField(required=False, widget=DayInput())
    patient = forms.UUIDField(required=False)
    order = forms.ChoiceField(required=False, choices=ORDERS, widget=forms.Select({"class": "form-select"}))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("day") != "range":
            return cleaned
        start, end = cleaned.get("start"), cleaned.get("end")
        if start and end and start > end:
            self.add_error("end", _("The last day lies before the first one."))
        for name in ("start", "end"):
            if cleaned.get(name) and not EARLIEST <= cleaned[name] <= date(9990, 1, 1):
                self.add_error(name, _("There are no studies of that year."))
        return cleaned

    @property
    def criteria(self) -> Criteria:
        """What is asked for; a field with an error asks for nothing."""
        self.is_valid()
        values = self.cleaned_data
        today = timezone.localdate()
        days: dict[str, tuple[date | None, date | None]] = {
            "today": (today, today),
            "yesterday": (today - timedelta(days=1), today - timedelta(days=1)),
            "week": (today - timedelta(days=6), None),
            "range": (values.get("start"), values.get("end")),
        }
        start, end = days.get(values.get("day", ""), (None, None))
        text = values.get("q", "").replace("\x00", "")
        order = Order(values.get("order") or Order.DATE)
        return Criteria(text, values.get("modality", ""), start, end, values.get("patient"), order)


class SavedFilterForm(forms.ModelForm):
    """A name for the search that the list shows, and whether the list opens with it."""

    class Meta:
        model = SavedFilter
        fields = ["name", "query", "is_default"]

    def clean_query(self) -> str:
        query = query_of(self.cleaned_data["query"], StudySearchForm.base_fields)
        if not query:
            raise forms.ValidationError(_("Search for something first: an empty search needs no name."))
        return query
