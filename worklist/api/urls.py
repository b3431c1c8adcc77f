"""The schedule's part of `/api/v1`: no trailing slashes."""

from django.urls import path

from worklist.api import rooms, steps
from worklist.api.worklist_items import WorklistItemsView

STEP = "scheduled-procedure-steps/<uuid:step>"

urlpatterns = [
    path("rooms", rooms.Rooms.as_view(), name="api-rooms"),
    path("rooms/<uuid:room>", rooms.OneRoom.as_view(), name="api-room"),
    path("devices", rooms.Devices.as_view(), name="api-devices"),
    path("devices/<uuid:device>", rooms.OneDevice.as_view(), name="api-device"),
    path("slots", rooms.Slots.as_view(), name="api-slots"),
    path("scheduled-procedure-steps", steps.Steps.as_view(), name="api-steps"),
    path(STEP, steps.OneStep.as_view(), name="api-step"),
    path(f"{STEP}/arrive", steps.Arrive.as_view(), name="api-step-arrive"),
    path(f"{STEP}/start", steps.Start.as_view(), name="api-step-start"),
    path(f"{STEP}/complete", steps.Complete.as_view(), name="api-step-complete"),
    path(f"{STEP}/discontinue", steps.Discontinue.as_view(), name="api-step-discontinue"),
    path(f"{STEP}/cancel", steps.Cancel.as_view(), name="api-step-cancel"),
    path(f"{STEP}/no-show", steps.NoShow.as_view(), name="api-step-no-show"),
    path("worklist-items", WorklistItemsView.as_view(), name="api-worklist-items"),
]
