"""Every list of the admin, with thousands of rows: what each page costs, and that none costs more in a longer table."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django import forms
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Model
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoDbBlocker

from pacs.models import ApplicationEntity
from radiology.admin.paging import MOST_ROWS
from radiology.models import ApiClient, ApiToken, Job, JobState, Role, Site, User
from radiology.services.access import issue_token
from tests.databases import MigrationRows
from tests.many_rows import FIRST, GROWING, fill

pytestmark = pytest.mark.database
ROWS = 4 * MOST_ROWS
# Rows of growing tables that one query may touch: a bounded count, a page, and bounded matches of a search.
MOST_TOUCHED = ROWS // 2
MOST_QUERIES = 25
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
TERMS = ["nothing has this", "RM-17", "rm-", "2.25.10", "2.25.10.17", "sari", "dewi sari", "17", "ACC-1", "%_\\", "é"]
TABLES = {model._meta.db_table for model in GROWING}


@pytest.fixture(scope="module")
def _archive(_migration_rows: MigrationRows, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        _migration_rows.restore()
        fill(times=ROWS)
        User.objects.create_superuser("chief", "chief@example.org", "a long password")
        ApplicationEntity.objects.create(title="CT1", host="10.0.0.7", port=104)
        issue_token(name="hospital system", scopes=["studies.read"])
        branch = Site.objects.create(code="branch", name="Branch")
        local = User.objects.create_user("local", password="a long password", site=branch, is_staff=True)
        local.groups.add(Group.objects.get(name=Role.ADMINISTRATOR))
        yield
        _migration_rows.restore()


@pytest.fixture
def chief(_archive: None, db: None, client: Client) -> Client:
    client.force_login(User.objects.get(username="chief"), backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def local(_archive: None, db: None, client: Client) -> Client:
    """Signed in as the administrator of another site, to which no row belongs."""
    client.force_login(User.objects.get(username="local"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def address(model: type[Model], page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def touched_rows(sql: str) -> int:
    """How many rows of growing tables PostgreSQL reads for `sql`, preferring indexes as it does in large tables."""
    with connection.cursor() as cursor:
        for way in ("seqscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT JSON) {sql}")
        found = cursor.fetchone()[0]
    plan = found if isinstance(found, list) else json.loads(found)

    def count(node: dict[str, Any]) -> float:
        rows = 0.0
        if re.sub(r"_(default|\d{4}_\d{2})$", "", node.get("Relation Name", "")) in TABLES:
            read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            rows = (read + node.get("Rows Removed by Index Recheck", 0)) * node["Actual Loops"]
        return rows + sum(count(child) for child in node.get("Plans", []))

    return round(count(plan[0]["Plan"]))


def visit(client: Client, url: str, parameters: dict[str, Any] | None = None) -> Any:
    """GET a page as the administrator; few queries, none of them unbounded."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = client.get(url, parameters or {})
    assert response.status_code == 200, (url, parameters, response.status_code)
    queries = [query["sql"] for query in captured.captured_queries if query["sql"].startswith("SELECT")]
    assert len(queries) <= MOST_QUERIES, (url, parameters, queries)
    for sql in queries:
        if any(f'"{table}"' in sql for table in TABLES):
            assert "COUNT(" not in sql or "LIMIT" in sql or "WHERE" in sql, ("a full count", url, parameters, sql)
            assert touched_rows(sql) <= MOST_TOUCHED, ("reads too much", url, parameters, sql, touched_rows(sql))
    return response


def filter_parameters(model: type[Model]) -> list[dict[str, str]]:
    """Query parameters of every choice of every filter of a list; one value at least for each that takes text."""
    model_admin = admin.site._registry[model]
    request = RequestFactory().get("/")
    request.user = User.objects.get(username="chief")
    changes = model_admin.get_changelist_instance(request)
    found: list[dict[str, str]] = []
    for spec in changes.filter_specs:
        choices: Iterable[Any] = spec.choices(changes)
        for choice in choices:
            if "query_string" in choice:
                found.append(dict(pair.split("=", 1) for pair in choice["query_string"].lstrip("?").split("&") if pair))
                continue
            offered: dict[str, Any] = choice["form"].fields
            for name, field in offered.items():
                if isinstance(field, forms.ModelChoiceField):
                    rows: Any = field.queryset
                    related = rows.order_by("pk")
                    found += [{name: str(row.pk)} for row in (related.first(), related.last()) if row]
                elif isinstance(field, forms.ChoiceField):
                    options: Any = field.choices
                    found += [{name: str(value)} for value, _ in options if value]
                else:
                    found += [{name: "CT"}, {name: "XX"}]
    return found


