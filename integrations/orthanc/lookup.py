"""From an identifier to the row that it leads to, for whoever may see it."""

from collections.abc import Sequence
from typing import Any, cast

from django.db.models import Exists, OuterRef, QuerySet

from integrations.models import OrthancArrival, OrthancChange, OrthancLevel, OrthancResource
from integrations.orthanc import registrar
from integrations.orthanc.access import OfOneSite
from integrations.orthanc.identifiers import as_digest, identifiers_of
from pacs.models import Instance, Location, Series, Study
from pacs.services.attributes import Level
from pacs.services.retrieve import instances_of
from radiology.errors import NotFound
from radiology.models import Patient

LEVELS = {
    Level.PATIENT: OrthancLevel.PATIENT,
    Level.STUDY: OrthancLevel.STUDY,
    Level.SERIES: OrthancLevel.SERIES,
    Level.INSTANCE: OrthancLevel.INSTANCE,
}
BY_NUMBER = {number: level for level, number in LEVELS.items()}
# The names of the levels in Orthanc: of a resource, and in addresses.
TYPES = {Level.PATIENT: "Patient", Level.STUDY: "Study", Level.SERIES: "Series", Level.INSTANCE: "Instance"}
COLLECTIONS = {
    Level.PATIENT: "patients",
    Level.STUDY: "studies",
    Level.SERIES: "series",
    Level.INSTANCE: "instances",
}
MOST_ALIKE = 20


def rows_of(here: OfOneSite, level: Level) -> QuerySet[Any]:
    """The rows of a level that there are for a caller, with the rows above them. Patients without studies are none."""
    if level is Level.PATIENT:
        studies = Study.objects.visible_to(here).filter(patient_ref=OuterRef("pk"))
        return Patient.objects.visible_to(here).filter(Exists(studies), merged_into=None)
    if level is Level.STUDY:
        return Study.objects.visible_to(here).select_related("patient_ref")
    if level is Level.SERIES:
        return Series.objects.visible_to(here).select_related("study_ref__patient_ref")
    return Instance.objects.visible_to(here).select_related("series_ref__study_ref__patient_ref")


def find(here: OfOneSite, level: Level, text: str) -> Any:
    """The row that an identifier, or a former one, leads to. Raises NotFound."""
    digest = as_digest(text)
    row = None
    if digest is not None:
        row = _known(here, level, digest, text)
        if row is None and OrthancArrival.objects.filter(is_backlog=False).exists():
            registrar.catch_up()
            row = _known(here, level, digest, text)
    if row is None:
        raise NotFound(f"There is no such {TYPES[level].lower()}, or none that you may see.")
    return row


def find_any(here: OfOneSite, text: str) -> tuple[Level, Any]:
    """The row of any level. Raises NotFound."""
    digest = as_digest(text)
    if digest is not None:
        names = OrthancResource.objects.filter(digest=digest, site=here.site_id, change=OrthancChange.NEW)
        known = {BY_NUMBER[OrthancLevel(number)] for number in names.values_list("level", flat=True)[:MOST_ALIKE]}
        for level in known or set(Level):
            try:
                return level, find(here, level, text)
            except NotFound:
                continue
    raise NotFound("There is no such resource, or none that you may see.")


def _known(here: OfOneSite, level: Level, digest: bytes, text: str) -> Any:
    names = OrthancResource.objects.filter(
        digest=digest, site=here.site_id, level=LEVELS[level], change=OrthancChange.NEW
    )
    keys = list(names.order_by("-id").values_list("row", flat=True)[:MOST_ALIKE])
    if not keys:
        return None
    rows = list(rows_of(here, level).filter(pk__in=keys))
    if len(rows) > 1:  # what bears it now goes before what bore it once
        for row, current in zip(rows, identifiers_of(level, rows), strict=True):
            if current == text:
                return row
    return min(rows, key=lambda row: keys.index(row.pk), default=None)


def item_of(items: Sequence[Any], position: str) -> Any:
    """One of several by its number, from 0. Raises NotFound."""
    number = position.lstrip("0") or position[:1]
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) < len(items)):
        raise NotFound("There are not so many of them.")
    return items[int(number)]


def location_of(here: OfOneSite, instance: Instance) -> Location:
    """Where an instance's bytes are. Raises NotFound."""
    found = instances_of(who=here, sop_instance_uids=[instance.sop_instance_uid]).filter(instance_ref=instance).first()
    if found is None:
        raise NotFound("There is no such instance, or none that you may see.")
    return found


def below(here: OfOneSite, level: Level, row: Any, wanted: Level) -> QuerySet[Any]:
    """The rows of a lower level that belong to a row, in the order of their numbers."""
    above = {
        Level.STUDY: {Level.PATIENT: "patient_ref"},
        Level.SERIES: {Level.PATIENT: "study_ref__patient_ref", Level.STUDY: "study_ref"},
        Level.INSTANCE: {
            Level.PATIENT: "series_ref__study_ref__patient_ref",
            Level.STUDY: "series_ref__study_ref",
            Level.SERIES: "series_ref",
        },
    }[wanted][level]
    order = {
        Level.STUDY: ["pk"],
        Level.SERIES: ["study_ref_id", "series_number", "pk"],
        Level.INSTANCE: ["series_ref_id", "instance_number", "pk"],
    }[wanted]
    return rows_of(here, wanted).filter(**{above: row}).order_by(*order)


def object_of(here: OfOneSite, level: Level, row: Any) -> Instance:
    """An instance, or what stands for a row of another level: its first. Raises NotFound where there is none."""
    found = row if level is Level.INSTANCE else below(here, level, row, Level.INSTANCE).first()
    if found is None:
        raise NotFound("There is no instance in it.")
    return cast(Instance, found)


def above(level: Level, row: Any, wanted: Level) -> Any:
    """The row of a higher level that a row belongs to."""
    while level is not wanted:
        if level is Level.INSTANCE:
            level, row = Level.SERIES, row.series_ref
        elif level is Level.SERIES:
            level, row = Level.STUDY, row.study_ref
        else:
            level, row = Level.PATIENT, row.patient_ref
    return row


def study_above(level: Level, row: Any) -> Study | None:
    """The study that a row is or belongs to; None for a patient."""
    return None if level is Level.PATIENT else cast(Study, above(level, row, Level.STUDY))
