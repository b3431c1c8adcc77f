"""Sending studies to other nodes and fetching them from there: what is asked for, how far it is, how it ended.

A transfer is a row whose job carries it out (`pacs.services.transfer_runs`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import (
    ApplicationEntity,
    Instance,
    Location,
    NodePriority,
    Removal,
    Series,
    Study,
    Transfer,
    TransferDirection,
    TransferMethod,
    TransferState,
)
from pacs.models.transfer import KINDS
from pacs.services.keyset import Page, Place, page
from radiology.dicom import clean, is_uid
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound
from radiology.models import AuditAction, Job, JobPriority, JobState, Priority, RequestedProcedure, User
from radiology.services import audit, jobs

# What one transfer may comprise: each object has a row of its own.
MOST_OBJECTS = 100_000
MOST_SELECTED = 2000
MOST_STUDIES = 200
# Jobs of one node that run side by side; the others wait, and nobody waits for another node's.
LANES = 2
ATTEMPTS = 20
PAGE = 50
UNFINISHED = (JobState.PENDING, JobState.RUNNING)
CHUNK = 2000


@dataclass(frozen=True)
class _OfSite:
    """The archive itself, at work for a site: who asked was looked at when it was asked."""

    site_id: int
    sees_every_site: bool = False

    def may(self, scope: str) -> bool:
        return scope == "studies.read"


# Asking


def nodes_for(*, who: Any) -> QuerySet[ApplicationEntity]:
    """The nodes of one's site that we may send to, by title."""
    found = ApplicationEntity.objects.active().filter(may_receive=True)
    if not who.may("studies.read"):
        return found.none()
    return (found if who.sees_every_site else found.filter(site_id=who.site_id)).order_by("title", "id")


def archives_for(*, who: Any) -> QuerySet[ApplicationEntity]:
    """The nodes of one's site that may be searched, by title."""
    found = ApplicationEntity.objects.active()
    if not who.may("studies.read"):
        return found.none()
    return (found if who.sees_every_site else found.filter(site_id=who.site_id)).order_by("title", "id")


def send(
    *,
    who: Any,
    node: ApplicationEntity,
    study: Study,
    series: Sequence[str] = (),
    instances: Sequence[str] = (),
    address: str | None = None,
) -> Transfer:
    """Begin to send a study, or series or instances of it by their UIDs, to `node`.

    What is being sent there already is not sent twice: that transfer is returned. Raises NotAllowed,
    NotFound, InvalidValue when there is nothing to send or too much.
    """
    if not nodes_for(who=who).filter(pk=node.pk, site_id=study.site_id).exists():
        raise NotAllowed(_("This node is not active, or may not be sent images from here."), field="node")
    if not Study.objects.visible_to(who).filter(pk=study.pk).exists():
        raise NotFound(_("This study is not here, or not for you to see."))
    _check_selection(series, instances)
    wanted = objects_of(
        site_id=study.site_id, study_instance_uid=study.study_instance_uid, series=series, instances=instances
    )
    total = wanted.values("instance_ref").distinct().count()
    if not total:
        raise InvalidValue(_("There is nothing to send: the selection has no images."), field="study")
    if total > MOST_OBJECTS:
        raise InvalidValue(
            _("More than %(most)d images: send the series one by one.") % {"most": MOST_OBJECTS}, field="study"
        )
    return _begin(
        who=who,
        address=address,
        node=node,
        direction=TransferDirection.SEND,
        method=TransferMethod.C_STORE,
        study_instance_uid=study.study_instance_uid,
        series=series,
        instances=instances,
        total=total,
        study=study,
        description=study.study_description,
    )


