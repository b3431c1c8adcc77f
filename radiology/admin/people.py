"""Sites, people who sign in, and what they may do."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from radiology.admin.model_admin import NeverDeleted, SinarModelAdmin, ViewOnly
from radiology.admin.practitioners import PractitionerTieInline
from radiology.admin.rights import may_manage, rights_of, roles_within
from radiology.models import Role, SavedFilter, Site, User
from radiology.services.personal_results import match_soon


class SmallTable(SinarModelAdmin):
    """A table that a hospital's staff wrote by hand: any part of a word may be searched."""

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        condition = Q()
        for word in search_term.replace("\x00", "").split():
            condition &= Q(*((f"{field}__icontains", word) for field in self.search_fields), _connector=Q.OR)
        return queryset.filter(condition), False


@admin.register(Site)
class SiteAdmin(NeverDeleted, SmallTable):
    list_display = ["name", "code", "time_zone", "issuer_of_patient_id"]
    list_filter = ["time_zone"]
    search_fields = ["name", "code"]
    search_help_text = _("Name or code")
    ordering = ["id"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A hospital or clinic. Every patient, order, study and user belongs to one site, and people see "
                    "their own site only. One site is enough for one hospital."
                ),
                "fields": ("name", "code", "time_zone"),
            },
        ),
        (
            _("Medical record numbers"),
            {
                "description": _(
                    "Two hospitals may give the same number to different people. The issuer tells them apart: give "
                    "each site its own as soon as there is a second one."
                ),
                "fields": (
                    "issuer_of_patient_id",
                    "mrn_pattern",
                    "temporary_mrn_pattern",
                    "temporary_name_pattern",
                ),
            },
        ),
        (
            _("Accession numbers"),
            {
                "description": _(
                    "Each order gets a number by which its images and its report are found. It rises, is never given "
                    "out twice, and steps over numbers that other systems brought along."
                ),
                "fields": ("accession_pattern",),
            },
        ),
        (
            _("Deleting and rejecting"),
            {
                "description": _(
                    "Nothing that a person deletes or rejects is gone at once: it is hidden everywhere, and can be "
                    "restored from the page of its study or the list of removals."
                ),
                "fields": ("keeps_deleted_for", "resent_deleted", "shows_rejected_for_quality"),
            },
        ),
        (
            _("Reports"),
            {
                "description": _(
                    "A published report is stored in its study. A report that is withdrawn is taken out again, "
                    "whatever is chosen here."
                ),
                "fields": ("report_objects",),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Site]:
        found = super().get_queryset(request)
        user: Any = request.user
        return found if user.is_superuser else found.filter(pk=user.site_id)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A site more is a decision of those who see all sites."""
        user: Any = request.user
        return user.is_superuser and super().has_add_permission(request)


@admin.register(User)
class UserAdmin(NeverDeleted, SmallTable, DjangoUserAdmin):
    """Whoever leaves is made inactive: the audit trail goes on naming them."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    site_path = "site"
    list_display = ["username", "full_name", "email", "roles", "site", "is_active", "is_staff"]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups", "site"]
    list_select_related = ["site"]
    search_fields = ["username", "first_name", "last_name", "email"]
    search_help_text = _("Name or e-mail address")
    ordering = ["username"]
    inlines = [PractitionerTieInline]
    sortable_by = ["username"]
    filter_horizontal = ()
    readonly_fields = ["last_login", "date_joined", "public_id"]
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email", "language", "theme")}),
        (
            _("What they see and may do"),
            {
                "description": _(
                    "The site decides whose patients and images somebody sees; the roles decide what they may do there."
                ),
                "fields": ("site", "groups", "is_active", "is_staff", "is_superuser", "user_permissions"),
            },
        ),
        (_("Dates"), {"fields": ("last_login", "date_joined", "public_id")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": (
                    "username",
                    "first_name",
                    "last_name",
                    "email",
                    "site",
                    "groups",
                    "is_staff",
                    "usable_password",
                    "password1",
                    "password2",
                ),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Whoever comes back, changes the site or becomes a doctor finds the results that are theirs."""
        super().save_model(request, obj, form, change)
        if change and {"is_active", "site", "groups"} & set(form.changed_data):
            match_soon(obj.pk)

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        """What somebody is called in messages is said once the account is there."""
        return super().get_inlines(request, obj) if obj is not None else []

    @admin.display(description=_("name"))
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description=_("roles"))
    def roles(self, user: User) -> str:
        return ", ".join(str(group) for group in user.groups.all())

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Single rights, and all of them at once, are a superuser's to give; others give roles."""
        fields = super().get_readonly_fields(request, obj)
        user: Any = request.user
        return fields if user.is_superuser else [*fields, "is_superuser", "user_permissions"]

    def get_field_queryset(self, db: str | None, db_field: Any, request: HttpRequest) -> QuerySet[Any]:
        if db_field.name == "groups":
            return roles_within(request.user)
        return super().get_field_queryset(db, db_field, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or may_manage(request.user, obj))


@admin.register(Group)
class GroupAdmin(SmallTable):
    list_display = ["name"]
    search_fields = ["name"]
    ordering = ["name"]

    def get_field_queryset(self, db: str | None, db_field: Any, request: HttpRequest) -> QuerySet[Any]:
        return rights_of(request.user).select_related("content_type")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or roles_within(request.user).filter(pk=obj.pk).exists())

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The house's own roles stay: pages and services name them."""
        user: Any = request.user
        own = obj is not None and obj.name in Role.values
        return user.is_superuser and not own and super().has_delete_permission(request, obj)

    def get_actions(self, request: HttpRequest) -> Any:
        """One at a time, so that no role of the house is deleted among others."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


@admin.register(Permission)
class PermissionAdmin(ViewOnly, SmallTable):
    """Here for the choice in a role's form; it stands in no menu."""

    list_display = ["name", "content_type", "codename"]
    list_select_related = ["content_type"]
    search_fields = ["name", "codename"]
    ordering = ["content_type__app_label", "codename"]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False


class OnlyDeleted:
    """Made by the person whom it concerns; an administrator may end it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OfUser(SmallTable):
    """Something that belongs to one user."""

    site_path = "user__site"
    list_select_related = ["user"]


@admin.register(EmailAddress)
class EmailAddressAdmin(OfUser):
    list_display = ["email", "user", "primary", "verified"]
    list_filter = ["primary", "verified"]
    search_fields = ["email", "user__username"]


@admin.register(Authenticator)
class AuthenticatorAdmin(OnlyDeleted, OfUser):
    """A second factor. Deleting it lets in somebody who lost it."""

    list_display = ["user", "type", "created_at", "last_used_at"]
    list_filter = ["type"]
    search_fields = ["user__username"]
    fields = ["user", "type", "created_at", "last_used_at"]
    readonly_fields = fields


@admin.register(UserSession)
class UserSessionAdmin(OnlyDeleted, OfUser):
    """Where somebody is signed in. Deleting the row signs them out there."""

    list_display = ["user", "created_at", "last_seen_at", "ip", "user_agent"]
    search_fields = ["user__username", "ip"]
    fields = ["user", "created_at", "last_seen_at", "ip", "user_agent"]
    readonly_fields = fields

    def delete_model(self, request: HttpRequest, obj: UserSession) -> None:
        obj.end()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[UserSession]) -> None:
        for session in queryset:
            session.end()


@admin.register(SavedFilter)
class SavedFilterAdmin(OnlyDeleted, OfUser):
    """A person's own search of the study list. What it looks for may name a patient and is not shown here."""

    list_display = ["name", "user", "is_default", "created_at"]
    list_filter = ["is_default"]
    search_fields = ["name", "user__username"]
    fields = ["user", "name", "is_default", "created_at"]
    readonly_fields = fields