def test_every_model_has_an_admin_in_the_house_look() -> None:
    from radiology.admin.model_admin import SinarModelAdmin

    expected = {
        model
        for label in ("radiology", "pacs", "worklist", "integrations")
        for model in apps.get_app_config(label).get_models()
    }
    expected |= {apps.get_model(label) for label in ("auth.Group", "account.EmailAddress")}
    expected |= {apps.get_model(label) for label in ("mfa.Authenticator", "usersessions.UserSession")}
    assert expected <= set(MODELS)
    for model in MODELS:
        model_admin = admin.site._registry[model]
        assert isinstance(model_admin, SinarModelAdmin), model
        assert model_admin.search_fields, f"{model} cannot be searched"
        assert model_admin.show_full_result_count is False


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_list_search_filters_and_pages_stay_cheap(model: type[Model], chief: Client) -> None:
    url = address(model, "changelist")
    page = visit(chief, url)
    assert b"&lt;memory at" not in page.content
    for term in (
        "nothing has this value",
        "RM-17",
        "rm-",
        "2.25.10",
        "2.25.10.17",
        "sari",
        "dewi sari",
        "17",
        "ACC-1",
        "%_\\",
    ):
        visit(chief, url, {"q": term})
    for parameters in filter_parameters(model):
        visit(chief, url, parameters)
    if model in GROWING:
        last = visit(chief, url, {"p": str(MOST_ROWS // 50)})
        assert len(last.context["cl"].result_list) == 50
        assert b"The first 1,000 are shown" in last.content


@pytest.mark.parametrize("model", GROWING, ids=lambda model: model._meta.label)
def test_an_administrator_of_a_site_sees_its_rows_only_and_as_cheaply(model: type[Model], local: Client) -> None:
    for parameters in [{}, *({"q": term} for term in TERMS[:6]), *filter_parameters(model)]:
        page = visit(local, address(model, "changelist"), parameters)
        if model is not Job:  # jobs belong to no site
            assert list(page.context["cl"].result_list) == []
    if model is not Job:
        row = model._default_manager.order_by("pk").first()
        assert row is not None
        assert local.get(address(model, "change", row.pk)).status_code == 302


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_forms_open_cheaply(model: type[Model], chief: Client) -> None:
    row = model._default_manager.order_by("pk").first()
    if row is not None:
        page = visit(chief, address(model, "change", row.pk))
        assert b"&lt;memory at" not in page.content
    model_admin = admin.site._registry[model]
    request = RequestFactory().get("/")
    request.user = User.objects.get(username="chief")
    if model_admin.has_add_permission(request):
        visit(chief, address(model, "add"))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_every_relation_is_chosen_by_autocomplete(model: type[Model], chief: Client) -> None:
    model_admin = admin.site._registry[model]
    relations: list[Any] = [
        field
        for field in model._meta.get_fields()
        if (field.many_to_one or field.many_to_many) and not field.auto_created
    ]
    offered = model_admin.get_autocomplete_fields(RequestFactory().get("/"))
    assert sorted(offered) == sorted(field.name for field in relations)
    for field in relations:
        if field.related_model not in MODELS:
            assert field.related_model._meta.label == "contenttypes.ContentType"
            continue
        parameters = {
            "app_label": model._meta.app_label,
            "model_name": model._meta.model_name,
            "field_name": field.name,
        }
        for term in ("", "RM-17", "sari", "\x00"):
            page = visit(chief, reverse("admin:autocomplete"), {**parameters, "term": term})
            assert "results" in page.json()


def test_relations_in_forms_load_no_table(chief: Client) -> None:
    """A form offers related rows through the search, never as a list of all."""
    page = visit(chief, reverse("admin:radiology_order_add"))
    assert page.content.count(b"<option") < 30
    assert b"admin-autocomplete" in page.content


def test_a_search_finds_what_it_should(chief: Client) -> None:
    def found(label: str, term: str) -> list[int]:
        page = visit(chief, address(apps.get_model(label), "changelist"), {"q": term})
        return sorted(row.pk for row in page.context["cl"].result_list)

    assert found("radiology.Patient", "RM-1234") == [FIRST + 1234]
    assert found("radiology.Patient", "rm-1234") == [FIRST + 1234]
    assert FIRST + 1234 in found("radiology.Patient", "RM-123")
    assert len(found("radiology.Patient", "Dewi")) > 1
    assert found("radiology.Order", "ACC-1234") == [FIRST + 1234]
    assert found("pacs.Study", "2.25.10.1234") == [FIRST + 1234]
    assert found("pacs.Study", "RM-1234") == [FIRST + 1234]
    assert found("pacs.Series", "2.25.10.1234") == [FIRST + 1234]
    assert found("pacs.Instance", "2.25.30.1234") == [FIRST + 1234]
    assert found("pacs.Location", "2.25.30.1234") == [FIRST + 1234]
    assert found("radiology.AuditEvent", "2.25.10.1234") == [FIRST + 1234]
    assert found("radiology.Job", str(FIRST + 1234)) == [FIRST + 1234]
    assert found("radiology.Job", "key-1234") == [FIRST + 1234]
    Job.objects.filter(pk=FIRST + 1234).update(state=JobState.PENDING)
    assert found("radiology.Job", "order-1234") == [FIRST + 1234]


def test_the_measure_itself_notices_a_full_scan(chief: Client) -> None:
    assert touched_rows("SELECT id FROM radiology_patient WHERE upper(patient_id) LIKE 'RM-17%'") > MOST_TOUCHED
    assert touched_rows("SELECT count(*) FROM pacs_instance") > MOST_TOUCHED
    assert touched_rows("SELECT id FROM radiology_patient WHERE site_id = 1 AND patient_id = 'RM-17'") <= 1
    assert ApiClient.objects.count() == ApiToken.objects.count() == 1
