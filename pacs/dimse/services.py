"""What a module must export to answer DIMSE messages, and how the daemon composes such modules.

`settings.DIMSE["SERVICES"]` names modules; each exports `SERVICES`, a list of Service. A handler gets
a Request and yields Answers: any number of pending ones, then the final one. Code after the final
`yield` runs once the peer has the answer. What a handler raises becomes the final answer.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydicom import Dataset

from pacs.dimse import data_sets
from pacs.dimse.association import Context
from pacs.dimse.message import NO_DATA_SET, Command
from pacs.dimse.syntaxes import MESSAGE_TRANSFER_SYNTAXES
from pacs.models import ApplicationEntity
from pacs.services.metadata import Attributes
from radiology.errors import CannotUnderstand, TooLarge
from radiology.models import AuditAction

if TYPE_CHECKING:
    from pacs.dimse.acceptor import ServedAssociation

LARGEST_IDENTIFIER = 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """A response: its status, its data set or the attributes of one, further elements of its command set by keyword.

    `may_wait`: something else is sent at once, and it may go out with that.
    """

    status: int
    data_set: Dataset | Attributes | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    may_wait: bool = False


class Request:
    """One message and the association it came over.

    A handler may put facts for the audit trail into `detail` and `study_instance_uids`.
    """

    def __init__(self, association: "ServedAssociation", context: Context, command: Command) -> None:
        self.association = association
        self.context = context
        self.command = command
        self.detail: dict[str, Any] = {}
        self.study_instance_uids: list[str] = []
        self._data: Iterator[memoryview] | None = None
        if command.get("CommandDataSetType", NO_DATA_SET) != NO_DATA_SET:
            self._data = association.connection.data_set(context.context_id)

    @property
    def node(self) -> ApplicationEntity:
        """Who asks; unsaved when the caller is no registered node and such are let in."""
        return self.association.node

    @property
    def sop_instance_uid(self) -> str:
        """The instance that the request is about; empty when it names none (PS3.7 10.3: affected or requested)."""
        return self.command.get("AffectedSOPInstanceUID") or self.command.get("RequestedSOPInstanceUID", "")

    @property
    def message_id(self) -> int:
        return self.command.get("MessageID", 0)

    def fragments(self) -> Iterator[memoryview]:
        """The encoded data set in pieces as they arrive; each is valid until the next is asked for.

        Raises CannotUnderstand when the message has none. An error amid them ends neither the
        iterator nor the association: `drain` takes in the rest.
        """
        if self._data is None:
            raise CannotUnderstand("The message has no data set.")
        return self._data

    def data_set(self, *, largest: int = LARGEST_IDENTIFIER) -> Dataset:
        """The decoded data set. Raises CannotUnderstand; TooLarge above `largest` bytes."""
        return data_sets.decode(self._encoded(largest), self.context.transfer_syntax)

    def attributes(self, *, largest: int = LARGEST_IDENTIFIER) -> Attributes:
        """The data set in the DICOM JSON model. Raises CannotUnderstand; TooLarge above `largest` bytes."""
        return data_sets.decode_json(self._encoded(largest), self.context.transfer_syntax)

    def _encoded(self, largest: int) -> bytes:
        data = bytearray()
        for fragment in self.fragments():
            if len(data) + len(fragment) > largest:
                raise TooLarge("The data set of the request is too large.")
            data += fragment
        return bytes(data)

    def drain(self) -> None:
        """Take in what is left of the data set, so that the next message can be read."""
        for _ in self._data or ():
            pass

    def is_cancelled(self) -> bool:
        """Whether the peer wants no more answers. Does not wait."""
        return self.association.is_cancelled(self.message_id)


@dataclass(frozen=True)
class Operation:
    """How one kind of request is answered.

    `right` names the field of ApplicationEntity that the caller must have set. With an `event`, each
    request is audited. `out_of_resources` is the status when the database or disk fails; without it,
    that of `pacs.dimse.statuses`.
    """

    handler: Callable[[Request], Iterable[Answer]]
    right: str = ""
    event: str = ""
    action: AuditAction = AuditAction.EXECUTE
    out_of_resources: int | None = None


def choose_message_syntax(node: ApplicationEntity, proposed: Sequence[str], peer_provides: bool) -> str | None:
    """Our favourite among the uncompressed syntaxes; None when there is none."""
    return next((syntax for syntax in MESSAGE_TRANSFER_SYNTAXES if syntax in proposed), None)


@dataclass(frozen=True, kw_only=True)
class Service:
    """SOP classes that are negotiated and answered alike.

    `sop_classes` is a frozenset, or anything with `in`, which is then asked after all frozensets.
    `operations` maps a command field to its operation. `choose_syntax` gets the caller, the proposed
    transfer syntaxes and whether the caller will be provider of the class (PS3.7 D.3.3.4), which
    `peer_may_provide` allows. `answer_extended` turns a proposed SOP Class Extended Negotiation
    into ours. `when_idle` is called between the messages of such an association, and says in how many
    seconds it wants to be called again (None: not before the next message); it must not wait.
    `before_others` runs before a message of another service is answered. `at_end` runs when the association ends.
    """

    sop_classes: Container[str]
    operations: Mapping[int, Operation]
    choose_syntax: Callable[[ApplicationEntity, Sequence[str], bool], str | None] = choose_message_syntax
    peer_may_provide: bool = False
    answer_extended: Callable[[bytes], bytes] | None = None
    when_idle: "Callable[[ServedAssociation], float | None] | None" = None
    before_others: "Callable[[ServedAssociation], None] | None" = None
    at_end: "Callable[[ServedAssociation], None] | None" = None


def compose(modules: Iterable[str]) -> list[Service]:
    """The services of all `modules`, those that list their SOP classes first."""
    services = [service for module in modules for service in import_module(module).SERVICES]
    return sorted(services, key=lambda service: not isinstance(service.sop_classes, frozenset))
