"""Jobs of this door as requests begin them, and what the requests are answered."""

import secrets
from typing import Any

from django.db import transaction
from django.http import HttpResponse

from integrations.models import OrthancJob
from integrations.orthanc.access import OrthancView, answer
from integrations.orthanc.jobs import content_of
from integrations.orthanc.retrieval import is_synchronous, waited_for
from radiology.errors import Conflict, RadiologyError
from radiology.models import ApiToken, JobState, Site, User
from radiology.services import jobs
from radiology.tasks import ring

LANES = 2
ATTEMPTS = 5


@transaction.atomic
def begin(view: OrthancView, given: dict[str, Any], *, kind: OrthancJob.Kind, work: str, **values: Any) -> OrthancJob:
    """A row and its job, whose work a handler of that name does. Who waits for it is told at once when it fails."""
    who = view.request.user
    site = Site.objects.get(pk=view.here.site_id)
    job = jobs.enqueue(
        kind=work,
        ordering_key=f"orthanc:{site.pk}:{secrets.randbelow(LANES)}",
        max_attempts=1 if is_synchronous(given) else ATTEMPTS,
        site=site,
    )
    ring()
    return OrthancJob.objects.create(
        site=site,
        kind=kind,
        user=who if isinstance(who, User) else None,
        token=who if isinstance(who, ApiToken) else None,
        job=job,
        **values,
    )


def answered(row: OrthancJob, given: dict[str, Any], failure: type[RadiologyError] = Conflict) -> HttpResponse:
    """What came of it or, for who does not want to wait or would wait too long, where to look for it."""
    if not is_synchronous(given) or not waited_for(lambda: _is_over(row)):
        return answer({"ID": str(row.public_id), "Path": f"/jobs/{row.public_id}"})
    if row.job.state != JobState.DONE:
        raise failure(row.job.error or "The job was cancelled.")
    return answer(content_of(row))


def _is_over(row: OrthancJob) -> bool:
    row.job.refresh_from_db()
    if row.job.state in {JobState.PENDING, JobState.RUNNING, JobState.PAUSED}:
        return False
    row.refresh_from_db()  # only now has all been written down that came of it
    return True
