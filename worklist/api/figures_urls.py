"""The figures' part of `/api/v1`: no trailing slashes."""

from django.urls import path

from worklist.api import figures

urlpatterns = [
    path("figures/turnaround", figures.TurnaroundFigures.as_view(), name="api-figures-turnaround"),
    path("figures/workload", figures.WorkloadFigures.as_view(), name="api-figures-workload"),
    path("figures/repeats", figures.RepeatFigures.as_view(), name="api-figures-repeats"),
    path("figures/critical-results", figures.CriticalFigures.as_view(), name="api-figures-critical"),
]
