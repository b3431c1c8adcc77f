"""The addresses of the figures of the department."""

from django.urls import path

from worklist import figures_pages

urlpatterns = [
    path("figures", figures_pages.figures, name="figures"),
    path("figures/csv", figures_pages.figures_csv, name="figures-csv"),
]
