"""Signed reports whose sample is drawn, and people who review them."""

from datetime import date

from radiology.models import ReportVersion, Role, Site, User
from radiology.services.reports import sign_report, write_draft
from tests.factories import make_reading, make_user
from worklist.models import CompletedBy, PeerReviewPolicy, StudyCompletion
from worklist.services.board import day_of
from worklist.services.figures_rows import count_changes
from worklist.services.reading_rows import refresh_readings


def make_radiologist(username: str, first_name: str = "", last_name: str = "") -> User:
    return make_user(username, role=Role.RADIOLOGIST, first_name=first_name, last_name=last_name)


def make_signed(author: User, *, modality: str = "CT", text: str = "Normal.") -> ReportVersion:
    """A report that somebody signed just now, with its images."""
    reading = make_reading(modality=modality)
    assert reading.study_ref is not None
    StudyCompletion.objects.create(study_ref=reading.study_ref, how=CompletedBy.MPPS)
    procedure = reading.requested_procedure_ref
    draft = write_draft(procedure=procedure, sections={"impression": text}, who=author)
    version = sign_report(report=draft, version=draft.version, who=author)
    refresh_readings([procedure.pk])
    count_changes()
    return version


def this_month() -> date:
    return day_of(Site.objects.default()).replace(day=1)


def policy(**fields: object) -> PeerReviewPolicy:
    values = {"percent": None, "number": 5, **fields}
    return PeerReviewPolicy.objects.create(**values)
