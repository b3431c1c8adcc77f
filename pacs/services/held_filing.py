"""How a held object becomes part of the archive after all, and how that is taken back.

Each function works inside the caller's transaction and returns, in plain values, what it did: enough
for `take_back`. The bytes of all objects stay where they are; only rows change.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import ApplicationEntity, HeldObject, HeldReason, HeldState, Instance, Location, Series, Study
from pacs.services.attributes import BY_KEYWORD
from pacs.services.coercion import lock_studies, of_patient, of_study, recount, with_attributes
from pacs.services.data_set import OpenDataSet
from pacs.services.header import Header, scan
from pacs.services.incoming import WANTED, Source
from pacs.services.index import instance_columns, series_columns, study_columns
from radiology.dicom import new_uid
from radiology.errors import Conflict

STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = "0020000D", "0020000E"
DATES = {"study_datetime", "sort_at"}
# Columns that say nothing right any more once the named one is another object's.
DERIVED = {
    "study_date": ("study_time", "study_datetime"),
    "study_time": ("study_date", "study_datetime"),
    "referring_physician_name": ("referring_physician_name_search",),
}


@dataclass
class Filed:
    """What was done: written to the decision, read by `take_back`."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    studies: dict[str, dict[str, Any]] = field(default_factory=dict)
    made_series: list[int] = field(default_factory=list)
    made_studies: list[int] = field(default_factory=list)
    touched_series: set[int] = field(default_factory=set)
    touched_studies: set[int] = field(default_factory=set)

    def as_json(self) -> dict[str, Any]:
        return {
            "objects": self.objects,
            "series": self.series,
            "studies": self.studies,
            "made_series": self.made_series,
            "made_studies": self.made_studies,
        }


def source_of(held: HeldObject) -> Source:
    """Who sent it, with the defaults of that node if it is known."""
    node = ApplicationEntity.objects.filter(site=held.site, title=held.source_ae_title).order_by("id").first()
    return Source.of_node(node) if node else Source.of_site(held.site, held.source_ae_title)


def lock_touched(held: Sequence[HeldObject]) -> None:
    """Lock the studies that these objects name or are in, before anything below them is touched."""
    site = held[0].site_id if held else 0
    named = Study.objects.filter(site=site, study_instance_uid__in={each.study_instance_uid for each in held})
    series = Series.objects.filter(site=site, series_instance_uid__in={each.series_instance_uid for each in held})
    present = Instance.objects.filter(site=site, sop_instance_uid__in={each.sop_instance_uid for each in held})
    lock_studies(
        {
            *named.values_list("pk", flat=True),
            *series.values_list("study_ref", flat=True),
            *present.values_list("series_ref__study_ref", flat=True),
        }
    )


def header_of(held: HeldObject | Location) -> Header:
    """The keys of a stored object, read from its file. Raises CannotUnderstand, OutOfResources."""
    with OpenDataSet(held) as opened:
        return scan(
            opened.data,
            start=opened.start,
            transfer_syntax_uid=opened.transfer_syntax_uid,
            wanted=WANTED,
        )


def replace(*, held: HeldObject, header: Header, instance: Instance, into: Series | None, filed: Filed) -> None:
    """Make the held bytes those of `instance`; it moves to the series `into` if that is given."""
    current = Location.objects.current().get(instance_ref=instance)
    Location.objects.filter(pk=current.pk).update(is_current=False)
    location = _location(held, instance)
    columns = instance_columns(header)
    columns["sop_class_uid"] = held.sop_class_uid
    filed.objects.append(
        {
            "held": held.pk,
            "instance": instance.pk,
            "location": location.pk,
            "previous": current.pk,
            "series": instance.series_ref_id,
            "columns": {name: getattr(instance, name) for name in columns},
        }
    )
    _touch(filed, instance.series_ref)
    if into is not None:
        instance.series_ref = into
        _touch(filed, into)
    for name, value in columns.items():
        setattr(instance, name, value)
    instance.save(update_fields=[*columns, "series_ref"])


