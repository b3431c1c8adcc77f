"""Acting in the admin as somebody, through its pages."""

from typing import Any

from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from radiology.models import Patient, Role, Site, User
from radiology.services.patients import save_patient

PASSWORD = "a long password"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def superuser() -> User:
    return User.objects.create_superuser("chief", "chief@example.org", PASSWORD)


def administrator(name: str, site: Site) -> User:
    user = User.objects.create_user(name, password=PASSWORD, site=site, is_staff=True)
    user.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
    return user


def patient(name: str = "WIJAYA^BUDI", patient_id: str = "RM-1", **values: Any) -> Patient:
    made = Patient(patient_id=patient_id, patient_name=name, **values)
    save_patient(patient=made)
    return made


def post(client: Client, view: str, data: dict[str, Any], *arguments: Any) -> Any:
    return client.post(reverse(f"admin:{view}", args=arguments), data, follow=True)


def texts(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def errors(response: Any) -> str:
    assert response.status_code == 200
    return str(response.context["errors"])


def identifiers(**fields: str) -> dict[str, str]:
    """A patient's form with no row in the list of identifiers."""
    management = {"TOTAL_FORMS": "0", "INITIAL_FORMS": "0", "MIN_NUM_FORMS": "0", "MAX_NUM_FORMS": "1000"}
    return {**fields, **{f"identifiers-{key}": value for key, value in management.items()}}


def patient_form(of: Patient, **changes: str) -> dict[str, str]:
    return (
        identifiers(
            patient_name=of.patient_name,
            patient_id=of.patient_id,
            issuer_of_patient_id=of.issuer_of_patient_id,
            patient_birth_date=of.patient_birth_date,
            patient_sex=of.patient_sex,
            site=str(of.site_id),
            seen_version=str(of.version),
        )
        | changes
    )
