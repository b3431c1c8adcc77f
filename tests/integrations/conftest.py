"""The HL7 daemon of this run, with a peer that it lets in; an archive of the test's own."""

from collections.abc import Iterator

import pytest

from integrations.models import Hl7Peer
from tests.daemons import Daemon
from tests.integrations.mllp_client import MllpClient, make_peer
from tests.pacs.conftest import site

__all__ = ["site"]


@pytest.fixture
def peer(committed_db: None) -> Hl7Peer:
    """A hospital system that may send from this machine, whatever it calls itself."""
    return make_peer()


@pytest.fixture
def mllp(peer: Hl7Peer, hl7_server: Daemon) -> Iterator[MllpClient]:
    """A connection of that peer."""
    with MllpClient(hl7_server.port) as client:
        yield client
