"""Rooms with their hours, and the devices in them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action

from pacs.admin.nodes import MOST_NODES, echo_all
from radiology.admin.model_admin import NeverDeleted, ScopedTabularInline, SinarModelAdmin, ViewOnly
from worklist.admin.tables import WithTable
from worklist.models import Device, OpeningHours, Room, RoomBlock
from worklist.services.room_tables import DEVICES, ROOMS


class OpeningHoursInline(ScopedTabularInline):
    model = OpeningHours
    extra = 0


class RoomBlockInline(ScopedTabularInline):
    model = RoomBlock
    extra = 0


@admin.register(Room)
class RoomAdmin(WithTable, NeverDeleted, SinarModelAdmin):
    """A room that is given up is taken out of use: what was done in it refers to it."""

    table = ROOMS
    site_path = "site"
    list_display = ["name", "code", "location", "position", "is_active", "site"]
    list_filter = ["is_active", "site"]
    list_select_related = ["site"]
    search_fields = ["^code", "^name"]
    search_help_text = _("Beginning of the code or the name")
    inlines = [OpeningHoursInline, RoomBlockInline]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A column of the calendar, never booked twice. Without opening hours it is always open; a block "
                    "closes it for a while (service, holiday). What is booked already stays where it is."
                ),
                "fields": ("name", "code", "location", "position", "slot_minutes", "is_active", "site"),
            },
        ),
    )


@admin.register(Device)
class DeviceAdmin(WithTable, NeverDeleted, SinarModelAdmin):
    table = DEVICES
    site_path = "site"
    list_display = ["name", "modality", "station_ae_title", "room", "node", "sends_mpps", "is_active"]
    list_filter = ["is_active", "site", ("room", AutocompleteSelectFilter)]
    list_select_related = ["room", "node"]
    search_fields = ["^station_ae_title", "^name"]
    search_help_text = _("Beginning of the AE title or the name")
    actions = ["echo_selected"]
    actions_detail = ["echo_this"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A modality in a room. Examinations are scheduled for it, and its worklist shows them. The DICOM "
                    "node is how it is reached: with one, you can test whether it answers."
                ),
                "fields": ("name", "modality", "room", "station_ae_title", "station_name", "node", "is_active", "site"),
            },
        ),
        (_("Its worklist"), {"fields": ("worklist_reach", "worklist_days_back", "worklist_days_ahead")}),
        (_("What it reports"), {"fields": ("sends_mpps", "quiet_minutes", "abandoned_after_hours")}),
    )

    def has_echo_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("worklist.change_device")

    @admin.action(description=_("C-ECHO: do they answer?"), permissions=["echo"])
    def echo_selected(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        devices = list(queryset.select_related("node")[:MOST_NODES])
        answers = echo_all([device.node for device in devices if device.node is not None])
        for device in devices:
            answer = answers[device.node.pk] if device.node is not None else _("%(device)s has no DICOM node.")
            if isinstance(answer, float):
                facts = {"node": device.node, "milliseconds": round(answer * 1000)}
                self.message_user(request, _("%(node)s answered in %(milliseconds)d ms.") % facts, messages.SUCCESS)
            else:
                self.message_user(
                    request, str(answer) % {"device": device} if device.node is None else answer, messages.ERROR
                )

    @action(description=_("C-ECHO"), url_path="echo", icon="network_check", permissions=["echo"])
    def echo_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button on a device's page: the answer of its node, as saved."""
        device = self.get_object(request, object_id)
        if device is None:
            raise Http404
        self.echo_selected(request, Device.objects.filter(pk=device.pk))
        return redirect("admin:worklist_device_change", object_id)


class OfRoom(ViewOnly, SinarModelAdmin):
    """Rows that are edited with their room; here to be found."""

    site_path = "room__site"
    list_select_related = ["room"]
    list_filter = [("room", AutocompleteSelectFilter)]
    search_fields = ["^room__code", "^room__name"]
    search_help_text = _("Beginning of the room's code or name")


@admin.register(OpeningHours)
class OpeningHoursAdmin(OfRoom):
    list_display = ["room", "weekday", "opens", "closes"]


@admin.register(RoomBlock)
class RoomBlockAdmin(OfRoom):
    list_display = ["room", "starts", "ends", "reason"]
