"""What may be said about an order, whoever says it: names, and how each is read and checked."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import CharField, Field, TextField
from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import InvalidValue
from radiology.models import Order

# As they stand in the API, in forms and in the history.
FIELDS = (
    "priority",
    "reason_for_the_requested_procedure",
    "clinical_history",
    "referring_physician_name",
    "referring_physician_identifier",
    "requesting_physician",
    "requesting_physician_identifier",
    "requesting_service",
    "current_patient_location",
    "admission_id",
    "patient_transport_arrangements",
    "requested_start",
    "pregnancy_status",
    "last_menstrual_date",
    "patient_weight",
    "patient_size",
    "contrast_allergy",
    "contrast_allergies",
    "egfr",
    "egfr_date",
    "takes_metformin",
    "special_needs",
    "patient_state",
)
# Whose number it is: with another name and no number, the former number is not theirs.
IDENTIFIER_OF = {
    "referring_physician_name": "referring_physician_identifier",
    "requesting_physician": "requesting_physician_identifier",
}
# Numbers of others, given with a new order; they stay.
NUMBERS = ("placer_order_number", "filler_order_number")
LONGEST_TEXT = 10_000


def field_of(name: str) -> Field:
    found = Order._meta.get_field(name)
    assert isinstance(found, Field)
    return found


def read_values(values: Mapping[str, Any], *, allowed: tuple[str, ...]) -> dict[str, Any]:
    """The values as the order keeps them. Raises InvalidValue naming the first field that does not fit.

    Dates, moments and numbers may be given as text. An empty text, or None, takes a value away.
    """
    unknown = [name for name in values if name not in allowed]
    if unknown:
        raise InvalidValue(
            _("There is no %(name)s here; there are: %(known)s.")
            % {"name": clean(str(unknown[0]))[:64], "known": ", ".join(allowed)},
            field=clean(str(unknown[0]))[:64],
        )
    return {name: _read(name, value) for name, value in values.items()}


def _read(name: str, value: Any) -> Any:
    field = field_of(name)
    is_text = isinstance(field, CharField | TextField)
    if value is None or value == "":
        if not field.blank:
            raise InvalidValue(_("%(name)s must be given.") % {"name": field.verbose_name}, field=name)
        return "" if is_text else None
    if is_text and not isinstance(value, str):
        raise InvalidValue(_("%(name)s must be a text.") % {"name": field.verbose_name}, field=name)
    if isinstance(value, bool | dict | list):
        raise InvalidValue(_("%(name)s is malformed.") % {"name": field.verbose_name}, field=name)
    if isinstance(value, str):
        value = clean(value)
        if len(value) > LONGEST_TEXT:
            raise InvalidValue(
                _("%(name)s may have %(most)d characters.") % {"name": field.verbose_name, "most": LONGEST_TEXT},
                field=name,
            )
        if isinstance(field, CharField) and not isinstance(field, TextField) and not value.isprintable():
            raise InvalidValue(
                _("%(name)s must be one line without control characters.") % {"name": field.verbose_name}, field=name
            )
    try:
        read = field.clean(value, None)
    except (ValidationError, ValueError, TypeError, ArithmeticError) as error:
        told = " ".join(error.messages) if isinstance(error, ValidationError) else _("This is malformed.")
        raise InvalidValue(f"{field.verbose_name}: {told}", field=name) from error
    if isinstance(read, datetime) and (read.tzinfo is None or not 1 < read.year < 9999):
        raise InvalidValue(_("Give the moment with its zone, such as 2026-01-25T08:00:00+07:00."), field=name)
    return read


def require_sense(order: Order) -> None:
    """Raises InvalidValue for values that nobody has."""
    checks = (
        ("patient_weight", order.patient_weight, 0, 700),
        ("patient_size", order.patient_size, 0, 3),
        ("egfr", order.egfr, 0, 300),
    )
    for name, value, least, most in checks:
        if value is not None and not least <= value <= most:
            raise InvalidValue(
                _("%(name)s must lie between %(least)d and %(most)d.")
                % {"name": field_of(name).verbose_name, "least": least, "most": most},
                field=name,
            )


def as_text(value: Any) -> Any:
    """A value as the history keeps it, in JSON."""
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