def fetch(
    *,
    who: Any,
    node: ApplicationEntity,
    study_instance_uid: str,
    series: Sequence[str] = (),
    instances: Sequence[str] = (),
    method: str = "",
    description: str = "",
    address: str | None = None,
) -> Transfer:
    """Begin to fetch a study, or series of it, or instances of one series, from `node`.

    `method` empty: C-GET, else C-MOVE, as it offers.

    Raises NotAllowed, InvalidValue.
    """
    if not who.may("studies.write"):
        raise NotAllowed(_("You may not bring studies into the archive."))
    if not archives_for(who=who).filter(pk=node.pk).exists():
        raise NotAllowed(_("This node is not active, or belongs to another site."), field="node")
    if not is_uid(study_instance_uid):
        raise InvalidValue(_("This is no Study Instance UID."), field="study_instance_uid")
    if method not in ("", TransferMethod.C_GET, TransferMethod.C_MOVE):
        raise InvalidValue(_("A study is fetched by C-GET or C-MOVE."), field="method")
    _check_selection(series, instances)
    if instances and len(series) != 1:
        raise InvalidValue(_("Images are fetched from one series at a time."), field="series")
    study = Study.objects.filter(site=node.site, study_instance_uid=study_instance_uid).first()
    return _begin(
        who=who,
        address=address,
        node=node,
        direction=TransferDirection.FETCH,
        method=method,
        study_instance_uid=study_instance_uid,
        series=series,
        instances=instances,
        total=0,
        study=study,
        description=description,
    )


def send_note(*, node: ApplicationEntity, removal: Removal) -> Transfer:
    """Begin to send a rejection note to a node that holds copies; once is enough."""
    already = Transfer.objects.filter(
        node=node, direction=TransferDirection.SEND, sop_instance_uids=[removal.note_sop_instance_uid]
    ).first()
    return already or _begin(
        who=removal.user or removal.agent,
        address=None,
        node=node,
        direction=TransferDirection.SEND,
        method=TransferMethod.C_STORE,
        study_instance_uid=removal.study_instance_uid,
        series=(),
        instances=[removal.note_sop_instance_uid],
        total=1,
        study=removal.study_ref,
        description=removal.get_code_display(),
    )


def _check_selection(series: Sequence[str], instances: Sequence[str]) -> None:
    if len(series) + len(instances) > MOST_SELECTED:
        raise InvalidValue(_("At most %(most)d series or images at once.") % {"most": MOST_SELECTED}, field="series")
    if not all(map(is_uid, [*series, *instances])):
        raise InvalidValue(_("A series or image is not named by a UID."), field="series")


@transaction.atomic
def _begin(
    *,
    who: Any,
    address: str | None,
    node: ApplicationEntity,
    direction: TransferDirection,
    method: str,
    study_instance_uid: str,
    series: Sequence[str],
    instances: Sequence[str],
    total: int,
    study: Study | None,
    description: str,
) -> Transfer:
    # Two presses of one button come one after the other.
    ApplicationEntity.objects.select_for_update().filter(pk=node.pk).first()
    wanted = {"series_instance_uids": sorted(set(series)), "sop_instance_uids": sorted(set(instances))}
    same = Transfer.objects.filter(
        node=node,
        direction=direction,
        study_instance_uid=study_instance_uid,
        job__state__in=UNFINISHED,
        **wanted,
    ).first()
    if same is not None:
        return same
    transfer = Transfer.objects.create(
        site=node.site,
        direction=direction,
        method=method,
        node=node,
        node_title=node.title,
        study_instance_uid=study_instance_uid,
        description=clean(description)[:256],
        patient_ref_id=study.patient_ref_id if study else None,
        study_ref=study,
        user=who if isinstance(who, User) else None,
        agent=audit.agent_of(who),
        total=total,
        job=_enqueue(node, direction, _priority(who, node, study)),
        **wanted,
    )
    record(transfer, "begun", who=who, address=address)
    return transfer


