"""Transfers that requests begin, and waiting for them where the request wants that."""

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpResponse

from integrations.orthanc.access import answer, field
from pacs.dimse.scu_query import find as query_node
from pacs.models import ApplicationEntity, Transfer, TransferState
from pacs.services import transfers
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, Unreachable
from radiology.services import audit
from radiology.tasks import ring

MOST_RESOURCES = 1000
# So long a synchronous request is held; then it is answered as an asynchronous one.
WAITS = 50.0
LOOKS_EVERY = 0.2
# So long another node may take to answer a search.
ASKS = 30.0


def is_synchronous(given: dict[str, Any]) -> bool:
    """As Orthanc reads `Synchronous` and `Asynchronous`: it waits unless it is told not to."""
    return field(given, "Synchronous", bool, not field(given, "Asynchronous", bool, False)) is True


def job_answer(begun: list[Transfer]) -> dict[str, Any]:
    """What was begun; `Jobs` names all of several."""
    first = str(begun[0].public_id)
    found: dict[str, Any] = {"ID": first, "Path": f"/jobs/{first}"}
    if len(begun) > 1:
        found["Jobs"] = [str(each.public_id) for each in begun]
    return found


def waited_for_transfers(begun: list[Transfer]) -> bool:
    """Whether they ended while the request could be held. The rows are what they are then."""
    keys = [each.pk for each in begun]

    def are_over() -> bool:
        begun[:] = Transfer.objects.select_related("job", "node").filter(pk__in=keys).order_by("pk")
        return all(each.is_finished for each in begun)

    return waited_for(are_over)


def waited_for(is_over: Callable[[], bool]) -> bool:
    """Wake a worker, and wait until something is over, as long as a request can be held; whether it is."""
    ring()
    until = time.monotonic() + WAITS
    while not is_over():
        if time.monotonic() > until:
            return False
        time.sleep(LOOKS_EVERY)
    return True


def is_here(title: Any) -> bool:
    """Whether a destination is this archive: by any of its titles, or by none."""
    return title in {None, "", settings.DIMSE["AE_TITLE"], *settings.DIMSE["EXTRA_AE_TITLES"]}


# UIDs of a study, of a series of it or none, of an instance of that or none.
Named = tuple[str, str, str]
# A study's UID, UIDs of series, and of instances of the one series; none of both means the whole study.
Asked = tuple[str, list[str], list[str]]


def asked_of(wanted: list[Named]) -> list[Asked]:
    """What to ask for: studies, whole or series of them, and images series by series. Raises InvalidValue."""
    if not wanted:
        raise InvalidValue("There is nothing to fetch.", field="Resources")
    if len(wanted) > MOST_RESOURCES:
        raise InvalidValue(f"Name {MOST_RESOURCES} resources at most.", field="Resources")
    if not all(is_uid(uid) for study, *below in wanted for uid in (study, *filter(None, below))):
        raise InvalidValue("A study, series or image is not named by a UID.", field="Resources")
    studies: dict[str, set[str]] = {}
    images: dict[tuple[str, str], set[str]] = {}
    for study, series, instance in wanted:
        if instance:
            images.setdefault((study, series), set()).add(instance)
        else:
            studies.setdefault(study, set()).add(series)
    found: list[Asked] = [(study, [] if "" in series else sorted(series), []) for study, series in studies.items()]
    return found + [(study, [series], sorted(uids)) for (study, series), uids in images.items()]


def query_of(asked: list[Any]) -> list[dict[str, str]]:
    """As Orthanc tells what a retrieval asks for."""
    items = (
        {"0020,000d": study, "0020,000e": "\\".join(series), "0008,0018": "\\".join(instances)}
        for study, series, instances in asked
    )
    return [{key: value for key, value in each.items() if value} for each in items]


def studies_of_patients(node: ApplicationEntity, numbers: list[str]) -> list[Named]:
    """The studies of patients by their PatientID, as the node tells them; asked one patient after the other."""
    found = []
    for number in numbers:
        if not number or set(number) & set("*?\\"):
            raise InvalidValue("A patient is named by one PatientID.", field="Resources")
        answers = query_node(
            node=node, level="STUDY", keys={"PatientID": number}, limit=MOST_RESOURCES + 1, seconds=ASKS
        )
        for each in answers:
            if str(each.get("PatientID") or number).strip() == number:
                found.append((str(each.get("StudyInstanceUID") or ""), "", ""))
    return found


def fetched(request: Any, here: Any, node: ApplicationEntity, given: Any, asked: list[Asked]) -> HttpResponse:
    with transaction.atomic():
        begun = [
            transfers.fetch(
                who=here.who, node=node, study_instance_uid=study, series=series, instances=instances,
                address=audit.address_of(request),
            )
            for study, series, instances in asked
        ]  # fmt: skip
    if not is_synchronous(given) or not waited_for_transfers(begun):
        return answer(job_answer(begun))
    if any(each.state is not TransferState.DONE or each.failed for each in begun):
        reasons = [each.job.error for each in begun if each.job is not None and each.job.error]
        raise Unreachable(reasons[0][:300] if reasons else f"Not everything came from {node.title}.")
    return answer(
        {
            "Description": "REST API",
            "LocalAet": settings.DIMSE["AE_TITLE"],
            "Query": query_of(asked),
            "RemoteAet": node.title,
            "TargetAet": settings.DIMSE["AE_TITLE"],
        }
    )
