"""An Orthanc that runs, over its REST API: what it holds, and its objects one by one."""

import re
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.utils.translation import gettext as _
from urllib3.response import BaseHTTPResponse

from integrations.orthanc_import.checksums import Checksums
from pacs.http_peer import BLOCK, MAY_PASS, HttpPeer
from pacs.services.media import Candidate
from radiology.errors import CannotUnderstand, NotAllowed, NotFound, RadiologyError, Unreachable

PAGE = 1000
IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")


class OrthancServer(HttpPeer):
    """`url` is its address, `http://host:8042`. Several threads may ask.

    It goes on receiving and deleting while it is read. Each of its files has a UUID of its own, so that an object
    that was overwritten is another one.
    """

    def __init__(self, url: str, *, authorization: str = "", connections: int = 8) -> None:
        # Of 500 it is Orthanc itself that says it: this one object it cannot read.
        super().__init__(
            url, authorization=authorization, connections=connections, may_pass=MAY_PASS - {500}, plain=True
        )
        self.checksums = Checksums()

    def require_orthanc(self) -> None:
        """Raise NotAllowed, Unreachable or CannotUnderstand when no Orthanc answers us there."""
        try:
            system = self.json("system")
        except NotAllowed as error:
            raise NotAllowed(
                _(
                    "Orthanc refuses us: give a user and password that may read everything (--user, --password-file). "
                    "To other machines it answers only where its RemoteAccessAllowed is true."
                )
            ) from error
        except NotFound:
            system = None
        if not isinstance(system, dict) or "Version" not in system or "DicomAet" not in system:
            raise CannotUnderstand(_("There is no Orthanc at %(url)s.") % {"url": self.url})

    def counted(self) -> tuple[int, int]:
        """How many objects it has, and how many bytes they are."""
        try:
            found = self.json("statistics")
            return int(found["CountInstances"]), int(found["TotalUncompressedSize"])
        except (TypeError, KeyError, ValueError) as error:
            raise Unreachable(_("Orthanc answers with what was not asked for.")) from error

    def candidates(self) -> Iterator[Candidate]:
        """Every object, those too that come in while the list is read. Raises Unreachable, NotAllowed."""
        arrivals = _Arrivals(self)
        for page in self._pages():
            arrivals.note(listed={_identifier(each) for each in page})
            yield from map(self._candidate, page)
        arrivals.note(listed=set())
        for identifier in arrivals.unlisted:
            try:
                yield self._candidate(self.json(f"instances/{identifier}"))
            except NotFound:
                continue  # it came and went

    def _pages(self) -> Iterator[list[Any]]:
        """The list of objects. It may become longer or shorter meanwhile, but keeps its order.

        So each page must begin with something of the page before it, or objects have gone missing in between: then
        the page before is read again.
        """
        offset, before = 0, set[str]()
        while True:
            found = self.json(f"instances?expand&since={max(0, offset - 1)}&limit={PAGE}")
            if not isinstance(found, list) or len(found) > PAGE:
                raise Unreachable(_("Orthanc answers with what was not asked for."))
            names = [_identifier(each) for each in found]
            if offset and not before.intersection(names):
                offset = max(0, offset - PAGE)
                continue
            new = [each for each, name in zip(found, names, strict=True) if name not in before]
            if new:
                yield new
            if len(found) < PAGE:
                return
            offset, before = max(0, offset - 1) + len(found), set(names)

    def _candidate(self, entry: Any) -> Candidate:
        identifier = _identifier(entry)
        try:
            size, mark = int(entry.get("FileSize", 0)), uuid.UUID(str(entry.get("FileUuid"))).int
        except (TypeError, ValueError):
            size = mark = 0
        name = f"{self.url}/instances/{identifier}"
        return Candidate(name, max(0, size), mark, partial(self._object, identifier))

    def _object(self, identifier: str) -> Iterator[bytes]:
        attachment = f"instances/{identifier}/attachments/dicom"
        try:
            md5 = self.text(f"{attachment}/md5").decode("ascii", "replace").strip()
        except NotFound:
            md5 = ""  # Orthanc was told not to keep any
        return self.checksums.checked(partial(self._data, f"{attachment}/data"), md5)

    def _data(self, address: str) -> Iterator[bytes]:
        try:
            yield from self.blocks(address, part=_body)
        except NotFound as error:
            raise NotFound(_("Orthanc has no file of it: it was deleted, or the file is lost.")) from error
        except CannotUnderstand as error:
            raise CannotUnderstand(_("Orthanc cannot read its file: %(said)s") % {"said": error.message}) from error
        except Unreachable as error:
            if not self._answers():
                raise
            raise CannotUnderstand(_("Orthanc does not send its file whole: %(said)s") % {"said": error.message}) from (
                error
            )

    def _answers(self) -> bool:
        try:
            self.require_orthanc()
        except RadiologyError:
            return False
        return True


class _Arrivals:
    """What came in since the list was begun, by Orthanc's log of changes, and is on none of its pages.

    A database may put new objects between old ones, on a page that was read already.
    """

    def __init__(self, server: OrthancServer) -> None:
        self.unlisted: dict[str, None] = {}
        self._server = server
        found = self._changes("changes?last")
        self._last = found[0] if found else None

    def note(self, *, listed: set[str]) -> None:
        """Read what the log says by now; `listed` are on the page that was read just before."""
        while self._last is not None:
            found = self._changes(f"changes?since={self._last}&limit={PAGE}")
            if found is None:
                break
            last, done, new = found
            self.unlisted.update(dict.fromkeys(new))
            if last <= self._last:
                break
            self._last = last
            if done:
                break
        for identifier in listed.intersection(self.unlisted):
            del self.unlisted[identifier]

    def _changes(self, address: str) -> tuple[int, bool, list[str]] | None:
        """How far they go, whether that is the end, the new objects; None where no log is kept."""
        try:
            found = self._server.json(address)
            new = [each["ID"] for each in found["Changes"] if each["ChangeType"] == "NewInstance"]
            last, done = int(found["Last"]), bool(found["Done"])
        except (NotFound, NotAllowed, CannotUnderstand):
            return None
        except (TypeError, KeyError, ValueError) as error:
            raise Unreachable(_("Orthanc answers with what was not asked for.")) from error
        return last, done, [each for each in new if isinstance(each, str) and IDENTIFIER.fullmatch(each)]


def _identifier(entry: Any) -> str:
    identifier = entry.get("ID") if isinstance(entry, dict) else None
    if not isinstance(identifier, str) or not IDENTIFIER.fullmatch(identifier):
        raise Unreachable(_("Orthanc answers with what was not asked for."))
    return identifier


def _body(response: BaseHTTPResponse) -> Iterator[bytes]:
    return response.stream(BLOCK)
