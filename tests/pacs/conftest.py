"""Fixtures of the DICOMweb tests: an archive of the test's own, and somebody who may read it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from pacs.models import Volume
from radiology.models import Site, User
from tests.pacs.object_store import ObjectStore


@pytest.fixture
def site(db: None, settings: Any, tmp_path: Path) -> Site:
    """The default site; objects lie in `tmp_path / "archive"`, what is prepared in `tmp_path / "cache"`."""
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    return Site.objects.default()


@pytest.fixture
def reader(site: Site) -> Client:
    """A browser in which somebody of that site has signed in."""
    client = Client()
    client.force_login(User.objects.create_user("reader", site=site))
    return client


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3 server and the faulty line to it, each a process of its own."""
    store = ObjectStore()
    yield store
    store.stop()
