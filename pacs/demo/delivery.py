"""Sends the demonstration from several processes: computing images and storing them keep two cores busy."""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import connection, get_context, parent_process

from pacs.demo.labels import Label
from pacs.demo.send import c_store, stow
from pacs.demo.shipments import Scale, Shipment
from pacs.demo.studies import Programme

PROCESSES = 2


@dataclass(frozen=True)
class Destination:
    """Where this installation's daemons answer."""

    host: str
    dicom_port: int
    http_port: int
    ae_title: str
    token: str


@dataclass(frozen=True)
class Parcel:
    """Shipments, by their places in the programme, that one process sends one after the other."""

    label: Label
    scale: Scale
    places: tuple[int, ...]


def parcels(programme: Programme, shipments: Sequence[Shipment], wanted: Sequence[int]) -> list[Parcel]:
    """The `wanted` places among `shipments` in groups: those for the web server, then the largest."""
    groups: dict[str, list[int]] = {}
    for place in wanted:
        groups.setdefault(shipments[place].group or str(place), []).append(place)

    def rank(places: list[int]) -> tuple[bool, int]:
        return bool(shipments[places[0]].calling_ae_title), -sum(shipments[place].count for place in places)

    return [Parcel(programme.label, programme.scale, tuple(each)) for each in sorted(groups.values(), key=rank)]


def deliver(parcels: Sequence[Parcel], destination: Destination) -> Iterator[tuple[int, int]]:
    """Send all; yields each shipment's place and the number of its objects as they are done.

    Raises what the sender raises (Unreachable, NotAllowed, NotStored); nothing more is begun then.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # else each process has threads that wait for one another
    context = get_context("spawn")  # the caller has threads, of its database pool for one
    with ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=_begin) as executor:
        waiting = list(reversed(parcels))
        running: set[Future[list[tuple[int, int]]]] = set()
        while waiting or running:
            while waiting and len(running) < PROCESSES:  # no more than that, so that nothing begins after a failure
                running.add(executor.submit(_send, waiting.pop(), destination))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()


def _begin() -> None:
    """Settings for the words of errors; and end when the command is killed."""
    import django

    django.setup()
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@lru_cache(1)
def _shipments(label: Label, scale: Scale) -> list[Shipment]:
    return Programme(label, scale).shipments()


def _send(parcel: Parcel, destination: Destination) -> list[tuple[int, int]]:
    shipments = _shipments(parcel.label, parcel.scale)
    return [(place, send(shipments[place], destination)) for place in parcel.places]


def send(shipment: Shipment, destination: Destination) -> int:
    """Send one study through its door; returns the number of objects."""
    if shipment.calling_ae_title:
        return c_store(
            shipment.objects(),
            contexts=shipment.contexts,
            host=destination.host,
            port=destination.dicom_port,
            called_ae_title=destination.ae_title,
            calling_ae_title=shipment.calling_ae_title,
        )
    return stow(shipment.objects(), host=destination.host, port=destination.http_port, token=destination.token)