def _priority(who: Any, node: ApplicationEntity, study: Study | None) -> JobPriority:
    """What a person waits for and what is urgent goes first; what goes to or comes from a bulk node, last."""
    if isinstance(who, User):
        return JobPriority.FIRST
    if study is not None and study.requested_procedure_ref_id is not None:
        orders = RequestedProcedure.objects.filter(pk=study.requested_procedure_ref_id)
        if orders.filter(order_ref__priority=Priority.STAT).exists():
            return JobPriority.FIRST
    return JobPriority.BULK if node.priority == NodePriority.BULK else JobPriority.NORMAL


def _enqueue(node: ApplicationEntity, direction: str, priority: JobPriority) -> Job:
    """A job in the emptiest of the node's lanes. One lane is for what goes first alone."""
    lanes = {f"transfer:{node.pk}:{lane}": 0 for lane in range(LANES + (priority == JobPriority.FIRST))}
    busy = Job.objects.filter(ordering_key__in=lanes, state__in=UNFINISHED)
    for key, count in busy.values_list("ordering_key").annotate(count=Count("id")):
        lanes[key] = count
    return jobs.enqueue(
        kind=KINDS[TransferDirection(direction)],
        ordering_key=min(lanes, key=lambda key: lanes[key]),
        max_attempts=ATTEMPTS,
        priority=priority,
        site=node.site,
    )


@transaction.atomic
def cancel(*, who: Any, transfer: Transfer, address: str | None = None) -> None:
    """Stop it: what came across stays there. One that is over stays as it is. Raises NotAllowed."""
    _check_control(who, transfer)
    if transfer.job is not None:
        jobs.cancel(job=transfer.job)
        Transfer.objects.filter(pk=transfer.pk).update(updated_at=timezone.now(), rate=0, pace=0)
        record(transfer, "cancelled", who=who, address=address)


@transaction.atomic
def pause(*, who: Any, transfer: Transfer, address: str | None = None) -> None:
    """Hold it back until it is resumed. One that is over stays as it is. Raises NotAllowed."""
    _check_control(who, transfer)
    if transfer.job is not None and jobs.pause(job=transfer.job):
        Transfer.objects.filter(pk=transfer.pk).update(updated_at=timezone.now(), rate=0, pace=0)
        record(transfer, "paused", who=who, address=address)


@transaction.atomic
def resume(*, who: Any, transfer: Transfer, address: str | None = None) -> None:
    """Let a paused one go on: what came across does not go again. Raises NotAllowed, Conflict when it is not paused."""
    _check_control(who, transfer)
    if transfer.job is None or not jobs.resume(job=transfer.job):
        raise Conflict(_("It is not paused."))
    Transfer.objects.filter(pk=transfer.pk).update(updated_at=timezone.now())
    record(transfer, "resumed", who=who, address=address)


@transaction.atomic
def retry(*, who: Any, transfer: Transfer, address: str | None = None) -> None:
    """Go on with one that failed, was cancelled, or left objects behind: what succeeded does not go again.

    Raises NotAllowed, Conflict when it is under way or has nothing left to do.
    """
    _check_control(who, transfer)
    found = (
        Transfer.objects.select_for_update(of=("self",))
        .select_related("job", "node__site", "study_ref")
        .get(pk=transfer.pk)
    )
    if found.node is None:
        raise Conflict(_("The node is registered no more: register it again and begin anew."))
    if not found.may_be_retried:
        raise Conflict(_("It is under way, or everything has come across."))
    allowed = nodes_for(who=who) if found.direction == TransferDirection.SEND else archives_for(who=who)
    if not allowed.filter(pk=found.node.pk).exists():
        raise NotAllowed(_("This node is not active, or may not be sent images from here."))
    found.job = _enqueue(found.node, found.direction, _priority(who, found.node, found.study_ref))
    found.finished_at = None
    found.updated_at = timezone.now()
    found.save(update_fields=["job", "finished_at", "updated_at"])
    record(found, "retried", who=who, address=address)


