"""The action on studies that moves their files to another volume, in the background."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from pacs.models import Study, Volume
from pacs.services.relocation import enqueue_relocation
from radiology.errors import RadiologyError
from radiology.services import audit


class Relocates:
    """Adds the action to the admin of studies: first the volume is chosen, then jobs are made."""

    actions = ("relocate",)

    def has_relocate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("pacs.change_volume")

    @admin.action(description=_("Move files to volume…"), permissions=["relocate"])
    def relocate(self, request: HttpRequest, queryset: QuerySet[Study]) -> HttpResponse | None:
        volume = Volume.objects.filter(pk=_number(request.POST.get("volume", ""))).first()
        if "apply" in request.POST and volume is not None:
            self._enqueue(request, queryset, volume)
            return None
        figures = queryset.aggregate(images=Sum("number_of_study_related_instances"), bytes=Sum("size"))
        return render(
            request,
            "pacs/admin/relocate.html",
            {
                **admin.site.each_context(request),
                "title": _("Move files to volume…"),
                "studies": queryset.values_list("pk", flat=True),
                "volumes": Volume.objects.order_by("name"),
                **figures,
            },
        )

    @staticmethod
    def _enqueue(request: HttpRequest, queryset: QuerySet[Study], volume: Volume) -> None:
        try:
            jobs = enqueue_relocation(who=request.user, studies=queryset, to=volume, address=audit.address_of(request))
        except RadiologyError as error:
            messages.error(request, error.message)
            return
        told = ngettext(
            "%(count)d study is being moved; how far that is stands under Jobs.",
            "%(count)d studies are being moved; how far that is stands under Jobs.",
            len(jobs),
        )
        messages.success(request, told % {"count": len(jobs)})


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
