"""What we ask of other archives: C-FIND, C-MOVE and C-GET as user (PS3.4 Annex C).

A peer is not trusted: whatever it answers, each of these ends within its time, with the answers or with
Unreachable. `Refused` is its final word: asking again would change nothing.
"""

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset, config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.dimse import data_sets
from pacs.dimse.association import Context
from pacs.dimse.message import Command, CommandField, Status, is_pending
from pacs.dimse.pdu import Role
from pacs.dimse.requestor import ANSWER_SECONDS, MOST_CONTEXTS, RequestedAssociation, associate
from pacs.dimse.storage_contexts import STORAGE_CLASSES, contexts_of
from pacs.models import ApplicationEntity
from pacs.services.storage_classes import is_storage
from pacs.services.store import Source, Stored, StoreOutcome, receive, store_instance
from radiology.dicom import clean, decode, encodings, is_uid
from radiology.errors import CannotUnderstand, OutOfResources, RadiologyError, TooLarge, Unreachable, outcome_of

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1", "1.2.840.10008.5.1.4.1.2.2"
FIND, MOVE, GET = "1", "2", "3"
UNCOMPRESSED = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
UNIQUE_KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
UTF_8 = "ISO_IR 192"
TEXT_VR = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
# A retrieval may stand still for so long: archives fetch from tape.
SILENCE_SECONDS = 300.0
SLOWEST = 1024  # bytes a second
MOST_SUBOPERATIONS = 0xFFFF

Beat = Callable[[], object]
# Of a retrieval: whether something came by another way, so that the node is given more time.
Watch = Callable[[], bool]


