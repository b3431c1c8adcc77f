"""The audit trail takes additions only, a month a partition."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import RequestFactory

from radiology.models import AuditAction, AuditEvent
from radiology.services import audit
from radiology.services.upkeep import MONTHS_AHEAD, prepare_audit_partitions
from tests.factories import make_node, make_patient, make_token, make_user
from tests.parallel import at_once

pytestmark = pytest.mark.database


def event(**fields: Any) -> AuditEvent:
    return AuditEvent.objects.create(event="study.read", action=AuditAction.READ, **fields)


def query(sql: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def order(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def partition_of(one: AuditEvent) -> str:
    return query("SELECT tableoid::regclass::text FROM radiology_auditevent WHERE id = %s", one.pk)[0][0]


def drop_partitions() -> None:
    """As a database that has not prepared any month yet."""
    for (name,) in query(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'radiology_auditevent'::regclass"
    ):
        if name != "radiology_auditevent_default":
            with connection.cursor() as cursor:
                cursor.execute(f'DROP TABLE "{name}"')


@pytest.mark.django_db
class TestAppendOnly:
    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE radiology_auditevent SET agent = 'nobody'",
            "DELETE FROM radiology_auditevent",
            "UPDATE radiology_auditevent_default SET agent = 'nobody'",
            "DELETE FROM radiology_auditevent_default",
        ],
    )
    def test_the_database_refuses_changes(self, sql: str) -> None:
        drop_partitions()
        one = event(agent="dewi")
        with pytest.raises(DatabaseError, match="never changed or deleted"), transaction.atomic():
            query(sql)
        assert AuditEvent.objects.get(pk=one.pk).agent == "dewi"

    def test_months_of_their_own_refuse_changes_too(self) -> None:
        prepare_audit_partitions()
        one = event(agent="dewi")
        partition = partition_of(one)
        assert partition != "radiology_auditevent_default"
        for sql in (f"UPDATE {partition} SET agent = ''", f"DELETE FROM {partition}"):
            with pytest.raises(DatabaseError, match="never changed or deleted"), transaction.atomic():
                query(sql)

    def test_the_orm_refuses_changes(self) -> None:
        one = event()
        for change in (
            lambda: AuditEvent.objects.update(agent="x"),
            lambda: AuditEvent.objects.filter(pk=one.pk).delete(),
            one.save,
        ):
            with pytest.raises(DatabaseError), transaction.atomic():
                change()

    def test_rows_that_an_event_names_may_go_without_it(self) -> None:
        user = make_user()
        one = event(user=user, agent="dewi")
        user.delete()
        assert AuditEvent.objects.filter(pk=one.pk, agent="dewi").exists()


@pytest.mark.django_db
class TestPartitions:
    def test_this_month_and_the_next_ones_are_prepared(self) -> None:
        drop_partitions()
        prepare_audit_partitions()
        prepare_audit_partitions()
        made = {
            name
            for (name,) in query(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'radiology_auditevent'::regclass"
            )
        }
        assert len(made) == MONTHS_AHEAD + 2
        assert partition_of(event()) == f"radiology_auditevent_{datetime.now(UTC):%Y_%m}"

    def test_what_came_before_its_month_was_prepared_moves_there(self) -> None:
        drop_partitions()
        one = event(agent="dewi", study_instance_uid="2.25.1")
        assert partition_of(one) == "radiology_auditevent_default"
        prepare_audit_partitions()
        assert partition_of(one) == f"radiology_auditevent_{datetime.now(UTC):%Y_%m}"
        assert AuditEvent.objects.get(pk=one.pk).agent == "dewi"
        with pytest.raises(DatabaseError), transaction.atomic():
            AuditEvent.objects.filter(pk=one.pk).delete()

    def test_a_moment_outside_every_month_is_kept_too(self) -> None:
        prepare_audit_partitions()
        for moment in (datetime(1999, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)):
            assert partition_of(event(at=moment)) == "radiology_auditevent_default"

    def test_the_edge_of_a_month_falls_to_the_month_in_utc(self) -> None:
        drop_partitions()
        prepare_audit_partitions()
        now = datetime.now(UTC)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL TIME ZONE 'Asia/Jakarta'")
        assert partition_of(event(at=first)) == f"radiology_auditevent_{now:%Y_%m}"

    def test_each_month_has_the_indexes(self) -> None:
        prepare_audit_partitions()
        name = partition_of(event())
        indexes = query("SELECT count(*) FROM pg_indexes WHERE tablename = %s", name)[0][0]
        assert indexes == query("SELECT count(*) FROM pg_indexes WHERE tablename = 'radiology_auditevent'")[0][0]


@pytest.mark.django_db
class TestRecording:
    def test_who_did_it(self) -> None:
        user, node = make_user("dewi"), make_node("CT1")
        token, _ = make_token("simrs")
        for who in (user, token, node, "HIS via MLLP", None):
            audit.record(event="x", action=AuditAction.READ, who=who)
        found = list(AuditEvent.objects.filter(event="x").order_by("id").values_list("agent", "user_id", "site_id"))
        assert found == [
            ("dewi", user.pk, user.site_id),
            ("simrs", None, token.site_id),
            (str(node), None, node.site_id),
            ("HIS via MLLP", None, None),
            ("", None, None),
        ]

    def test_to_whom_and_from_where(self) -> None:
        patient = make_patient()
        request = RequestFactory().get("/", REMOTE_ADDR="10.1.2.3")
        audit.record(
            event="study.read",
            action=AuditAction.READ,
            address=audit.address_of(request),
            patient_id=patient.pk,
            study_instance_uid="2.25.1",
            succeeded=False,
            detail={"images": 3},
        )
        one = AuditEvent.objects.get(event="study.read")
        assert (one.address, one.patient_ref, one.succeeded, one.detail) == ("10.1.2.3", patient, False, {"images": 3})

    @pytest.mark.parametrize("text", ["A" * 500, "A\x00B", "\ud800", "'; DROP TABLE radiology_auditevent; --"])
    def test_hostile_texts_are_recorded_and_never_stop_what_they_accompany(self, text: str) -> None:
        audit.record(event="x", action=AuditAction.READ, who=text, study_instance_uid=text)
        assert AuditEvent.objects.filter(event="x").count() == 1


@pytest.mark.usefixtures("committed_db")
def test_two_workers_preparing_at_once_and_events_meanwhile() -> None:
    def work(number: int) -> None:
        if number < 2:
            prepare_audit_partitions()
        else:
            for _ in range(20):
                event(agent=str(number))

    at_once(work, threads=6)
    assert AuditEvent.objects.filter(event="study.read").count() == 80


class TestWhenALineIsOnTheDisk:
    """Nobody waits for the line of what they read; for any other, whoever did it does."""

    @pytest.fixture
    def settled(self) -> Iterator[None]:
        query("SELECT set_config('synchronous_commit', 'on', false)")
        yield
        query("SELECT set_config('synchronous_commit', 'off', false)")

    @pytest.mark.usefixtures("committed_db", "settled")
    @pytest.mark.parametrize(
        ("name", "action", "waits"),
        [
            ("dicomweb.search", AuditAction.EXECUTE, False),
            ("dicom.find", AuditAction.EXECUTE, False),
            ("dicomweb.retrieve", AuditAction.READ, False),
            ("study.delete", AuditAction.DELETE, True),
        ],
    )
    def test_each_commits_in_its_way_and_the_next_statement_as_usual(
        self, name: str, action: AuditAction, waits: bool
    ) -> None:
        way = "current_setting('synchronous_commit')"
        order(
            f"CREATE OR REPLACE FUNCTION pg_temp.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" PERFORM set_config('sinar.way', {way}, false); RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON radiology_auditevent"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.tell()"
        )
        try:
            audit.record(event=name, action=action)
        finally:
            order("DROP TRIGGER tell ON radiology_auditevent")
        assert AuditEvent.objects.filter(event=name).count() == 1
        assert query("SELECT current_setting('sinar.way')") == [("on" if waits else "off",)]
        assert query(f"SELECT {way}") == [("on",)]

    @pytest.mark.django_db
    def test_what_stands_around_it_waits_as_before(self, settled: None) -> None:
        audit.record(event="dicomweb.search", action=AuditAction.EXECUTE)
        assert query("SHOW synchronous_commit") == [("on",)]
