"""Transactions that are done whole, configuration that is kept until it changes, and statements written once."""

import contextlib
from collections.abc import Iterator
from datetime import date

import psycopg
import pytest
from django.conf import settings
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext

from radiology.models import Job, Patient, Site
from radiology.services.rows import MOST_ROWS, Added, Rewritten, Sought, Statement, insert_missing
from radiology.services.whole import Standing, atomic, whole
from tests.daemons import database_url
from tests.factories import make_patient

Names = Standing[list[str]]


class Refused(Exception):
    pass


@atomic()
def rename(site: Site, name: str, *, fails: bool = False) -> None:
    """A service."""
    Site.objects.filter(pk=site.pk).update(name=name)
    if fails:
        raise Refused


def name_of(site: Site) -> str:
    return Site.objects.values_list("name", flat=True).get(pk=site.pk)


def savepoints(queries: CaptureQueriesContext) -> int:
    return sum(each["sql"].startswith("SAVEPOINT") for each in queries)


@pytest.fixture
def site() -> Site:
    return Site.objects.default()


@pytest.mark.django_db
class TestWhole:
    def test_services_within_set_no_savepoints(self, site: Site) -> None:
        with CaptureQueriesContext(connection) as queries, whole():
            rename(site, "One")
            rename(site, "Two")
        assert savepoints(queries) == 1, "that of the whole, within the test's transaction"

    def test_an_error_undoes_everything(self, site: Site) -> None:
        before = name_of(site)

        def both() -> None:
            with whole():
                rename(site, "One")
                rename(site, "Two", fails=True)

        with pytest.raises(Refused):
            both()
        assert name_of(site) == before

    def test_an_error_that_is_passed_over_within_is_not_committed_half(self, site: Site) -> None:
        before = name_of(site)

        def passing_over() -> None:
            with whole():
                with contextlib.suppress(Refused):
                    rename(site, "Two", fails=True)
                rename(site, "Three")

        with pytest.raises(transaction.TransactionManagementError):
            passing_over()
        assert name_of(site) == before

    def test_who_sets_a_savepoint_may_go_on(self, site: Site) -> None:
        with whole():
            rename(site, "One")
            try:
                with transaction.atomic():
                    rename(site, "Two", fails=True)
            except Refused:
                pass
            rename(site, f"{name_of(site)} more")
        assert name_of(site) == "One more"

    def test_elsewhere_a_service_that_fails_harms_nobody_else(self, site: Site) -> None:
        for passes in (True, False):  # also after a whole that failed
            with transaction.atomic():
                rename(site, "One")
                with pytest.raises(Refused):
                    rename(site, "Two", fails=True)
                assert name_of(site) == "One"
            if passes:
                with pytest.raises(Refused):
                    self._fail_whole(site)

    @staticmethod
    def _fail_whole(site: Site) -> None:
        with whole():
            rename(site, "Four", fails=True)


