"""What holds reports, brings them to a supervisor's list, and warns of images that came after reading."""

from collections.abc import Sequence
from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils import timezone

from pacs.models import Correction, Study
from radiology.models import CoSignature, CoSignatureState, Report, RequestedProcedure
from radiology.signals import co_signature_changed, late_images_changed
from worklist.models import Reading, ReconciliationDecision
from worklist.services import report_watch
from worklist.services.reading_rows import refresh_readings
from worklist.signals import study_completed, study_linked


@receiver(study_linked)
def hold_what_lost_its_images(
    study: Study,
    procedures: Sequence[RequestedProcedure],
    before: Sequence[RequestedProcedure],
    who: Any = None,
    **_: Any,
) -> None:
    report_watch.follow_link(study=study, now=procedures, before=before, who=who)


@receiver(post_save, sender=Correction)
def hold_what_is_anothers(instance: Correction, **_: Any) -> None:
    report_watch.follow_correction(instance)


@receiver(post_save, sender=ReconciliationDecision)
def hold_what_was_hidden(instance: ReconciliationDecision, **_: Any) -> None:
    report_watch.follow_decision(instance)


@receiver(study_completed)
def warn_of_late_images(study: Study, **_: Any) -> None:
    report_watch.look_for_late_images(study)


@receiver(late_images_changed)
def list_late_images(report: Report, **_: Any) -> None:
    refresh_readings([report.requested_procedure_ref_id])


@receiver(co_signature_changed)
def hand_on(co_signature: CoSignature, **_: Any) -> None:
    """To the supervisor who was chosen, or to all of them; or back to the resident. Whoever had it lets go."""
    report = co_signature.report_ref
    is_back = co_signature.state == CoSignatureState.RETURNED
    to = co_signature.resident_id if is_back else co_signature.supervisor_id
    Reading.objects.filter(requested_procedure_ref=report.requested_procedure_ref_id).update(
        assigned_to=to, claimed_by=None, claimed_at=None, active_at=None, updated_at=timezone.now()
    )
    refresh_readings([report.requested_procedure_ref_id])
