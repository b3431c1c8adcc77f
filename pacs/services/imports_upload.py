"""Files that a browser sends, one a request: objects, and ZIPs of them."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import ImportKind, ImportRun, ImportState
from pacs.services.imports_journal import FATE_OF, Fate, Handled, record
from pacs.services.media import Candidate, NoDicom, Refusal, candidates_of_zip, receive_candidate, spooled
from pacs.services.media_names import LONGEST_NAME, printable
from pacs.services.store import Received, Source, store_instances
from radiology.errors import CannotUnderstand, Conflict, NotAllowed, NotFound, OutOfResources, RadiologyError
from radiology.models import Job
from radiology.services.jobs import handles

BLOCK = 1 << 20
BATCH = 64
LARGEST_ZIP = 32 * 1024**3
LEFT_AFTER = timedelta(days=1)
ZIP_MAGIC = b"PK\x03\x04"

Read = Callable[[int], bytes]


def start_upload(*, who: Any) -> ImportRun:
    """The run that the files of one visit to the page belong to. Raises NotAllowed."""
    _require(who)
    return ImportRun.objects.create(
        site=who.site,
        kind=ImportKind.UPLOAD,
        user=who,
        agent=who.get_username(),
        state=ImportState.RUNNING,
        started_at=timezone.now(),
    )


def upload_of(*, who: Any, public_id: Any) -> ImportRun:
    """One's own upload that still goes on. Raises NotAllowed, NotFound, Conflict."""
    _require(who)
    found = ImportRun.objects.select_related("site", "user").filter(
        public_id=public_id, kind=ImportKind.UPLOAD, user=who, site=who.site_id
    )
    run = found.first()
    if run is None:
        raise NotFound(_("This upload is not here: begin a new one."))
    if run.state != ImportState.RUNNING:
        raise Conflict(_("This upload has ended: begin a new one."))
    return run


def end_upload(*, run: ImportRun, skipped: int = 0) -> None:
    """Nothing more comes; `skipped` files were no DICOM and were not sent."""
    ImportRun.objects.filter(pk=run.pk, state=ImportState.RUNNING).update(
        state=ImportState.DONE,
        finished_at=timezone.now(),
        skipped=F("skipped") + skipped,
        version=F("version") + 1,
    )


@handles("pacs.end_left_uploads", daily=True)
def end_left_uploads(job: Job | None = None) -> None:
    """End uploads whose browser was closed without a word."""
    ImportRun.objects.filter(
        kind=ImportKind.UPLOAD, state=ImportState.RUNNING, started_at__lt=timezone.now() - LEFT_AFTER
    ).update(state=ImportState.STOPPED, finished_at=timezone.now(), version=F("version") + 1)


def take_file(*, run: ImportRun, name: str, size: int, read: Read, address: str | None = None) -> list[Handled]:
    """Take in one file of `size` bytes that `read` gives; the fate of it, or of all that a ZIP holds.

    The objects are durable when this returns. Raises OutOfResources; and CannotUnderstand when the
    stream ends early: then nothing is written down, and the file may be sent again.
    """
    name = printable(name)[:LONGEST_NAME]
    first = read(min(BLOCK, size)) if size else b""
    stream = _Whole(first, read, size)
    if first.startswith(ZIP_MAGIC):
        handled = _of_zip(run, name, stream, address)
    else:
        handled = _of_items(run, [Candidate(name, size, 0, stream.blocks)])
        stream.drain()
        record(run=run, handled=handled, address=address)
    return handled


class _Whole:
    """A request's body of a stated size; what is missing at its end is an error."""

    def __init__(self, first: bytes, read: Read, size: int) -> None:
        self._first = first
        self._read = read
        self._left = size

    def read(self, size: int) -> bytes:
        block, self._first = self._first, b""
        block = block or (self._read(min(size, self._left)) if self._left else b"")
        if not block and self._left:
            raise Cut(_("The file did not arrive whole: send it again."))
        self._left -= len(block)
        return block

    def blocks(self) -> Iterator[bytes]:
        while block := self.read(BLOCK):
            yield block

    def drain(self) -> None:
        """Read what nobody wanted, so that the browser hears the answer."""
        for _block in self.blocks():
            pass


class Cut(CannotUnderstand):
    """The connection ended before the file did."""


def _of_zip(run: ImportRun, name: str, stream: _Whole, address: str | None) -> list[Handled]:
    with spooled(stream.read, limit=LARGEST_ZIP) as file:
        handled: list[Handled] = []
        try:
            entries = candidates_of_zip(file, name=name)
            while chunk := list(islice(entries, BATCH)):
                some = _of_items(run, chunk)
                record(run=run, handled=some, address=address)
                handled += some
        except OutOfResources:
            raise
        except RadiologyError as error:
            some = [Handled(name, Fate.REFUSED, error.message)]
            record(run=run, handled=some, address=address)
            handled += some
        return handled


def _of_items(run: ImportRun, items: list[Candidate | Refusal]) -> list[Handled]:
    """Read some files and store them together."""
    source = Source.of_site(run.site)
    handled: list[Handled] = []
    waiting: list[tuple[Candidate, Received]] = []
    try:
        for each in items:
            if isinstance(each, Refusal):
                handled.append(Handled(each.name, Fate.REFUSED, each.reason))
                continue
            try:
                waiting.append((each, receive_candidate(source=source, candidate=each)))
            except NoDicom as nothing:
                handled.append(Handled(each.name, Fate.SKIPPED, nothing.message))
            except (Cut, OutOfResources):
                raise
            except RadiologyError as error:
                handled.append(Handled(each.name, Fate.REFUSED, error.message, each.size))
    except BaseException:
        for _candidate, received in waiting:
            received.discard()
        raise
    stored = store_instances(received=[received for _candidate, received in waiting])
    for (candidate, _received), outcome in zip(waiting, stored, strict=True):
        fate = FATE_OF[outcome.outcome]
        handled.append(Handled(candidate.name, fate, outcome.reason, candidate.size, "", outcome.study_instance_uid))
    return handled


def _require(who: Any) -> None:
    if not who.may("studies.write") or not who.has_perm("pacs.add_importrun"):
        raise NotAllowed(_("You may not import: ask your administrator for the right."))
