"""What people are called in the hospital's messages, beside their account."""

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from unfold.forms import PaginationInlineFormSet

from radiology.admin.model_admin import ScopedTabularInline
from radiology.models import PractitionerTie
from radiology.models.practitioner import tie_key


class TieFormSet(PaginationInlineFormSet):
    """Refuses what stands there twice, however it is written."""

    def clean(self) -> None:
        super().clean()
        seen: set[tuple[str, str]] = set()
        for form in self.forms:
            given = getattr(form, "cleaned_data", {})
            if not given.get("value") or given.get("DELETE"):
                continue
            key = (given.get("kind", ""), tie_key(given.get("kind", ""), given["value"]))
            if key in seen:
                raise ValidationError(_("%(value)s stands here twice.") % {"value": given["value"]})
            seen.add(key)


class PractitionerTieInline(ScopedTabularInline):
    """Ties a user to numbers, names and wards: orders that carry one are theirs, and so are the results."""

    model = PractitionerTie
    formset = TieFormSet
    fields = ["kind", "value"]
    ordering = ["id"]
