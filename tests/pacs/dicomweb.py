"""What the tests of the DICOMweb services share: storing, addresses, bodies taken apart."""

from io import BytesIO
from typing import Any

from pacs.dicomweb.multipart import State, read_parts
from pacs.services.store import Source, Stored, receive_part10, store_instance
from radiology.models import Site

ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
FRAMES_ANY = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'


def store(site: Site, file: bytes) -> Stored:
    with receive_part10(source=Source.of_site(site)) as incoming:
        incoming.write(file)
        return store_instance(received=incoming.finish())


def address(stored: Stored, rest: str = "") -> str:
    return (
        f"/dicom-web/studies/{stored.study_instance_uid}/series/{stored.series_instance_uid}"
        f"/instances/{stored.sop_instance_uid}{rest}"
    )


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


def parts(response: Any) -> list[tuple[dict[str, str], bytes]]:
    content_type = response.headers["Content-Type"]
    assert content_type.startswith("multipart/related; type=")
    stream = BytesIO(body(response))
    found: list[tuple[dict[str, str], bytes]] = []
    for event in read_parts(read=stream.read, boundary=content_type.partition("boundary=")[2]):
        if event.state is State.BEGIN:
            found.append((event.headers or {}, b""))
        elif event.data is not None:
            found[-1] = (found[-1][0], found[-1][1] + bytes(event.data))
    assert not stream.read()
    return found
