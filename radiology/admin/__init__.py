"""Django's admin over this app's models, and over accounts and roles."""

from radiology.admin import (
    access,
    catalogue,
    co_signatures,
    critical_results,
    letters,
    operations,
    orders,
    patient_history,
    patients,
    people,
    report_templates,
    reports,
)

__all__ = [
    "access",
    "catalogue",
    "co_signatures",
    "critical_results",
    "letters",
    "operations",
    "orders",
    "patient_history",
    "patients",
    "people",
    "report_templates",
    "reports",
]
