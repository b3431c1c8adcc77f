"""What people are called in the hospital's messages, beside their account."""

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.forms import PaginationInlineFormSet

from radiology.admin.model_admin import ScopedTabularInline, SinarModelAdmin, ViewOnly
from radiology.models import PersonalResult, PractitionerTie
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


@admin.register(PractitionerTie)
class PractitionerTieAdmin(ViewOnly, SinarModelAdmin):
    """Who has which name: changed on the page of the user."""

    site_path = "user__site"
    list_display = ["kind", "value", "user"]
    list_select_related = ["user"]
    ordering = ["id"]
    search_fields = ["=key", "=user__username"]
    search_help_text = gettext_lazy("The number, name or ward as it is compared, or a user name")


@admin.register(PersonalResult)
class PersonalResultAdmin(ViewOnly, SinarModelAdmin):
    site_path = "site"
    list_display = ["requested_procedure_ref", "user", "state", "is_new", "at", "site"]
    list_filter = ["site"]
    list_select_related = ["requested_procedure_ref", "user", "site"]
    ordering = ["-id"]
    search_fields = ["=user__username", "=requested_procedure_ref__study_instance_uid"]
    search_help_text = gettext_lazy("User name or Study Instance UID")
