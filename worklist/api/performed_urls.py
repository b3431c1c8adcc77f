"""Performed steps in `/api/v1`: no trailing slashes."""

from django.urls import path

from worklist.api import performed

urlpatterns = [
    path("performed-procedure-steps", performed.PerformedSteps.as_view(), name="api-performed-steps"),
    path("performed-procedure-steps/<str:performed>", performed.OnePerformedStep.as_view(), name="api-performed-step"),
]
