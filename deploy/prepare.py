"""The part of `make run` that needs Django: tables, static files, the administrator. Says only what it did.

Prints a line for each thing it does. Every one of them is skipped when it is done, so that a start in
the middle of which the power went simply goes on the next time.
"""

import hashlib
import json
import os
import secrets
import shutil
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)


def say(text: str) -> None:
    print(text, flush=True)


def migrate() -> None:
    """Bring the tables up to date."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        say(f"{len(plan)} migrations")
        call_command("migrate", verbosity=0, interactive=False)
    cache = settings.CACHES["default"]["LOCATION"]
    if cache not in connection.introspection.table_names():
        call_command("createcachetable", verbosity=0)


def collect_static_files() -> None:
    """Fill STATIC_ROOT with hashed, compressed files when a source file or a setting changed."""
    from django.conf import settings
    from django.contrib.staticfiles.finders import get_finders
    from django.core.management import call_command

    digest = hashlib.sha256(json.dumps(settings.STORAGES["staticfiles"]).encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    root = Path(settings.STATIC_ROOT)
    stamp = root.with_name("static.stamp")
    if root.is_dir() and stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return
    say("static files")
    stamp.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    call_command("collectstatic", verbosity=0, interactive=False)
    stamp.write_text(digest.hexdigest())


def make_administrator() -> None:
    """The first account. Its password is printed here and nowhere else."""
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager
    if users.filter(is_superuser=True).exists() or users.filter(username="admin").exists():
        return
    password = os.environ.get("SINAR_ADMIN_PASSWORD") or secrets.token_urlsafe(12)
    users.create_superuser(username="admin", email="", password=password)
    say(f"administrator: {password}")


def make_import_folders() -> None:
    """Where an administrator puts what is to be imported, as far as it lies among our own data."""
    from django.conf import settings

    for root in map(Path, settings.SINAR_IMPORT_ROOTS):
        if root.is_relative_to(settings.SINAR_DATA):
            root.mkdir(parents=True, exist_ok=True)


def main() -> None:
    import django

    django.setup()
    migrate()
    make_import_folders()
    collect_static_files()
    make_administrator()


if __name__ == "__main__":
    main()
