"""What every model's admin shares: quick lists, one's own site only, and a trace of each change."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib.admin import ShowFacets
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, StackedInline, TabularInline
from unfold.views import ChangeList

from radiology.admin.paging import BoundedPaginator
from radiology.admin.search import KeySearch
from radiology.models import AuditAction, Patient
from radiology.services import audit


class SiteScope:
    """Rows of one's own site, also among those that a form offers; only a superuser sees all sites.

    `site_path` is the lookup from the model to its site; empty where rows belong to no site.
    """

    site_path = ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found = super().get_queryset(request)  # type: ignore[misc]
        user: Any = request.user
        if user.is_superuser or not self.site_path:
            return found
        return found.filter(**{self.site_path: user.site_id})

    def get_field_queryset(self, db: str | None, db_field: Any, request: HttpRequest) -> QuerySet[Any]:
        related = self.admin_site._registry.get(db_field.remote_field.model)  # type: ignore[attr-defined]
        return related.get_queryset(request) if related else db_field.remote_field.model._default_manager.all()

    def get_autocomplete_fields(self, request: HttpRequest) -> list[str]:
        """Every relation: no form loads a whole table into a list of choices."""
        return [
            field.name
            for field in self.model._meta.get_fields()  # type: ignore[attr-defined]
            if (field.many_to_one or field.many_to_many) and not field.auto_created
        ]


class BoundedChangeList(ChangeList):
    """A list without a number of all rows beside it, because nobody counted them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class SinarModelAdmin(SiteScope, KeySearch, ModelAdmin):
    """The base of every admin: nothing in it costs more when the table is longer."""

    paginator: ClassVar[Any] = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_disable_select_all = True
    list_filter_submit = True
    sortable_by: ClassVar[Any] = ()
    ordering: ClassVar[Any] = ("-id",)
    list_select_related: ClassVar[Any] = False
    warn_unsaved_form = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"site": getattr(request.user, "site_id", None), **super().get_changeform_initial_data(request)}

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, AuditAction.CREATE, obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, AuditAction.UPDATE, obj, changed=changed_fields(message))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for obj in queryset:
            self._record(request, AuditAction.DELETE, obj)
        return super().log_deletions(request, queryset)

    def _record(self, request: HttpRequest, action: AuditAction, obj: Model, **detail: Any) -> None:
        audit.record(
            event="admin",
            action=action,
            who=request.user,
            address=audit.address_of(request),
            patient_id=obj.pk if isinstance(obj, Patient) else getattr(obj, "patient_ref_id", None),
            study_instance_uid=getattr(obj, "study_instance_uid", ""),
            detail={"model": obj._meta.label, "id": obj.pk, **detail},
        )


class ViewOnly:
    """What devices or the server itself wrote: to be looked at, never edited here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class NeverDeleted:
    """Medical records and whatever they refer to are corrected or retired, never deleted here."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ScopedTabularInline(SiteScope, TabularInline):
    """Rows of the object on whose page they stand, a page of them at a time."""

    extra = 0
    per_page = 20


class ScopedStackedInline(SiteScope, StackedInline):
    """Like the tabular one, for rows with many fields."""

    extra = 0
    per_page = 20


def changed_fields(message: Any) -> list[str]:
    """Names of the fields that a change message of the admin lists; never their values."""
    if not isinstance(message, list):
        return []
    return [str(name) for part in message for name in part.get("changed", {}).get("fields", [])]
