"""What a request names, study by study: whole studies, or series and objects of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from integrations.orthanc.lookup import rows_of, study_above
from pacs.models import Location, Study
from pacs.services import transfers
from pacs.services.attributes import Level


@dataclass
class Selection:
    """One study: whole, or series of it, or objects of it."""

    study: Study
    series: list[str] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return not self.series and not self.instances

    @property
    def named(self) -> list[Any]:
        """As it is kept in a row."""
        return [self.study.study_instance_uid, self.series, self.instances]


def selected(here: Any, rows: Iterable[tuple[Level, Any]]) -> list[Selection]:
    """The rows by study; one that is meant as a whole is not named in parts beside."""
    wanted: dict[int, tuple[Study, set[str], set[str]]] = {}
    whole: set[int] = set()
    for level, row in rows:
        study = study_above(level, row)
        studies = [study] if study else list(rows_of(here, Level.STUDY).filter(patient_ref=row))
        for each in studies:
            _, series, instances = wanted.setdefault(each.pk, (each, set(), set()))
            if level in {Level.PATIENT, Level.STUDY}:
                whole.add(each.pk)
            elif level is Level.SERIES:
                series.add(row.series_instance_uid)
            else:
                instances.add(row.sop_instance_uid)
    found = []
    for pk, (study, series, instances) in wanted.items():
        if pk in whole:
            found.append(Selection(study))
            continue
        if series:
            found.append(Selection(study, series=sorted(series)))
        if instances:
            found.append(Selection(study, instances=sorted(instances)))
    return found


def objects_of(site_id: int, named: list[Any]) -> QuerySet[Location]:
    """Where the objects of a selection lie, with all rows above them."""
    study, series, instances = named
    found = transfers.objects_of(site_id=site_id, study_instance_uid=study, series=series, instances=instances)
    return found.select_related("instance_ref__series_ref__study_ref__patient_ref", "volume")


def objects_left(site_id: int, selections: list[list[Any]], reached: list[int]) -> Iterator[tuple[list[int], Location]]:
    """Where the objects of selections lie, those after the place `reached`, each with its place.

    In the order in which they came: whatever comes or goes while a job is halted, none is left out or taken twice.
    """
    first, last = reached or (0, 0)
    for number, named in enumerate(selections):
        if number < first:
            continue
        found = objects_of(site_id, named).order_by("instance_ref_id", "id")
        if number == first:
            found = found.filter(instance_ref_id__gt=last)
        for location in found.iterator(200):
            yield [number, location.instance_ref_id], location
