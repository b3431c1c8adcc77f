"""Other archives for tests of what we ask of them: dcmtk's dcmqrscp, and pynetdicom applications that misbehave."""

import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pynetdicom import AE, build_context
from pynetdicom.presentation import PresentationContext

from tests.daemons import accepts, free_port, wait_until
from tests.pacs.dimse_client import Sent, store

TITLE = "OTHERPACS"


@contextmanager
def dcmqrscp(
    folder: Path,
    tool: Callable[[str], str],
    objects: Iterable[Sent] = (),
    *,
    peers: Sequence[tuple[str, int]] = (),
    options: Sequence[str] = (),
) -> Iterator[int]:
    """dcmtk's archive with these objects; its port. `peers` are titles and ports that it may send to (C-MOVE)."""
    port = free_port()
    area = folder / "area"
    area.mkdir(parents=True)
    hosts = "\n".join(f"peer{n} = ({title}, 127.0.0.1, {number})" for n, (title, number) in enumerate(peers))
    names = ", ".join(f"peer{n}" for n in range(len(peers)))
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        "NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        "HostTable BEGIN\n{hosts}\n{everyone}\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        "AETable BEGIN\n{title} {area} RW (500, 1024mb) ANY\nAETable END\n".format(
            port=port, hosts=hosts, everyone=f"everyone = {names}" if names else "", title=TITLE, area=area
        ),
        encoding="ascii",
    )
    log = (folder / "dcmqrscp.log").open("wb")
    process = subprocess.Popen(
        [tool("dcmqrscp"), "+B", "-v", *options, "-c", str(configuration), str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until(lambda: accepts(port), what="dcmqrscp")
        sent = list(objects)
        for start in range(0, len(sent), 500):
            statuses = store(port, sent[start : start + 500], called=TITLE)
            assert set(statuses.values()) == {0}, statuses
        yield port
    finally:
        process.kill()
        process.wait()
        log.close()


@contextmanager
def application(
    contexts: Iterable[PresentationContext | str], handlers: list[Any], *, title: str = TITLE
) -> Iterator[int]:
    """A pynetdicom application that offers SOP classes and answers by `handlers`; its port."""
    ae = AE(ae_title=title)
    ae.maximum_pdu_size = 256 * 1024
    for each in contexts:
        context = build_context(each) if isinstance(each, str) else each
        ae.add_supported_context(context.abstract_syntax or "", context.transfer_syntax, scu_role=True, scp_role=True)
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def wire(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that hands its first connections to `answer`, one after the other; its port."""
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    answer(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
