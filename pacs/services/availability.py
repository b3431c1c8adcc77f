"""Instance availability notification (PS3.4 Annex R): which nodes are told of a study, when, and what.

Each node that asks gets a job in the transaction of the change. What it is told is made up when the job
runs, and so is true at that moment: after an outage nobody is told of a state that is over.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import F, Func, JSONField, Q, Value
from pydicom.uid import KeyObjectSelectionDocumentStorage

from pacs.models import ApplicationEntity, Instance, Series, Study
from radiology.dicom import is_uid, new_uid
from radiology.models import Job, Site
from radiology.services.jobs import enqueue

NOTIFY = "pacs.notify_availability"
ATTEMPTS = 100
ONLINE, UNAVAILABLE = "ONLINE", "UNAVAILABLE"  # PS3.3 C.4.23.1.1
REFERENCED_STEPS = "00081111"


@dataclass(frozen=True)
class WorkitemCode:
    """A Performed Workitem Code (0040,4019)."""

    code_value: str
    coding_scheme_designator: str
    code_meaning: str = ""


@dataclass(frozen=True)
class PerformedStep:
    """A performed procedure step (MPPS) that objects of a study come from, and what was done, if that is known."""

    sop_class_uid: str
    sop_instance_uid: str
    workitem_code: WorkitemCode | None = None


@dataclass(frozen=True)
class Available:
    """One instance, and whether it can be had."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    availability: str


@dataclass(frozen=True)
class Notice:
    """What one node is told. `sop_instance_uid` is the notification's own, the same each time it is sent."""

    node: ApplicationEntity
    sop_instance_uid: str
    study_instance_uid: str
    steps: tuple[PerformedStep, ...]
    instances: tuple[Available, ...]


def study_completed(*, study: Study, steps: Sequence[PerformedStep] = ()) -> int:
    """Tell the nodes that ask that a study is complete; how many nodes. Within the caller's transaction.

    `steps` are the performed procedure steps that made it, beside those that its objects name.
    """
    return notify_availability(study=study, steps=steps)


def notify_availability(
    *,
    study: Study,
    steps: Sequence[PerformedStep] = (),
    left: Iterable[Series] = (),
    node: ApplicationEntity | None = None,
) -> int:
    """Tell the nodes of the study's site that ask, or one of them, what of a study can be had; how many nodes.

    Within the caller's transaction. `left` are series that are in another study now, and so can be had
    in this one no longer.
    """
    nodes = ApplicationEntity.objects.active().filter(site=study.site_id, takes_availability=True)
    found = list(nodes.values_list("pk", flat=True))
    gone = [series.series_instance_uid for series in left] if found else []
    for pk in found:
        enqueue(
            kind=NOTIFY,
            arguments={
                "node": pk,
                "sop_instance_uid": new_uid(),
                "study_instance_uid": study.study_instance_uid,
                "steps": [asdict(step) for step in steps],
                "left": gone,
            },
            ordering_key=f"availability:{pk}:{study.study_instance_uid}",
            max_attempts=ATTEMPTS,
            site=study.site,
        )
    return len(found)


def notify_of_studies(*, studies: Iterable[int]) -> None:
    """`notify_availability` of studies by their keys."""
    if ApplicationEntity.objects.active().filter(takes_availability=True).exists():
        for study in Study.objects.filter(pk__in=set(studies)).select_related("site").order_by("pk"):
            notify_availability(study=study)


def notice_of(*, job: Job) -> Notice | None:
    """What a job's node is to be told now; None when it asks no more, or when nothing of the study is left."""
    asked = job.arguments
    nodes = ApplicationEntity.objects.active().filter(takes_availability=True).select_related("site")
    node = nodes.filter(pk=asked["node"]).first()
    if node is None:
        return None
    instances = tuple(_instances(node.site, asked["study_instance_uid"], asked["left"]))
    if not instances:
        return None
    steps = {step.sop_instance_uid: step for step in map(_step, asked["steps"])}
    for step in _steps_of_objects(node.site, asked["study_instance_uid"], asked["left"]):
        steps.setdefault(step.sop_instance_uid, step)
    return Notice(node, asked["sop_instance_uid"], asked["study_instance_uid"], tuple(steps.values()), instances)


def _step(values: dict[str, Any]) -> PerformedStep:
    code = values["workitem_code"]
    return PerformedStep(
        values["sop_class_uid"], values["sop_instance_uid"], WorkitemCode(**code) if code is not None else None
    )


def _instances(site: Site, study_instance_uid: str, left: Sequence[str]) -> Iterator[Available]:
    """All of the study, hidden ones too, and those of the series that left it. Rejection notes are no images."""
    of_study = Q(series_ref__study_ref__study_instance_uid=study_instance_uid)
    rows = (
        Instance.objects.filter(of_study | Q(series_ref__series_instance_uid__in=left), site=site)
        .exclude(Q(sop_class_uid=KeyObjectSelectionDocumentStorage) & ~Q(removed_at=None))
        .order_by("series_ref__series_number", "series_ref_id", "instance_number", "pk")
        .values_list(
            "series_ref__series_instance_uid",
            "sop_class_uid",
            "sop_instance_uid",
            "removed_at",
            "series_ref__study_ref__deleted_at",
            "series_ref__study_ref__study_instance_uid",
        )
    )
    for series, sop_class, sop_instance, removed_at, deleted_at, now_in in rows.iterator(2000):
        shown = removed_at is None and deleted_at is None and now_in == study_instance_uid
        yield Available(series, sop_class, sop_instance, ONLINE if shown else UNAVAILABLE)


def _steps_of_objects(site: Site, study_instance_uid: str, left: Sequence[str]) -> Iterator[PerformedStep]:
    """The steps that the objects themselves name (PS3.3 C.7.3.1, Referenced Performed Procedure Step Sequence)."""
    rows = Series.objects.filter(
        Q(study_ref__study_instance_uid=study_instance_uid) | Q(series_instance_uid__in=left), site=site
    ).order_by("pk")
    # A lookup by key would take these digits for the index of a list.
    steps = Func(F("attributes"), Value(REFERENCED_STEPS), function="jsonb_extract_path", output_field=JSONField())
    for sequence in rows.annotate(steps=steps).values_list("steps", flat=True):
        for item in (sequence or {}).get("Value", []):
            sop_class, sop_instance = (_uid(item, tag) for tag in ("00081150", "00081155"))
            if sop_class and sop_instance:
                yield PerformedStep(sop_class, sop_instance)


def _uid(item: dict[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return values[0] if isinstance(values[0], str) and is_uid(values[0]) else ""


def by_series(instances: Iterable[Available]) -> dict[str, list[Available]]:
    """The instances of a notice, series by series."""
    found: dict[str, list[Available]] = defaultdict(list)
    for each in instances:
        found[each.series_instance_uid].append(each)
    return found
