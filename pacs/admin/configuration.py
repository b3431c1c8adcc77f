"""The configuration as one file: download it, or have one compared and then read in."""

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import site as admin_site
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget

from pacs.services.orthanc_nodes import nodes_of
from radiology.errors import InvalidValue
from radiology.models import Site
from radiology.services import audit, configuration


class FileForm(forms.Form):
    file = forms.FileField(label=gettext_lazy("File"), widget=UnfoldAdminFileFieldWidget)
    site = forms.ModelChoiceField(
        Site.objects.order_by("id"),
        label=gettext_lazy("Site of the nodes"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("Only for an orthanc.json, which knows no sites."),
    )

    def text(self) -> str:
        """The chosen file as configuration text; an orthanc.json becomes one. Raises InvalidValue."""
        file = self.cleaned_data["file"]
        if file.size > configuration.LARGEST:
            raise InvalidValue(_("The file is larger than any configuration: 5 MB at most."), field="file")
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidValue(_("The file is no UTF-8 text."), field="file") from error
        if '"DicomModalities"' not in text:
            return text
        site = self.cleaned_data["site"] or Site.objects.default()
        found = nodes_of(text=text, site_code=site.code)
        self.left_out = found.left_out
        return json.dumps({"sinar": configuration.FORMAT, "nodes": found.nodes}, ensure_ascii=False)


@require_http_methods(["GET", "HEAD", "POST"])
def configuration_page(request: HttpRequest) -> HttpResponse:
    """What is posted as `file` is compared; what is posted as `text`, having been seen, is read in."""
    user: Any = request.user
    if not user.is_superuser:
        raise PermissionDenied
    if request.method != "POST" and "download" in request.GET:
        return _download(request)
    form = FileForm()
    context: dict[str, Any] = {}
    if request.method == "POST" and "text" in request.POST:
        try:
            changes = configuration.apply(
                who=request.user, text=request.POST["text"], address=audit.address_of(request)
            )
        except InvalidValue as error:
            messages.error(request, error.message)
        else:
            told = ngettext("%(count)d change was made.", "%(count)d changes were made.", len(changes))
            messages.success(request, told % {"count": len(changes)})
        return redirect("admin:configuration")
    if request.method == "POST":
        form = FileForm(request.POST, request.FILES)
        if form.is_valid():
            try:
                text = form.text()
                context = {"changes": configuration.plan(text=text), "text": text, "compared": True}
                context["left_out"] = getattr(form, "left_out", [])
            except InvalidValue as error:
                form.add_error("file", error.message)
    return render(
        request,
        "pacs/admin/configuration.html",
        {**admin_site.each_context(request), "title": _("Configuration file"), "form": form, **context},
        status=400 if form.errors else 200,
    )


def _download(request: HttpRequest) -> HttpResponse:
    text = configuration.export(who=request.user, address=audit.address_of(request))
    name = f"sinar-{timezone.localtime():%Y%m%d-%H%M}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(text, content_type="application/json", headers=headers)
