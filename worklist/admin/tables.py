"""The page on which a table of rooms or devices is read in or written out."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import action
from unfold.widgets import UnfoldAdminFileFieldWidget

from radiology.errors import InvalidValue
from radiology.services import audit, tables
from worklist.services import room_tables
from worklist.services.room_tables import Table


class TableForm(forms.Form):
    file = forms.FileField(label=_("File"), widget=UnfoldAdminFileFieldWidget)


class WithTable:
    """Adds “Import and export” to a list: what is posted as `file` is compared, then posted as `text` and read in."""

    table: Table
    actions_list = ("table_page",)

    def has_table_permission(self, request: HttpRequest) -> bool:
        return bool(self.has_add_permission(request) and self.has_change_permission(request))  # type: ignore[attr-defined]

    @action(description=_("Import and export"), url_path="table", icon="table", permissions=["table"])
    def table_page(self, request: HttpRequest) -> HttpResponse:
        if not self.has_table_permission(request):
            raise PermissionDenied
        site = request.user.site  # type: ignore[union-attr]
        if request.method != "POST" and "download" in request.GET:
            return self._download(room_tables.export_table(table=self.table, site=site), site.code)
        if request.method == "POST" and "text" in request.POST:
            return self._read_in(request, site)
        form, context = TableForm(), {}
        if request.method == "POST":
            form = TableForm(request.POST, request.FILES)
            if form.is_valid():
                context = self._compared(form, site)
        context |= {"form": form, "needed": self.table.needed, "title": _now("Import and export")}
        context |= self.admin_site.each_context(request)  # type: ignore[attr-defined]
        return render(request, "worklist/admin/table.html", context, status=400 if form.errors else 200)

    def _compared(self, form: TableForm, site: Any) -> dict[str, Any]:
        try:
            text = tables.decode(form.cleaned_data["file"].read(tables.LARGEST + 1))
            changes = room_tables.plan_table(table=self.table, site=site, text=text)
        except InvalidValue as error:
            for line in error.facts.get("errors", [error.message]):
                form.add_error("file", line)
            return {}
        return {"changes": changes, "text": text, "compared": True}

    def _read_in(self, request: HttpRequest, site: Any) -> HttpResponse:
        try:
            changes = room_tables.import_table(
                table=self.table, site=site, text=request.POST["text"], who=request.user,
                address=audit.address_of(request),
            )  # fmt: skip
        except InvalidValue as error:
            messages.error(request, error.message)
        else:
            told = ngettext("%(count)d change was made.", "%(count)d changes were made.", len(changes))
            messages.success(request, told % {"count": len(changes)})
        return redirect(f"admin:worklist_{self.table.model._meta.model_name}_changelist")

    def _download(self, text: str, code: str) -> HttpResponse:
        name = f"{self.table.name}-{code}-{timezone.localtime():%Y%m%d}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
        return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)
