"""What a performed step says, on a page."""

from django import template
from django.utils.formats import number_format

from worklist.models import PerformedProcedureStep
from worklist.services.dose import Dose, dose_of

register = template.Library()


@register.filter
def dose(performed: PerformedProcedureStep) -> Dose:
    """Dose and exposure that it reports; false when it reports none."""
    return dose_of(performed=performed)


@register.filter
def measure(value: float | None) -> str:
    """A number as people write it, without zeros behind it; a dash for none."""
    if value is None:
        return "—"
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return number_format(text, use_l10n=True)