def follow_first(*, held: HeldObject, header: Header, instance: Instance, source: Source, filed: Filed) -> None:
    """Where the replaced object was its series' or study's first, their rows follow the new one.

    What a person corrected stays as corrected; a study is not described by what was moved into it.
    """
    series = instance.series_ref
    if _is_first(instance, series_ref=series):
        _change(Series, series.pk, _uncorrected(series_columns(header), series.overlay), filed.series)
    own = {"series_ref__study_ref": series.study_ref_id, "series_ref__received_study_instance_uid": ""}
    if not series.received_study_instance_uid and _is_first(instance, **own):
        columns = _uncorrected(study_columns(header, source), series.study_ref.overlay)
        if columns.get("study_datetime") is not None:
            columns["sort_at"] = columns["study_datetime"]
        _change(Study, series.study_ref_id, columns, filed.studies)


def _uncorrected(columns: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """`columns` without those whose values a correction has laid over, and what is derived from them."""
    laid = overlay.get("attributes", {})
    corrected = {each.column for each in BY_KEYWORD.values() if each.tag in laid}
    for name, derived in DERIVED.items():
        if name in corrected:
            corrected.update(derived)
    return {name: value for name, value in columns.items() if name not in corrected}


def add(*, held: HeldObject, header: Header, series: Series, filed: Filed) -> bool:
    """Make the held object an instance of `series`. False when its UID is taken: it then waits as such a case."""
    other = Instance.objects.filter(site=held.site, sop_instance_uid=held.sop_instance_uid).first()
    if other is not None:
        same_series = other.series_ref_id == series.pk
        held.reason = HeldReason.OTHER_PIXELS if same_series else HeldReason.INSTANCE_ELSEWHERE
        held.save(update_fields=["reason"])
        return False
    instance = Instance.objects.create(
        site=held.site,
        series_ref=series,
        sop_instance_uid=held.sop_instance_uid,
        sop_class_uid=held.sop_class_uid,
        **instance_columns(header),
    )
    location = _location(held, instance)
    filed.objects.append({"held": held.pk, "instance": instance.pk, "location": location.pk})
    _touch(filed, series)
    return True


def series_for(
    *, held: HeldObject, header: Header, study: Study, filed: Filed, apart: bool, known: dict[str, Series]
) -> Series:
    """The series of `study` that the object joins, made when there is none.

    `apart` gives it a new UID where its own is taken by another study's series. Otherwise that raises Conflict.
    `known` remembers the answer for the other objects of the case.
    """
    uid = held.series_instance_uid
    if uid in known:
        return known[uid]
    found = Series.objects.filter(site=held.site, series_instance_uid=uid).select_related("study_ref").first()
    if found is not None and found.study_ref_id == study.pk and not apart:
        known[uid] = found
        return found
    if found is not None and not apart:
        raise Conflict(_("Its series is filed in another study: keep it apart, or correct that study first."))
    series = Series(
        site=held.site,
        study_ref=study,
        series_instance_uid=new_uid() if found else uid,
        source_ae_title=held.source_ae_title,
        **series_columns(header),
    )
    if found is not None:
        series.overlay = with_attributes({}, {SERIES_INSTANCE_UID: _uid(series.series_instance_uid)})
    series.save()
    filed.made_series.append(series.pk)
    known[uid] = series
    return series


def study_row(*, held: HeldObject, header: Header, source: Source) -> Study:
    """The row of a study as the object describes it, without UID and patient, not saved."""
    now = timezone.now()
    columns = study_columns(header, source)
    return Study(site=held.site, sort_at=columns["study_datetime"] or now, created_at=now, updated_at=now, **columns)


def give_own_uid(study: Study) -> None:
    """A new UID, laid over the one that its objects carry."""
    study.study_instance_uid = new_uid()
    study.overlay = with_attributes({}, {STUDY_INSTANCE_UID: _uid(study.study_instance_uid)})


def lay_destination_over(*, series: Series, study: Study, whole_study: bool, filed: Filed) -> None:
    """What the objects of `series` must say once some of them came from elsewhere: the patient and study they joined.

    `whole_study` also gives them the study's own attributes, where they came from another study.
    """
    _remember(series.pk, {"overlay": series.overlay}, filed.series)
    attributes = of_study(study) if whole_study else of_patient(study.patient_ref)
    series.overlay = with_attributes(series.overlay, attributes)
    series.save(update_fields=["overlay"])


def settle(filed: Filed) -> None:
    """Count what was touched."""
    recount(series=filed.touched_series, studies=filed.touched_studies)


def take_back(*, held: Iterable[HeldObject], undo: dict[str, Any]) -> None:
    """Put back what `undo` says. Raises Conflict when something later builds upon it."""
    by_key = {each.pk: each for each in held}
    touched = Filed()
    for entry in reversed(undo.get("objects", [])):
        _take_back_object(entry, by_key.get(entry["held"]), touched)
    for model, rows in ((Series, undo.get("series", {})), (Study, undo.get("studies", {}))):
        for key, columns in rows.items():
            model._default_manager.filter(pk=int(key)).update(**_from_json(columns))
    settle(touched)
    empty = Series.objects.filter(pk__in=undo.get("made_series", []), instances=None)
    empty.delete()
    Study.objects.filter(pk__in=undo.get("made_studies", []), series=None).delete()


def _take_back_object(entry: dict[str, Any], held: HeldObject | None, touched: Filed) -> None:
    instance = Instance.objects.select_related("series_ref").filter(pk=entry["instance"]).first()
    location = Location.objects.filter(pk=entry["location"]).first()
    if instance is None or location is None or held is None:
        raise Conflict(_("Some of these objects are gone for good: this decision cannot be taken back any more."))
    if not location.is_current:
        raise Conflict(_("A later decision replaced these objects again: take that one back first."))
    if instance.removed_at is not None:
        raise Conflict(_("Some of these objects were deleted or rejected since: restore them first."))
    _touch(touched, instance.series_ref)
    # The bytes may have moved to another volume meanwhile.
    HeldObject.objects.filter(pk=held.pk).update(
        volume_id=location.volume_id, path=location.path, data_set_offset=location.data_set_offset
    )
    if "previous" not in entry:
        instance.delete()
        return
    location.delete()
    if not Location.objects.filter(pk=entry["previous"], instance_ref=instance).update(is_current=True):
        raise Conflict(_("The first object is gone for good: this decision cannot be taken back any more."))
    instance.series_ref = Series.objects.select_related("study_ref").get(pk=entry["series"])
    for name, value in entry["columns"].items():
        setattr(instance, name, value)
    instance.save(update_fields=[*entry["columns"], "series_ref"])
    _touch(touched, instance.series_ref)


def release(held: Sequence[HeldObject]) -> None:
    """The objects wait again."""
    HeldObject.objects.filter(pk__in=[each.pk for each in held]).update(state=HeldState.WAITING, decision=None)


def _location(held: HeldObject, instance: Instance) -> Location:
    return Location.objects.create(
        instance_ref=instance,
        volume_id=held.volume_id,
        path=held.path,
        data_set_offset=held.data_set_offset,
        size=held.size,
        sha256=bytes(held.sha256),
        transfer_syntax_uid=held.transfer_syntax_uid,
    )


def _is_first(instance: Instance, **of: Any) -> bool:
    return Instance.objects.filter(**of).order_by("id").values_list("id", flat=True).first() == instance.pk


def _change(model: type[Series] | type[Study], pk: int, columns: dict[str, Any], remembered: dict[str, Any]) -> None:
    row = model._default_manager.get(pk=pk)
    _remember(pk, {name: getattr(row, name) for name in columns}, remembered)
    model._default_manager.filter(pk=pk).update(**columns)


def _remember(pk: int, columns: dict[str, Any], remembered: dict[str, Any]) -> None:
    """What stood there first stays remembered."""
    before = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in columns.items()}
    remembered[str(pk)] = before | remembered.get(str(pk), {})


def _from_json(columns: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if name in DATES and value else value for name, value in columns.items()
    }


def _touch(filed: Filed, series: Series) -> None:
    filed.touched_series.add(series.pk)
    filed.touched_studies.add(series.study_ref_id)


def _uid(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}
