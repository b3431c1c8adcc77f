"""Who may see and do what in the admin, and how the roles get their first rights."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.utils import timezone

from radiology.models import AuditEvent, Order, Role, Site, User
from radiology.services.roles import give_first_rights
from tests.radiology.admin_client import PASSWORD, administrator, errors, patient, post, signed_in, superuser

pytestmark = pytest.mark.django_db


@pytest.fixture
def chief() -> Client:
    return signed_in(superuser())


@pytest.fixture
def branch() -> Site:
    return Site.objects.create(code="branch", name="Branch")


class TestRights:
    def test_an_administrator_sees_and_offers_the_own_site_only(self, branch: Site) -> None:
        here = administrator("here", Site.objects.default())
        administrator("there", branch)
        other = patient(site=branch, patient_id="RM-9")
        patient(patient_id="RM-1")
        client = signed_in(here)
        assert [row.patient_id for row in client.get("/admin/radiology/patient/").context["cl"].result_list] == ["RM-1"]
        assert [row.username for row in client.get("/admin/radiology/user/").context["cl"].result_list] == ["here"]
        assert [row.code for row in client.get("/admin/radiology/site/").context["cl"].result_list] == ["main"]
        assert client.get(f"/admin/radiology/patient/{other.pk}/change/").status_code == 302
        offered = client.get(
            "/admin/autocomplete/",
            {"app_label": "radiology", "model_name": "order", "field_name": "patient_ref", "term": "RM-9"},
        )
        assert offered.json()["results"] == []
        management = {"TOTAL_FORMS": "0", "INITIAL_FORMS": "0", "MIN_NUM_FORMS": "0", "MAX_NUM_FORMS": "1000"}
        forged = {f"requested_procedures-{key}": value for key, value in management.items()}
        forged |= {"patient_ref": str(other.pk), "status": "active", "priority": "ROUTINE", "site": str(branch.pk)}
        response = post(client, "radiology_order_add", forged)
        assert "valid choice" in errors(response)
        assert not Order.objects.exists()

    def test_an_administrator_makes_nobody_more_powerful(self, branch: Site) -> None:
        site = Site.objects.default()
        here = administrator("here", site)
        chief = superuser()
        boss = User.objects.create_user("boss", password=PASSWORD, site=site)
        boss.user_permissions.add(Permission.objects.get(codename="delete_group"))
        powerful = Group.objects.create(name="powerful")
        powerful.permissions.add(Permission.objects.get(codename="delete_group"))
        client = signed_in(here)
        role = Group.objects.get(name=Role.ADMINISTRATOR)
        own: dict[str, Any] = {
            "username": "here",
            "groups": [str(role.pk)],
            "site": str(site.pk),
            "is_active": "on",
            "is_staff": "on",
            "theme": "auto",
            "ties-TOTAL_FORMS": "0",
            "ties-INITIAL_FORMS": "0",
        }
        post(client, "radiology_user_change", {**own, "is_superuser": "on", "user_permissions": "1"}, here.pk)
        here.refresh_from_db()
        assert not here.is_superuser
        assert not here.user_permissions.exists()
        assert "valid choice" in errors(
            post(client, "radiology_user_change", {**own, "groups": str(powerful.pk)}, here.pk)
        )
        new = {"usable_password": "true", "password1": "another long one", "password2": "another long one"}
        for target in (chief, boss):
            assert post(client, "radiology_user_change", {"username": "x"}, target.pk).status_code == 403
            response = client.post(f"/admin/radiology/user/{target.pk}/password/", new)
            assert response.status_code == 403
            target.refresh_from_db()
            assert target.check_password(PASSWORD)
        assert post(client, "auth_group_change", {"name": "x"}, powerful.pk).status_code == 403

    def test_an_administrator_makes_users_with_the_roles_of_the_house(self) -> None:
        client = signed_in(administrator("here", Site.objects.default()))
        role = Group.objects.get(name=Role.RADIOGRAPHER)
        response = post(
            client,
            "radiology_user_add",
            {
                "username": "rina",
                "first_name": "Rina",
                "site": "1",
                "groups": str(role.pk),
                "usable_password": "true",
                "password1": "sebuah-sandi-panjang",
                "password2": "sebuah-sandi-panjang",
            },
        )
        assert response.status_code == 200
        made = User.objects.get(username="rina")
        assert made.check_password("sebuah-sandi-panjang")
        assert list(made.groups.all()) == [role]

    def test_users_and_sites_are_never_deleted(self, chief: Client) -> None:
        user = User.objects.create_user("leaver", password=PASSWORD)
        assert post(chief, "radiology_user_delete", {"post": "yes"}, user.pk).status_code == 403
        assert post(chief, "radiology_site_delete", {"post": "yes"}, 1).status_code == 403
        assert (
            post(chief, "auth_group_delete", {"post": "yes"}, Group.objects.get(name=Role.DESK).pk).status_code == 403
        )

    def test_a_session_that_is_deleted_is_over(self, chief: Client) -> None:
        User.objects.create_user("leaver", password=PASSWORD)
        other = Client()
        other.post("/accounts/login/", {"login": "leaver", "password": PASSWORD})
        assert other.get("/accounts/password/change/").status_code == 200
        row = chief.get("/admin/usersessions/usersession/", {"q": "leaver"}).context["cl"].result_list[0]
        post(chief, "usersessions_usersession_delete", {"post": "yes"}, row.pk)
        assert other.get("/accounts/password/change/").status_code == 302


class TestFirstRights:
    def test_every_role_has_rights_after_migrating(self) -> None:
        for role in Role:
            assert Group.objects.get(name=role).permissions.exists(), role
        doctor = Group.objects.get(name=Role.DOCTOR)
        changes = doctor.permissions.exclude(codename__startswith="view_").values_list("codename", flat=True)
        orders = {"order", "requestedprocedure"}  # doctors order, and change nothing else
        assert set(changes) == {f"{verb}_{model}" for verb in ("add", "change") for model in orders}

    def test_what_staff_changed_stays(self) -> None:
        doctor = Group.objects.get(name=Role.DOCTOR)
        doctor.permissions.clear()
        desk = Group.objects.get(name=Role.DESK)
        desk.permissions.remove(Permission.objects.get(codename="view_study"))
        extra = Permission.objects.get(codename="delete_study")
        desk.permissions.add(extra)
        before = set(desk.permissions.all())
        give_first_rights()
        assert not doctor.permissions.exists()
        assert set(desk.permissions.all()) == before

    def test_a_right_that_is_new_in_a_version_arrives(self) -> None:
        desk = Group.objects.get(name=Role.DESK)
        view = Permission.objects.get(codename="view_order")
        stays_away = Permission.objects.get(codename="view_study")
        event = AuditEvent.objects.get(event="role.rights", detail__role=Role.DESK)
        earlier = [right for right in event.detail["rights"] if right != "radiology.view_order"]
        desk.permissions.remove(view, stays_away)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL sinar.audit_upkeep = 'on'")
            AuditEvent.objects.filter(event="role.rights", detail__role=Role.DESK).update(
                detail={"role": Role.DESK, "rights": earlier}, at=timezone.now()
            )
        give_first_rights()
        assert view in desk.permissions.all()
        assert stays_away not in desk.permissions.all()
