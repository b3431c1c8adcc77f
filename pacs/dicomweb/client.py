"""Another DICOMweb server (PS3.18): what it holds, and its objects one by one."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from urllib3.response import BaseHTTPResponse

from pacs.dicomweb.media_types import DICOM, MULTIPART, parse_accept
from pacs.dicomweb.multipart import State, read_parts
from pacs.http_peer import BLOCK, HttpPeer
from pacs.services.media import Candidate
from radiology.dicom import is_uid
from radiology.errors import CannotUnderstand, InvalidValue, Unreachable

PAGE = 500
STUDY, INSTANCE = "0020000D", "00080018"
SERIES = "0020000E"


class DicomWebServer(HttpPeer):
    """`url` is its base address, `.../dicom-web`. Several threads may ask."""

    def candidates(self, filters: Mapping[str, str]) -> Iterator[Candidate]:
        """Every object of the studies that match, as QIDO-RS lists them. Raises Unreachable, NotAllowed."""
        for study in self._uids("studies", STUDY, filters):
            for address in self._instances(study):
                yield Candidate(f"{self.url}/{address}", 0, 0, partial(self._object, address))

    def _instances(self, study: str) -> Iterator[str]:
        for series in self._uids(f"studies/{study}/series", SERIES, {}):
            for instance in self._uids(f"studies/{study}/series/{series}/instances", INSTANCE, {}):
                yield f"studies/{study}/series/{series}/instances/{instance}"

    def _uids(self, resource: str, tag: str, filters: Mapping[str, str]) -> Iterator[str]:
        """The UIDs of a search, page by page. A server that gives the same page again has no more."""
        offset, before = 0, set[str]()
        while True:
            query = urlencode({**filters, "limit": str(PAGE), "offset": str(offset)})
            found = [_uid(each, tag) for each in self._found(f"{resource}?{query}")]
            new = [uid for uid in dict.fromkeys(found) if uid not in before]
            if not new:
                return
            yield from new
            before = set(found)
            offset += len(found)
            if len(found) > PAGE:
                return  # it knows no pages and gave everything

    def _found(self, address: str) -> list[Any]:
        found = self.json(address, accept="application/dicom+json")
        if found is None:
            return []
        if not isinstance(found, list):
            raise Unreachable("The server answers a search with what is no list.")
        return found

    def _object(self, address: str) -> Iterator[bytes]:
        """The Part 10 file of one instance, in its stored transfer syntax (WADO-RS)."""
        return self.blocks(address, accept=f'{MULTIPART}; type="{DICOM}"; transfer-syntax=*', part=_part)


def _part(response: BaseHTTPResponse) -> Iterator[bytes]:
    """The one object of a response, which may be multipart or not."""
    try:
        types = parse_accept(response.headers.get("Content-Type", ""))
    except InvalidValue:
        types = []
    if not types or types[0].type not in {DICOM, MULTIPART}:
        raise CannotUnderstand("The server answers with something that is no DICOM.")
    if types[0].type == DICOM:
        yield from response.stream(BLOCK)
        return
    parts = 0
    for event in read_parts(read=response.read, boundary=types[0].parameters.get("boundary", "")):
        if event.state is State.BEGIN:
            parts += 1
            if parts > 1:
                raise CannotUnderstand("The server answers with several objects where one was asked for.")
        elif event.state is State.DATA and event.data is not None:
            yield bytes(event.data)


def _uid(answer: Any, tag: str) -> str:
    try:
        uid = answer[tag]["Value"][0]
    except (TypeError, KeyError, IndexError):
        uid = None
    if not isinstance(uid, str) or not is_uid(uid):
        raise Unreachable("The server answers a search with what was not asked for.")
    return uid