class Refused(Unreachable):
    """The node answered, with a status that is no success. `status` is that of its response."""

    def __init__(self, message: str, *, field: str = "", status: int = 0) -> None:
        super().__init__(message, field=field, status=status)
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later: the node lacks resources at the moment."""
        return self.status >> 8 == 0xA7


@dataclass(frozen=True)
class Counts:
    """Sub-operations of a retrieval so far. Of the last one, `status` is final and `failed_uids` says what failed."""

    completed: int = 0
    failed: int = 0
    warning: int = 0
    remaining: int | None = None
    status: int = Status.PENDING
    comment: str = ""
    failed_uids: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        return self.completed + self.failed + self.warning


@dataclass(frozen=True)
class Arrived:
    """One object that came by C-GET, and the status that it was answered with. `stored` unless it was refused."""

    sop_class_uid: str
    sop_instance_uid: str
    status: int
    error: str = ""
    size: int = 0
    stored: Stored | None = None


def find(
    *,
    node: ApplicationEntity,
    level: str,
    keys: Mapping[str, str],
    returned: Iterable[str] = (),
    limit: int = 1000,
    seconds: float = ANSWER_SECONDS,
    beat: Beat | None = None,
) -> Generator[Dataset, None, None]:
    """The answers of `node` to a search at `level` (PATIENT, STUDY, SERIES, IMAGE), text decoded, at most `limit`.

    `keys` are values by keyword, `returned` further keywords to ask for. What is more than `limit` is
    called off (C-CANCEL). `seconds` is for all of it, the caller's own time included. Study Root;
    Patient Root for patients, or where a node offers only that. Raises Unreachable, Refused when the node says no.
    """
    identifier = _identifier(level, {**dict.fromkeys(returned, ""), **keys})
    roots = (PATIENT_ROOT,) if level == "PATIENT" else (STUDY_ROOT, PATIENT_ROOT)
    contexts = [(f"{root}.{FIND}", UNCOMPRESSED) for root in roots]
    with associate(node, contexts, beat=beat, seconds=seconds) as association:
        context = _context(association, FIND, "search (C-FIND)")
        answers = association.exchange(
            context, _request(context, CommandField.C_FIND_RQ), data_sets.encode(identifier, context.transfer_syntax)
        )
        with contextlib.closing(answers):
            for number, (response, data) in enumerate(answers, 1):
                if not is_pending(response["Status"]):
                    if response["Status"] != Status.SUCCESS:
                        raise _refusal(node, "the search", response)
                elif data is None:
                    raise Unreachable(f"{node.title} answers a search without a data set.")
                elif number > limit:
                    return
                else:
                    yield _decoded(node, data, context.transfer_syntax)


def move(
    *,
    node: ApplicationEntity,
    destination: str,
    study_instance_uid: str,
    series_instance_uids: Sequence[str] = (),
    sop_instance_uids: Sequence[str] = (),
    silence_seconds: float = SILENCE_SECONDS,
    watch: Watch | None = None,
) -> Generator[Counts, None, None]:
    """Have `node` send objects of a study to the AE title `destination`; counts as it reports them.

    The last counts have the final status: success, B000 or A702 (some, or all, failed). Closing the
    iterator early cancels, and so does what `watch` raises: it is called at least every half second, and
    says whether objects have come, since a node may be silent while it sends. Raises Unreachable;
    Refused on any other status (A801: the node does not know the destination).
    """
    identifier = _selection(study_instance_uid, series_instance_uids, sop_instance_uids)
    contexts = [(f"{root}.{MOVE}", UNCOMPRESSED) for root in (STUDY_ROOT, PATIENT_ROOT)]
    with associate(node, contexts, beat=watch) as association:
        context = _context(association, MOVE, "retrieval by C-MOVE")
        request = _request(context, CommandField.C_MOVE_RQ, MoveDestination=destination)
        yield from _retrieve(node, association, context, request, identifier, silence_seconds, watch, None)


def get(
    *,
    node: ApplicationEntity,
    source: Source,
    study_instance_uid: str,
    series_instance_uids: Sequence[str] = (),
    sop_instance_uids: Sequence[str] = (),
    sop_class_uids: Iterable[str] = (),
    arrived: Callable[[Arrived], None] | None = None,
    silence_seconds: float = SILENCE_SECONDS,
    watch: Watch | None = None,
) -> Generator[Counts, None, None]:
    """Get objects of a study over our own association and store them; counts as `node` reports them.

    `sop_class_uids` are those of the study, where they are known: they get more contexts, so that more
    transfer syntaxes can pass. Each object is durable before it is answered; `arrived` is told of it.
    Ends as `move` does; OutOfResources when we cannot store. Raises Unreachable when an object of
    another study comes.
    """
    identifier = _selection(study_instance_uid, series_instance_uids, sop_instance_uids)
    classes = [uid for uid in dict.fromkeys(sop_class_uids) if is_storage(uid)] or list(STORAGE_CLASSES)
    retrieval: list[tuple[str, str | tuple[str, ...]]] = [
        (f"{root}.{GET}", UNCOMPRESSED) for root in (STUDY_ROOT, PATIENT_ROOT)
    ]
    contexts = [*retrieval, *contexts_of(classes, most=MOST_CONTEXTS - len(retrieval))]
    roles = {uid: Role(scu=False, scp=True) for uid, _ in contexts[len(retrieval) :]}
    with associate(node, contexts, roles=roles, beat=watch) as association:
        context = _context(association, GET, "retrieval by C-GET")
        inbox = _Inbox(node, association, source, study_instance_uid, arrived, silence_seconds)
        request = _request(context, CommandField.C_GET_RQ)
        yield from _retrieve(node, association, context, request, identifier, silence_seconds, watch, inbox)


class _Inbox:
    """Takes the C-STORE sub-operations of one C-GET, one after the other."""

    def __init__(
        self,
        node: ApplicationEntity,
        association: RequestedAssociation,
        source: Source,
        study_instance_uid: str,
        arrived: Callable[[Arrived], None] | None,
        silence_seconds: float,
    ) -> None:
        self.count = 0
        self._node = node
        self._connection = association.connection
        self._source = source
        self._study_instance_uid = study_instance_uid
        self._arrived = arrived
        self._silence_seconds = silence_seconds

    def serve(
        self, context: Context, command: Command, data_set: Iterator[memoryview]
    ) -> tuple[int, Mapping[str, object]]:
        """PS3.4 C.4.3.3: the object is stored, or refused with a status; the others go on."""
        self.count += 1
        if self.count > MOST_SUBOPERATIONS:
            raise Unreachable(f"{self._node.title} sends objects without end.")
        sop_instance_uid = command.get("AffectedSOPInstanceUID", "")
        try:
            size, stored = self._store(context, sop_instance_uid, data_set)
            status: int = Status.SUCCESS
            error = ""
            if stored.outcome is StoreOutcome.REFUSED:
                status, error = Status.CANNOT_UNDERSTAND, stored.reason
            elif stored.outcome is StoreOutcome.HELD:
                error = stored.reason
        except (OutOfResources, Unreachable):
            raise
        except RadiologyError as refusal:
            status, error = outcome_of(refusal).dimse, refusal.message
            size, stored = 0, None
        if self._arrived is not None:
            self._arrived(Arrived(context.abstract_syntax, sop_instance_uid[:64], status, error, size, stored))
        self._connection.until = time.monotonic() + self._silence_seconds
        return status, {"ErrorComment": error} if error else {}

    def _store(self, context: Context, sop_instance_uid: str, data_set: Iterator[memoryview]) -> tuple[int, Stored]:
        if not is_storage(context.abstract_syntax) or not is_uid(sop_instance_uid):
            raise CannotUnderstand("The C-STORE request names no object to store.")
        began, size = time.monotonic(), 0
        with receive(
            source=self._source,
            transfer_syntax_uid=context.transfer_syntax,
            sop_class_uid=context.abstract_syntax,
            sop_instance_uid=sop_instance_uid,
        ) as incoming:
            for fragment in data_set:
                incoming.write(fragment)
                size += len(fragment)
                self._connection.until = began + self._silence_seconds + size / SLOWEST
            received = incoming.finish()
        if received.study_instance_uid != self._study_instance_uid:
            received.discard()
            raise Unreachable(f"{self._node.title} sends an object of another study than was asked for.")
        return size, store_instance(received=received)


def _retrieve(
    node: ApplicationEntity,
    association: RequestedAssociation,
    context: Context,
    request: Command,
    identifier: Dataset,
    silence_seconds: float,
    watch: Watch | None,
    inbox: _Inbox | None,
) -> Generator[Counts, None, None]:
    connection = association.connection
    connection.pdu_seconds = math.inf  # what has to happen within `silence_seconds` is progress
    connection.until = time.monotonic() + silence_seconds

    def beat() -> None:
        if watch is not None and watch():
            connection.until = time.monotonic() + silence_seconds

    connection.beat = beat
    encoded = data_sets.encode(identifier, context.transfer_syntax)
    answers = association.exchange(context, request, encoded, serve=inbox.serve if inbox else None)
    last = Counts()
    with contextlib.closing(answers):
        for response, data in answers:
            counts = _counts(node, response, data, context.transfer_syntax)
            steps = (counts.completed - last.completed, counts.failed - last.failed, counts.warning - last.warning)
            if is_pending(response["Status"]) and min(steps) < 0:
                raise Unreachable(f"{node.title} counts backwards: its answers make no sense.")
            if counts.done > last.done:
                connection.until = time.monotonic() + silence_seconds
            last = counts
            yield counts


def _counts(node: ApplicationEntity, response: Command, data: bytes | None, transfer_syntax: str) -> Counts:
    """Of one response. Raises Refused for a status that says that nothing was done."""
    status = response["Status"]
    if not is_pending(status) and status not in (
        Status.SUCCESS,
        Status.SUBOPERATIONS_WITH_FAILURES,
        Status.UNABLE_TO_PERFORM_SUBOPERATIONS,
    ):
        raise _refusal(node, "the retrieval", response)
    failed: tuple[str, ...] = ()
    if data and not is_pending(status):
        with contextlib.suppress(Unreachable):
            value = _decoded(node, data, transfer_syntax).get("FailedSOPInstanceUIDList") or []
            values = list(value) if isinstance(value, MultiValue) else [value]
            failed = tuple(uid for uid in map(str, values) if is_uid(uid))
    return Counts(
        completed=response.get("NumberOfCompletedSuboperations", 0),
        failed=response.get("NumberOfFailedSuboperations", 0),
        warning=response.get("NumberOfWarningSuboperations", 0),
        remaining=response.get("NumberOfRemainingSuboperations"),
        status=status,
        comment=clean(response.get("ErrorComment", ""))[:64],
        failed_uids=failed,
    )


def _refusal(node: ApplicationEntity, what: str, response: Command) -> Refused:
    status = response["Status"]
    comment = clean(response.get("ErrorComment", ""))[:64]
    said = f": “{comment}”" if comment else ""
    return Refused(f"{node.title} refuses {what} with status {status:04X}{said}.", status=status)


def _context(association: RequestedAssociation, kind: str, what: str) -> Context:
    for root in (STUDY_ROOT, PATIENT_ROOT):
        for context in association.contexts.values():
            if context.abstract_syntax == f"{root}.{kind}":
                return context
    raise Refused(f"{association.title} does not offer {what}.", status=Status.SOP_CLASS_NOT_SUPPORTED)


def _request(context: Context, field: CommandField, **fields: Any) -> Command:
    return {"AffectedSOPClassUID": context.abstract_syntax, "CommandField": field, "Priority": 0, **fields}


def _selection(study: str, series: Sequence[str], instances: Sequence[str]) -> Dataset:
    """The identifier of a retrieval (PS3.4 C.4.2.2.1): one study, or series of it, or instances of one series."""
    keys = {"StudyInstanceUID": study}
    level = "STUDY"
    if series:
        level, keys["SeriesInstanceUID"] = "SERIES", "\\".join(series)
    if instances:
        if len(series) != 1:
            raise ValueError("instances of one series")
        level, keys["SOPInstanceUID"] = "IMAGE", "\\".join(instances)
    return _identifier(level, keys)


def _identifier(level: str, keys: Mapping[str, str]) -> Dataset:
    identifier = Dataset()
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = UTF_8
    identifier.QueryRetrieveLevel = level
    for keyword, value in {UNIQUE_KEYS[level]: "", **keys}.items():
        vr = dictionary_VR(keyword)
        filled: Any = [] if vr == "SQ" else value
        identifier.add(DataElement(Tag(keyword), vr, filled, validation_mode=config.IGNORE))
    return identifier


def _decoded(node: ApplicationEntity, data: bytes, transfer_syntax: str) -> Dataset:
    """An identifier with its text decoded. A value that cannot be read is emptied; the others stay."""
    try:
        data_set = data_sets.decode(data, transfer_syntax)
    except (CannotUnderstand, TooLarge) as error:
        raise Unreachable(f"{node.title} answers with a data set that cannot be read.") from error
    _decode_text(data_set, encodings(""))
    return data_set


def _decode_text(data_set: Dataset, codecs: list[str]) -> None:
    if "SpecificCharacterSet" in data_set:
        raw = data_set.get_item("SpecificCharacterSet").value or b""
        terms = raw.decode("latin-1") if isinstance(raw, bytes) else "\\".join([raw] if isinstance(raw, str) else raw)
        codecs = encodings(terms)
        del data_set.SpecificCharacterSet
    for tag in list(data_set.keys()):
        raw_element = data_set.get_item(tag)
        value = raw_element.value
        vr = raw_element.VR or _dictionary_vr(tag)
        if vr in TEXT_VR and isinstance(value, bytes):
            text = clean(decode(value, codecs, person_name=vr == "PN"))
            data_set[tag] = DataElement(tag, vr, text, validation_mode=config.IGNORE)
            continue
        try:
            element = data_set[tag]
        except Exception:  # pydicom raises whatever its converters do
            data_set[tag] = DataElement(tag, vr, None)
            continue
        if element.VR == "SQ":
            for item in element.value:
                _decode_text(item, codecs)


def _dictionary_vr(tag: Any) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
