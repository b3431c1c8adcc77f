"""Statements that stay prepared, and connections whose server has gone."""

from collections.abc import Iterator
from copy import deepcopy

import psycopg
import pytest
from django.db import connection

from radiology.postgresql.base import DatabaseWrapper, require_usable
from radiology.services.access import token_of_text
from tests.factories import make_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def pooled() -> Iterator[DatabaseWrapper]:
    settings = deepcopy(connection.settings_dict)
    settings["OPTIONS"]["pool"] = {"min_size": 0, "max_size": 1, "timeout": 10}
    wrapper = DatabaseWrapper(settings, alias="default")
    yield wrapper
    wrapper.close()
    wrapper.close_pool()


def test_a_statement_is_planned_once_for_all_values() -> None:
    token, text = make_token()
    for known in (text, "unknown", text, "another"):
        assert token_of_text(text=known) == (token if known is text else None)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE %s",
            ["%radiology_apitoken%token_sha256 =%"],
        )
        assert cursor.fetchall() == [(4, 0)]


def test_a_connection_that_the_server_ended_is_not_used_again(pooled: DatabaseWrapper) -> None:
    def process() -> int:
        with pooled.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    first = process()
    pooled.close()
    assert process() == first
    pooled.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
    assert process() != first


def test_a_connection_is_usable_until_its_server_says_otherwise() -> None:
    parameters = {**connection.get_connection_params(), "autocommit": True}
    with psycopg.connect(**parameters) as other:
        require_usable(other)
        other.execute("LISTEN something")
        with psycopg.connect(**parameters) as third:
            third.execute("NOTIFY something")
        require_usable(other)  # it has something to say, and lives
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [other.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            require_usable(other)
