"""The studies of patients by their number, by one statement that is written once: what viewers and devices ask most.

It finds what `pacs.services.query` finds for a PatientID without wild cards and nothing else.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pacs.models import Study
from pacs.services.stored_values import Columns, Models
from radiology.guest import Guest
from radiology.models import Patient
from radiology.services.rows import Sought, SoughtValues

# The number of a merged patient means the survivor. Sites are spelled out because the index begins with them. What is
# found is put in order by itself: else a small limit may tempt the planner to look through the newest studies of all.
_OF_NUMBERS = """
    pacs_study.id = ANY(ARRAY(
        WITH RECURSIVE holder(id, merged_into_id, is_named) AS (
            SELECT id, merged_into_id, true FROM radiology_patient
             WHERE site_id = ANY(COALESCE(%s::bigint[], ARRAY(SELECT id FROM radiology_site)))
               AND patient_id = ANY(%s::varchar[])
            UNION
            SELECT patient.id, patient.merged_into_id, false
              FROM holder JOIN radiology_patient AS patient ON patient.id = holder.merged_into_id
        ), found AS MATERIALIZED (
            SELECT id, sort_at FROM pacs_study
             WHERE patient_ref_id = ANY(ARRAY(SELECT id FROM holder WHERE is_named OR merged_into_id IS NULL))
               AND deleted_at IS NULL AND (%s::bigint IS NULL OR site_id = %s)
        )
        SELECT id FROM found ORDER BY sort_at DESC, id DESC LIMIT %s
    ))
    ORDER BY sort_at DESC, pacs_study.id DESC
"""


# Of so many sets of columns the statement stays written.
MOST_READINGS = 64


def studies_of_numbers(*, who: Any, numbers: Sequence[str], most: int, read: Models | Columns) -> list[Any]:
    """At most so many studies that `who` may see of patients with one of these numbers, newest first, read so.

    Guests have rules of their own: not for them.
    """
    if isinstance(who, Guest) or not who.may("studies.read"):
        return []
    site = None if who.sees_every_site else who.site_id
    sites = None if site is None else [site]
    found = _values(read.paths) if isinstance(read, Columns) else _models(read.with_json)
    return list(found(sites, list(numbers), site, site, most))


@lru_cache(maxsize=MOST_READINGS)
def _values(paths: tuple[str, ...]) -> SoughtValues:
    return SoughtValues(Study, paths, _OF_NUMBERS)


@lru_cache
def _models(with_json: bool) -> Sought[Study]:
    def read(model: Any) -> list[str]:
        return [each.name for each in model._meta.concrete_fields if with_json or each.name != "attributes"]

    return Sought(Study, _OF_NUMBERS, fields=read(Study), related={"patient_ref": read(Patient)})
