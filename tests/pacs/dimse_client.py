"""Clients of the daemon that share no code with it: pynetdicom, fed with the files' own bytes."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, FileDataset, dcmread
from pydicom.uid import CTImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.presentation import PresentationContext, build_context

from tests.pacs.objects import bare, part10

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"


@dataclass(frozen=True)
class Sent:
    """A data set as it goes over the wire."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def of_file(path: Path) -> Sent:
    """The data set of a Part 10 file, byte by byte."""
    head = dcmread(path, stop_before_pixels=True)
    return Sent(
        str(head.get("SOPClassUID", "")),
        str(head.get("SOPInstanceUID", "")),
        str(head.file_meta.TransferSyntaxUID),
        bare(path.read_bytes()),
    )


def of_data_set(data_set: FileDataset) -> Sent:
    """A data set as `tests.pacs.objects` makes them."""
    return Sent(
        str(data_set.get("SOPClassUID", CTImageStorage)),
        str(data_set.get("SOPInstanceUID", "1.2.3")),
        str(data_set.file_meta.TransferSyntaxUID),
        bare(part10(data_set)),
    )


def associate(
    port: int,
    contexts: Sequence[PresentationContext],
    *,
    calling: str = "TEST",
    called: str = "MINIPACS",
    **options: Any,
) -> Any:
    """An association, established or not.

    Its `rejection` is the result, source and reason of an A-ASSOCIATE-RJ as it came over the wire, else None:
    pynetdicom itself takes a rejection for a lost connection when its thread has read it, and closed, before
    the caller looks.
    """
    rejections: list[tuple[int, int, int]] = []

    def received(event: Any) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejections.append((event.pdu.result, event.pdu.source, event.pdu.reason_diagnostic))

    handlers = [*options.pop("evt_handlers", []), (evt.EVT_PDU_RECV, received)]
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    association = ae.associate(
        "127.0.0.1",
        port,
        contexts=list(contexts),
        ae_title=called,
        max_pdu=256 * 1024,
        evt_handlers=handlers,
        **options,
    )
    association.rejection = rejections[0] if rejections else None  # type: ignore[attr-defined]
    return association


def contexts_of(objects: Iterable[Sent]) -> list[PresentationContext]:
    """One context for each pair of SOP class and transfer syntax."""
    pairs = dict.fromkeys((each.sop_class_uid, each.transfer_syntax_uid) for each in objects)
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs]


def store_over(association: Any, sent: Sent, message_id: int = 1) -> Any:
    """C-STORE over an association; the response, or None when the association is lost."""
    context = next(
        context
        for context in association.accepted_contexts
        if context.abstract_syntax == sent.sop_class_uid and context.transfer_syntax == [sent.transfer_syntax_uid]
    )
    request = C_STORE()
    request.MessageID = message_id
    request.AffectedSOPClassUID = sent.sop_class_uid
    request.AffectedSOPInstanceUID = sent.sop_instance_uid
    request.Priority = 2
    request.DataSet = BytesIO(sent.data)
    association._reactor_checkpoint.clear()
    try:
        association.dimse.send_msg(request, context.context_id)
        _, response = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return response


def store(port: int, objects: Sequence[Sent], **options: Any) -> dict[str, int]:
    """C-STORE objects over one association; the status of each by SOP Instance UID."""
    association = associate(port, contexts_of(objects), **options)
    assert association.is_established
    statuses = {}
    for number, sent in enumerate(objects, 1):
        response = store_over(association, sent, number)
        assert response is not None, f"the association was lost with {sent.sop_instance_uid}"
        statuses[sent.sop_instance_uid] = response.Status
    association.release()
    return statuses


def get(
    port: int,
    contexts: Iterable[PresentationContext],
    *,
    answer: int = 0x0000,
    model: str = STUDY_ROOT_GET,
    before_answer: Callable[[Sent], object] | None = None,
    **keys: Any,
) -> tuple[list[Sent], Dataset, Dataset | None]:
    """C-GET: what came, byte by byte, then the final response and its identifier."""
    received: list[Sent] = []

    def on_store(event: Any) -> int:
        request = event.request
        received.append(
            Sent(
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                request.DataSet.getvalue(),
            )
        )
        if before_answer is not None:
            before_answer(received[-1])
        return answer

    contexts = list(contexts)
    roles = [build_role(uid, scp_role=True) for uid in dict.fromkeys(str(each.abstract_syntax) for each in contexts)]
    association = associate(
        port, [build_context(model), *contexts], ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    assert association.is_established
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    *_, (status, failed) = association.send_c_get(identifier, model)
    association.release()
    return received, status, failed
