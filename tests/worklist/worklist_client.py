"""Devices that ask for their worklist: dcmtk's findscu as it comes, and pynetdicom."""

import subprocess
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as Items
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_FIND

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"
SPS = "ScheduledProcedureStepSequence[0]"


def findscu(
    program: str,
    port: int,
    folder: Path,
    *keys: str,
    calling: str = "CT1",
    called: str = "MINIPACS_MWL",
    options: Sequence[str] = (),
) -> list[Dataset]:
    """`findscu -W` with these `-k` keys: the answers, in the order in which they came."""
    arguments = [argument for key in keys for argument in ("-k", key)]
    command = [program, "-W", "-v", "-X", "-od", str(folder), "-aet", calling, "-aec", called, *options]
    done = subprocess.run([*command, *arguments, "127.0.0.1", str(port)], check=False, timeout=60, capture_output=True)
    assert done.returncode == 0, (done.stdout + done.stderr).decode("utf-8", "replace")
    files = sorted(folder.glob("rsp*.dcm"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers: list[Dataset] = [dcmread(file, force=True) for file in files]
        for answer in answers:
            answer.decode()
    for file in files:
        file.unlink()
    return answers


def identifier(step: dict[str, Any] | None = None, **keys: Any) -> Dataset:
    """An identifier; `step` are the keys of Scheduled Procedure Step Sequence."""
    data_set = Dataset()
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    if step is not None:
        item = Dataset()
        for keyword, value in step.items():
            setattr(item, keyword, value)
        data_set.ScheduledProcedureStepSequence = Items([item])
    return data_set


def ask(
    port: int,
    step: dict[str, Any] | None = None,
    *,
    data_set: Dataset | None = None,
    calling: str = "CT1",
    called: str = "MINIPACS_MWL",
    **keys: Any,
) -> list[tuple[Any, Any]]:
    """Every response's status and identifier, over an association of its own that must survive."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    ae.add_requested_context(MODALITY_WORKLIST, ImplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = data_set if data_set is not None else identifier(step, **keys)
        answers = list(association.send_c_find(wanted, MODALITY_WORKLIST))
    assert association.is_established, "the association was lost"
    association.release()
    return answers


def ask_raw(port: int, identifier: bytes) -> int:
    """The status that an identifier of any bytes is answered with."""
    ae = AE(ae_title="CT1")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    ae.add_requested_context(MODALITY_WORKLIST, ImplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port, ae_title="MINIPACS_MWL")
    request = C_FIND()
    request.MessageID = 1
    request.AffectedSOPClassUID = MODALITY_WORKLIST
    request.Priority = 2
    request.Identifier = BytesIO(identifier)
    association._reactor_checkpoint.clear()
    try:
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, response = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    assert association.is_established, "the association was lost"
    association.release()
    return int(response.Status)