class TestStanding:
    @pytest.fixture
    def reads(self) -> list[int]:
        return []

    @pytest.fixture
    def names(self, committed_db: None, reads: list[int]) -> Names:
        def read() -> list[str]:
            reads.append(1)
            return list(Site.objects.order_by("pk").values_list("name", flat=True))

        return Standing([Site, Job], read)

    @pytest.fixture
    def somebody_else(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(database_url(settings.DATABASES["default"]["NAME"]), autocommit=True) as database:
            yield database

    def test_it_is_read_once_while_nothing_changes(self, names: Names, reads: list[int]) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert [names() for _ in range(3)] == [names()] * 3
        assert (len(reads), len(queries)) == (1, 5)

    def test_whoever_changes_a_row_is_seen_at_once(
        self, names: Names, reads: list[int], somebody_else: psycopg.Connection
    ) -> None:
        names()
        somebody_else.execute("UPDATE radiology_site SET name = 'Elsewhere'")
        assert names() == ["Elsewhere"]
        Site.objects.update(name="Here")
        assert names() == ["Here"]
        made = Site.objects.create(code="two", name="Two")
        assert names() == ["Here", "Two"]
        somebody_else.execute("DELETE FROM radiology_site WHERE id = %s", [made.pk])
        assert names() == ["Here"]
        assert len(reads) == 5

    def test_what_is_taken_back_is_as_it_was(self, names: Names) -> None:
        before = names()
        with transaction.atomic():
            Site.objects.update(name="One")
            assert names() == ["One"]
            Site.objects.update(name="Two")
            assert names() == ["Two"]
            transaction.set_rollback(True)
        assert names() == before

    def test_what_is_not_committed_is_seen_by_nobody_else(
        self, names: Names, somebody_else: psycopg.Connection
    ) -> None:
        before = names()
        with somebody_else.transaction():
            somebody_else.execute("UPDATE radiology_site SET name = 'Soon'")
            assert names() == before
        assert names() == ["Soon"]

    def test_it_stands_still_within_a_whole(self, names: Names, somebody_else: psycopg.Connection) -> None:
        before = names()
        with whole():
            assert names() == before
            somebody_else.execute("UPDATE radiology_site SET name = 'Meanwhile'")
            assert names() == before
        assert names() == ["Meanwhile"]

    def test_an_empty_table_has_a_mark_too(self, names: Names, reads: list[int]) -> None:
        names()
        job = Job.objects.create(kind="a")
        names()
        job.delete()
        names()
        assert len(reads) == 3


@pytest.mark.django_db
class TestRows:
    def test_a_row_is_as_django_would_have_read_it(self) -> None:
        made = make_patient(patient_id="7", attributes={"00104000": {"vr": "LT"}})
        make_patient(patient_id="8")
        (found,) = Sought(Patient, "patient_id = %s AND site_id = %s")("7", made.site_id)
        same = Patient.objects.get(pk=made.pk)
        assert {each.name: getattr(found, each.attname) for each in Patient._meta.concrete_fields} == {
            each.name: getattr(same, each.attname) for each in Patient._meta.concrete_fields
        }
        found.patient_name = "LAIN"
        found.save()
        assert Patient.objects.get(pk=made.pk).patient_name == "LAIN"

    def test_what_was_left_out_is_read_when_it_is_looked_at(self) -> None:
        make_patient(patient_id="7", patient_name="ANI^A")
        (found,) = Sought(Patient, "patient_id = %s", fields=["patient_id"])("7")
        assert found.get_deferred_fields() >= {"patient_name", "version"}
        assert found.patient_name == "ANI^A"

    def test_only_the_fields_named_are_written(self) -> None:
        made = make_patient(patient_id="7", patient_name="ANI^A")
        made.attributes, made.merged_at, made.patient_name = {"a": ['"', "\\"]}, made.created_at, "OTHER"
        Rewritten(Patient, ["attributes", "merged_at"])(made)
        again = Patient.objects.get(pk=made.pk)
        assert (again.attributes, again.merged_at, again.patient_name) == ({"a": ['"', "\\"]}, made.created_at, "ANI^A")

    def test_rows_are_added_as_django_would(self) -> None:
        jobs = [Job(kind="a", arguments={"n": [number]}, ordering_key=str(number)) for number in range(MOST_ROWS + 2)]
        with CaptureQueriesContext(connection) as queries:
            Added(Job)(jobs)
            Added(Job)([])
        assert len(queries) == 2
        for made in (jobs[0], jobs[-1]):
            same = Job.objects.get(pk=made.pk)
            assert (same.ordering_key, same.arguments) == (made.ordering_key, made.arguments)
            assert (same.public_id, same.created_at) == (made.public_id, made.created_at)
        jobs[0].error = "changed"
        jobs[0].save()
        assert Job.objects.filter(kind="a").count() == len(jobs)

    def test_many_rows_hold_what_one_would(self) -> None:
        """Texts that JSON must escape, JSON of every kind, times, dates, keys, and nothing."""
        told = {"a": ['"', "\\", "\u00e9\u4e2d\U0001f600", 1.5, 2**40, None, True], "": {}}
        made = make_patient(patient_id="7")
        many = [
            Patient(site=made.site, patient_id=f"9-{number}", patient_name='A"\\^\u4e2d', attributes=told)
            for number in range(3)
        ]
        many[1].birth_date, many[1].merged_into, many[1].merged_at = date(1970, 2, 28), made, made.created_at
        assert insert_missing([*many, many[0]], returning="patient_id").keys() == {"9-0", "9-1", "9-2"}
        assert not insert_missing(many, returning="patient_id")
        for each in many:
            same = Patient.objects.get(patient_id=each.patient_id)
            names = {field.attname for field in Patient._meta.concrete_fields} - {"id", "updated_at"}
            assert {name: getattr(same, name) for name in names} == {name: getattr(each, name) for name in names}

    def test_no_nul_passes_among_many_rows(self) -> None:
        jobs = [Job(kind="a", ordering_key="b"), Job(kind="a", ordering_key="c\0d")]
        with pytest.raises(DataError), transaction.atomic():
            Added(Job)(jobs)
        assert not Job.objects.filter(kind="a").exists()

    def test_no_more_statements_stay_prepared_than_psycopg_keeps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Site.objects.default()  # the transaction has begun
        monkeypatch.setattr(connection.connection._prepared, "prepared_max", 5)
        for turn in range(2):
            for number in range(12):
                assert Statement(f"SELECT {number}, %s::int")(turn) == [(number, turn)]
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_prepared_statements")
            assert cursor.fetchone()[0] <= 5

    def test_what_is_undone_takes_no_statement_along(self) -> None:
        asked = Statement("SELECT %s::int + 1")
        for number in range(3):
            with contextlib.suppress(Refused), transaction.atomic():
                assert asked(number) == [(number + 1,)]
                raise Refused

    def test_no_text_is_cut_at_a_nul(self) -> None:
        Site.objects.default()
        with pytest.raises(DataError):
            Statement("SELECT %s::text")("a\0b")
