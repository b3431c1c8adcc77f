"""Production settings refuse what would be unsafe; `SINAR_DATA/environment` gives what the environment does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
GOOD = {
    "SINAR_SECRET_KEY": "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3hJ5kL7nP9rS1uV3xY5",
    "SINAR_ALLOWED_HOSTS": "sinar.rs-harapan.id",
    "DATABASE_URL": "postgres://sinar:secret@db.internal/sinar",
    "CELERY_BROKER_URL": "redis://redis.internal:6379/0",
}


def load(settings: str, expression: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"import django; from django.conf import settings; settings.DEBUG; print({expression})"
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={
            **clean,
            "SINAR_DATA": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": f"radiology.settings.{settings}",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_production_starts_with_complete_settings(tmp_path: Path) -> None:
    done = load("production", "settings.DEBUG, settings.SESSION_COOKIE_SECURE", tmp_path, **GOOD)
    assert done.stdout.strip() == "False True", done.stderr


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SINAR_SECRET_KEY", "", "SINAR_SECRET_KEY"),
        ("SINAR_SECRET_KEY", "short", "SINAR_SECRET_KEY"),
        ("SINAR_SECRET_KEY", "development-only-" + "0" * 40, "SINAR_SECRET_KEY"),
        ("SINAR_SECRET_KEY", "x" * 60, "SINAR_SECRET_KEY"),
        ("SINAR_ALLOWED_HOSTS", "", "SINAR_ALLOWED_HOSTS"),
        ("SINAR_ALLOWED_HOSTS", "sinar.rs-harapan.id,*", "SINAR_ALLOWED_HOSTS"),
        ("DATABASE_URL", "", "DATABASE_URL"),
        ("CELERY_BROKER_URL", "", "CELERY_BROKER_URL"),
        ("CELERY_BROKER_URL", "filesystem://", "CELERY_BROKER_URL"),
    ],
)
def test_production_refuses_unsafe_settings(name: str, value: str, says: str, tmp_path: Path) -> None:
    environment = {**GOOD, name: value}
    if not value:
        del environment[name]
    done = load("production", "1", tmp_path, **environment)
    assert done.returncode != 0
    assert "ImproperlyConfigured" in done.stderr
    assert says in done.stderr.splitlines()[-1]


def test_production_refuses_unknown_modalities_and_titles(tmp_path: Path) -> None:
    expression = "settings.DIMSE['ACCEPT_UNKNOWN_CALLING_AE'], settings.DIMSE['ACCEPT_ANY_SCP']"
    assert load("production", expression, tmp_path, **GOOD).stdout.strip() == "False False"


def test_the_environment_file_gives_what_the_environment_does_not(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("SINAR_HTTP_PORT=8765\nSINAR_SECRET_KEY=kept\n")
    expression = "settings.SINAR_HTTP_PORT, settings.SECRET_KEY"
    assert load("development", expression, tmp_path).stdout.split() == ["8765", "kept"]
    assert load("development", expression, tmp_path, SINAR_HTTP_PORT="8766").stdout.split() == ["8766", "kept"]


def test_a_database_on_a_socket_keeps_its_folder(tmp_path: Path) -> None:
    url = "postgres://sinar:secret@/sinar?host=%2Fsrv%2Fa%20b%2Fdb"
    done = load("development", "settings.DATABASES['default']['OPTIONS']['host']", tmp_path, DATABASE_URL=url)
    assert done.stdout.strip() == "/srv/a b/db"


def test_the_site_chooses_the_language_of_what_nobody_else_chooses_for(tmp_path: Path) -> None:
    expression = "__import__('integrations.hl7.faults').hl7.faults.unexpected().text"
    setup = f"(django.setup(), {expression})[1]"
    assert load("development", setup, tmp_path).stdout.startswith("The message could not")
    assert load("development", setup, tmp_path, SINAR_LANGUAGE="id").stdout.startswith("Pesan")
    refused = load("development", "1", tmp_path, SINAR_LANGUAGE="fr")
    assert "SINAR_LANGUAGE is en or id, not fr." in refused.stderr.splitlines()[-1]


def test_each_settings_module_answers_its_own_hosts_only(tmp_path: Path) -> None:
    done = load("development", "settings.ALLOWED_HOSTS", tmp_path)
    assert "*" not in done.stdout
