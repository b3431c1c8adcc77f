"""People, an examination and a critical result of it, and the clock of its escalation."""

from typing import Any

from django.utils import timezone

from radiology.models import AcknowledgedHow, CriticalResult, Job, JobState, RequestedProcedure, Role, User
from radiology.services import critical_escalation, critical_mail, jobs
from radiology.services.critical_results import raise_critical
from tests.factories import make_order, make_requested_procedure, make_user

READ = AcknowledgedHow.READ


def people() -> tuple[User, User]:
    """A radiologist, and the doctor who orders."""
    radiologist = make_user("rahmat", role=Role.RADIOLOGIST, first_name="Rahmat", last_name="Hidayat")
    doctor = make_user("sari", role=Role.DOCTOR, first_name="Sari", last_name="Dewi", email="sari@rs.example")
    return radiologist, doctor


def examination(doctor: User | None = None, **fields: Any) -> RequestedProcedure:
    return make_requested_procedure(make_order(ordering_physician=doctor, **fields))


def raised(procedure: RequestedProcedure, who: Any, finding: str = "Pneumotoraks", **more: Any) -> CriticalResult:
    return raise_critical(procedure=procedure, finding=finding, category=more.pop("category", "red"), who=who, **more)[
        0
    ]


def log_of(result: CriticalResult) -> list[tuple[str, str, str]]:
    """What the log says, in order: what, whom, by what."""
    return [(each.kind, each.name, each.channel) for each in result.events.all()]


def work() -> None:
    """Run what is due, of critical results only."""
    kinds = [critical_escalation.KIND, critical_mail.KIND]
    Job.objects.filter(state=JobState.PENDING).exclude(kind__in=kinds).update(state=JobState.DONE)
    jobs.run_due()


def let_the_time_run_out() -> None:
    """What waits for its hour is due now, and is done; what follows from it waits again."""
    Job.objects.filter(kind=critical_escalation.KIND, state=JobState.PENDING).update(next_attempt_at=timezone.now())
    work()
