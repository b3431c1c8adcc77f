"""Programs that call in, and their tokens."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from radiology.admin.model_admin import NeverDeleted
from radiology.admin.people import SmallTable
from radiology.models import ApiClient, ApiToken, AuditAction, Scope
from radiology.services import access, audit


@admin.register(ApiClient)
class ApiClientAdmin(NeverDeleted, SmallTable):
    """A client that is made inactive shuts all its tokens out at once."""

    site_path = "site"
    list_display = ["name", "site", "is_active", "addresses", "requests_per_minute", "created_at"]
    list_filter = ["is_active", "site"]
    list_select_related = ["site"]
    search_fields = ["name"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A program that reads or stores through the web: the hospital system, a viewer, a script. "
                    "It sees the patients and images of its site. When it is not active, none of its tokens works."
                ),
                "fields": ("name", "site", "is_active", "addresses", "requests_per_minute", "created_at"),
            },
        ),
    )
    readonly_fields = ["created_at"]


# What each scope opens, told to whoever gives it; the scope itself is what documents and programs name.
OPENS = {
    Scope.STUDIES_READ: _("search, look at and download patients and studies (studies.read)"),
    Scope.STUDIES_WRITE: _("store images, correct and reject studies (studies.write)"),
    Scope.STUDIES_DELETE: _("delete studies, see what was deleted, restore it (studies.delete)"),
    Scope.STUDIES_SHARE: _("hand out tokens and links that open studies without signing in (studies.share)"),
    Scope.ORDERS_WRITE: _("place, change and cancel orders (orders.write)"),
    Scope.SCHEDULE_WRITE: _("put examinations on the schedule (schedule.write)"),
    Scope.STEPS_WRITE: _("report arrival, start and end of examinations (steps.write)"),
    Scope.PATIENTS_WRITE: _("find, register and change patients (patients.write)"),
    Scope.REPORTS_WRITE: _("attach reports that were written elsewhere (reports.write)"),
    Scope.WEBHOOKS_WRITE: _("be told of events by webhooks (webhooks.write)"),
    Scope.FIGURES_READ: _("read the figures of the department (figures.read)"),
    Scope.PATIENTS_MERGE: _("merge patients, and take a merge back (patients.merge)"),
}


class ApiTokenForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        label=_("What it opens"),
        choices=[(scope.value, OPENS[scope]) for scope in Scope],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        initial=[Scope.STUDIES_READ],
        help_text=_("Give each program no more than it needs: a hospital system that shows images only searches."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "expires_at" in self.fields:
            self.fields["expires_at"].help_text = _(
                "From this moment on it opens nothing. Empty: it works until somebody revokes it. "
                "For a trial or a visiting supplier, set a day."
            )

    def clean_expires_at(self) -> Any:
        moment = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise forms.ValidationError(_("This moment has passed already."))
        return moment


class StateFilter(admin.SimpleListFilter):
    """Those that work, and those that do not any longer."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("works", _("Works")),
            ("expired", _("Expired")),
            ("revoked", _("Revoked")),
            ("unused", _("Never used")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
        now = timezone.now()
        alive = queryset.filter(revoked_at=None)
        match self.value():
            case "works":
                return alive.filter(Q(expires_at=None) | Q(expires_at__gt=now), client__is_active=True)
            case "expired":
                return alive.filter(expires_at__lte=now)
            case "revoked":
                return queryset.exclude(revoked_at=None)
            case "unused":
                return queryset.filter(last_used_at=None)
        return queryset


@admin.register(ApiToken)
class ApiTokenAdmin(NeverDeleted, SmallTable):
    """Made here, shown once, revoked when it has leaked or is no longer needed."""

    form = ApiTokenForm
    site_path = "client__site"
    list_display = ["client", "begins_with", "opens", "state", "created_at", "expires_at", "last_used_at"]
    list_filter = [StateFilter, ("client", AutocompleteSelectFilter)]
    list_select_related = ["client"]
    search_fields = ["client__name", "prefix"]
    search_help_text = _("Client, or how the token begins")
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A program sends its token with every request: “Authorization: Bearer …”. The text is shown "
                    "once, after saving: copy it into the program then. Only a digest of it is kept; a lost token "
                    "is revoked and another one made. A program sees the site of its client. What there is to call "
                    "stands at /api/v1/docs, where a token can be tried."
                ),
                "fields": ("client", "scopes", "expires_at"),
            },
        ),
    )
    actions = ["revoke"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("radiology.change_apitoken")

    @admin.display(description=_("begins with"))
    def begins_with(self, token: ApiToken) -> str:
        return f"{token.prefix}…"

    @admin.display(description=_("opens"))
    def opens(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @display(
        description=_("state"),
        label={"works": "success", "revoked": "danger", "expired": "warning", "shut out": "danger"},
    )
    def state(self, token: ApiToken) -> tuple[str, Any]:
        if token.revoked_at:
            return "revoked", _("Revoked")
        if not token.client.is_active:
            return "shut out", _("Its client is not active")
        if token.expires_at and token.expires_at <= timezone.now():
            return "expired", _("Expired")
        return "works", _("Works")

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        token, text = access.issue_token(name=obj.client.name, scopes=obj.scopes, expires_at=obj.expires_at)
        obj.__dict__.update(token.__dict__)
        messages.warning(
            request, _("Copy this token now, it is not shown again: %(token)s") % {"token": text}, extra_tags="token"
        )

    @admin.action(description=_("Revoke: from now on they open nothing"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        count = 0
        for token in queryset.filter(revoked_at=None):
            access.revoke_token(token=token)
            audit.record(
                event="admin",
                action=AuditAction.UPDATE,
                who=request.user,
                address=audit.address_of(request),
                detail={"model": "radiology.ApiToken", "id": token.pk, "changed": ["revoked_at"]},
            )
            count += 1
        self.message_user(
            request,
            ngettext("%(count)d token was revoked.", "%(count)d tokens were revoked.", count) % {"count": count},
            messages.SUCCESS,
        )