def _check_control(who: Any, transfer: Transfer) -> None:
    right = "studies.read" if transfer.direction == TransferDirection.SEND else "studies.write"
    if not who.may(right) or not Transfer.objects.visible_to(who).filter(pk=transfer.pk).exists():
        raise NotAllowed(_("This transfer is not yours to control."))


def record(transfer: Transfer, what: str, *, who: Any, address: str | None = None) -> None:
    """What happened to a transfer, into the audit trail."""
    audit.record(
        event=f"transfer.{what}",
        action=AuditAction.READ if transfer.direction == TransferDirection.SEND else AuditAction.CREATE,
        who=who,
        address=address,
        site_id=transfer.site_id,
        patient_id=transfer.patient_ref_id,
        study_instance_uid=transfer.study_instance_uid,
        detail={
            "transfer": str(transfer.public_id),
            "direction": transfer.direction,
            "node": transfer.node_title,
            "series": len(transfer.series_instance_uids),
            "instances": {
                "total": transfer.total,
                "completed": transfer.completed,
                "warned": transfer.warned,
                "failed": transfer.failed,
            },
        },
    )


# Looking


def objects_of(
    *, site_id: int, study_instance_uid: str, series: Sequence[str] = (), instances: Sequence[str] = ()
) -> QuerySet[Location]:
    """Where the objects of a study of that site lie, or those of the selection, in the order in which they are sent."""
    wanted = Instance.objects.visible_to(_OfSite(site_id)).filter(
        series_ref__study_ref__study_instance_uid=study_instance_uid
    )
    if series:
        wanted = wanted.filter(series_ref__series_instance_uid__in=series)
    if instances:
        wanted = wanted.filter(sop_instance_uid__in=instances)
        # A rejection note is hidden here with what it rejects, and yet sent to those who hold copies.
        notes = Removal.objects.filter(site=site_id, note_sop_instance_uid__in=instances)
        wanted |= Instance.objects.filter(site=site_id, sop_instance_uid__in=notes.values("note_sop_instance_uid"))
    return (
        Location.objects.current()
        .filter(instance_ref__in=wanted)
        .select_related("instance_ref__series_ref__study_ref", "volume")
        .order_by("instance_ref__series_ref__series_number", "instance_ref__series_ref_id", "instance_ref_id", "id")
    )


def list_transfers(
    *, who: Any, state: str = "", node: int | None = None, place: Place | None = None, size: int = PAGE
) -> Page:
    """One page of the transfers that `who` may see, newest first."""
    found = Transfer.objects.visible_to(who).select_related("job", "patient_ref", "study_ref")
    if state in TransferState.values:
        found = found.in_state(state)
    if node is not None:
        found = found.filter(node_id=node)
    return page(found=found, size=size, order=["-id"], place=place)


def transfer_of(*, who: Any, public_id: Any) -> Transfer:
    """The transfer of this public id. Raises NotFound."""
    found = (
        Transfer.objects.visible_to(who)
        .select_related("job", "node", "patient_ref", "study_ref", "site")
        .filter(public_id=public_id)
        .first()
    )
    if found is None:
        raise NotFound(_("This transfer is not here, or not for you to see."))
    return found


def results_of(*, transfer: Transfer, place: Place | None = None, size: int = PAGE) -> Page:
    """One page of the objects of a transfer, failures first."""
    return page(found=transfer.results.all(), size=size, order=["outcome", "id"], place=place)


def holdings(*, who: Any, study_instance_uids: Collection[str]) -> dict[str, int]:
    """How many images of these studies the archive shows to `who`, for those that it has."""
    found = Study.objects.visible_to(who).filter(study_instance_uid__in=list(study_instance_uids))
    return dict(found.values_list("study_instance_uid", "number_of_study_related_instances"))


def series_of(*, study: Study) -> QuerySet[Series]:
    """The series of a study that may be chosen to be sent."""
    return Series.objects.filter(study_ref=study, number_of_series_related_instances__gt=0).order_by(
        "series_number", "pk"
    )
