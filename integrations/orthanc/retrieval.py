"""Transfers that requests begin, and waiting for them where the request wants that."""

import time
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.http import HttpResponse

from integrations.orthanc.access import NotDone, answer, field
from pacs.models import ApplicationEntity, Transfer, TransferState
from pacs.services import transfers
from radiology.errors import InvalidValue, Unreachable
from radiology.services import audit
from radiology.tasks import run_due_jobs

log = structlog.get_logger(__name__)

MOST_RESOURCES = 1000
# So long a synchronous request is held; then it is answered as an asynchronous one.
WAITS = 50.0
LOOKS_EVERY = 0.2


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


def waited_for(begun: list[Transfer]) -> bool:
    """Whether they ended while the request could be held. The rows are what they are then."""
    _ring()
    until = time.monotonic() + WAITS
    keys = [each.pk for each in begun]
    while True:
        begun[:] = Transfer.objects.select_related("job", "node").filter(pk__in=keys).order_by("pk")
        if all(each.is_finished for each in begun):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(LOOKS_EVERY)


def _ring() -> None:
    """Wake a worker now, since somebody waits; without a broker the sweep finds the work some seconds later."""
    try:
        run_due_jobs.delay()
    except Exception as error:  # whatever the broker's library raises
        log.warning("nobody rang for transfers", reason=type(error).__name__)


def require_here(title: Any) -> None:
    """Raises NotDone for another destination than this archive."""
    if title not in {None, "", settings.DIMSE["AE_TITLE"], *settings.DIMSE["EXTRA_AE_TITLES"]}:
        raise NotDone("Studies are fetched to this archive: send them on from here.")


def fetched(
    request: Any, here: Any, node: ApplicationEntity, given: Any, wanted: list[tuple[str, str]]
) -> HttpResponse:
    if not wanted:
        raise InvalidValue("There is nothing to fetch.", field="Resources")
    if len(wanted) > MOST_RESOURCES:
        raise InvalidValue(f"Name {MOST_RESOURCES} resources at most.", field="Resources")
    studies: dict[str, set[str]] = {}
    for study, series in wanted:
        studies.setdefault(study, set()).add(str(series))
    with transaction.atomic():
        begun = [
            transfers.fetch(
                who=here.who, node=node, study_instance_uid=study, series=() if "" in series else sorted(series),
                address=audit.address_of(request),
            )
            for study, series in studies.items()
        ]  # fmt: skip
    if not is_synchronous(given) or not waited_for(begun):
        return answer(job_answer(begun))
    if any(each.state is not TransferState.DONE or each.failed for each in begun):
        reasons = [each.job.error for each in begun if each.job is not None and each.job.error]
        raise Unreachable(reasons[0][:300] if reasons else f"Not everything came from {node.title}.")
    return answer(
        {
            "Description": "REST API",
            "LocalAet": settings.DIMSE["AE_TITLE"],
            "Query": [{"0020,000d": study} for study in studies],
            "RemoteAet": node.title,
            "TargetAet": settings.DIMSE["AE_TITLE"],
        }
    )
