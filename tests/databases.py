"""The databases of a test run: a template with all migrations, one copy of it a pytest worker."""

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from tests.daemons import database_url

ONE_AT_A_TIME = 0x53494E4152  # the advisory lock under which the template is made and copied


def migrations_fingerprint() -> str:
    """Changes whenever a migration of any installed app does."""
    digest = hashlib.sha256()
    for app in sorted(apps.get_app_configs(), key=lambda app: app.label):
        package, _explicit = MigrationLoader.migrations_module(app.label)
        if package is None or importlib.util.find_spec(package) is None:
            continue
        folder = importlib.import_module(package).__path__[0]
        for file in sorted(Path(folder).glob("*.py")):
            digest.update(f"{app.label}/{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


@contextmanager
def maintenance() -> Iterator[psycopg.Connection]:
    """An autocommit connection outside the databases that are made and dropped."""
    with psycopg.connect(database_url("postgres"), autocommit=True) as maintenance_connection:
        yield maintenance_connection


def use_database(name: str) -> None:
    """Let Django's connection go to `name` from now on."""
    connections.close_all()
    settings.DATABASES["default"]["NAME"] = name
    connection.settings_dict["NAME"] = name


@contextmanager
def gone_at_the_commit(table: str) -> Iterator[None]:
    """The server ends the session that commits a row of `table`: who asked does not learn whether it was written."""
    with connection.cursor() as cursor:
        cursor.execute(f"""
            CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER vanish AFTER INSERT ON {table}
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION vanish()""")
    try:
        yield
    finally:
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TRIGGER vanish ON {table}; DROP FUNCTION vanish()")


def drop_database(name: str) -> None:
    """Remove it, whoever is still connected."""
    connections.close_all()
    with maintenance() as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def make_database(*, template: str, name: str) -> None:
    """Make database `name` as a copy of `template`, which is migrated first unless it is current."""
    fingerprint = migrations_fingerprint()
    with maintenance() as server:
        server.execute("SELECT pg_advisory_lock(%s)", [ONE_AT_A_TIME])
        found = server.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [template]
        ).fetchone()
        if found is None or found[0] != fingerprint:
            drop_database(template)
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(template)))
            use_database(template)
            call_command("migrate", verbosity=0, interactive=False)
            call_command("createcachetable", verbosity=0)
            connections.close_all()
            server.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(template), sql.Literal(fingerprint))
            )
        drop_database(name)
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
    use_database(name)


class MigrationRows:
    """Brings a database back to what the migrations made: their rows and no others.

    Truncates only tables that hold rows, so that it costs milliseconds, and fills a table of the
    migrations again only if it changed. Sequences go on counting.
    """

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
                "AND c.relname <> 'django_migrations' ORDER BY 1"
            )
            self.tables: list[str] = [row[0] for row in cursor.fetchall()]
            self.checksums = {table: self._checksum(cursor, table) for table in self._filled(cursor)}
            cursor.execute("CREATE SCHEMA migration_rows")
            for table in self.checksums:
                cursor.execute(f'CREATE TABLE migration_rows."{table}" AS TABLE public."{table}"')

    def restore(self) -> None:
        """Remove every row that a migration did not make, and bring back every one that it did.

        What a server still answers when its test is over may be in the way, and gets it.
        """
        for _ in range(3):
            try:
                self._restore()
                return
            except OperationalError as error:
                if not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                    raise
        self._restore()

    def _restore(self) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '20s'")
            changed = [
                table
                for table in self._filled(cursor)
                if table not in self.checksums or self._checksum(cursor, table) != self.checksums[table]
            ]
            if changed:
                cursor.execute("TRUNCATE {} CASCADE".format(", ".join(f'"{table}"' for table in changed)))
            for table, checksum in self.checksums.items():
                # Emptied just now or by a test; or a daemon has added to it since, which the next time removes.
                if self._checksum(cursor, table) != checksum:
                    columns = self._columns(cursor, table)
                    cursor.execute(
                        f'INSERT INTO public."{table}" ({columns}) SELECT {columns} FROM migration_rows."{table}"'
                        " ON CONFLICT DO NOTHING"
                    )

    @staticmethod
    def _checksum(cursor: Any, table: str) -> str | None:
        cursor.execute(f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM public.\"{table}\" t")
        return cursor.fetchone()[0]

    @staticmethod
    def _columns(cursor: Any, table: str) -> str:
        cursor.execute(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
            [f'public."{table}"'],
        )
        return cursor.fetchone()[0]

    def _filled(self, cursor: Any) -> list[str]:
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}' WHERE EXISTS (SELECT FROM public.\"{table}\")" for table in self.tables
            )
        )
        return [row[0] for row in cursor.fetchall()]
