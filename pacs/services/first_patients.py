"""Who has a name, and was examined with a modality: all of them where they are few, else whether they can be listed.

One statement looks up the name once. Of a name that many have, it first looks at some: a modality that is usual among
them need not be looked for among all.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection

from pacs.services.conditions import FEW_PATIENTS, MOST_LISTED, having_word
from radiology.models import Patient

USUAL = 50  # of the first few with a name
NOT_LISTED, ARE_USUAL = 0, -1  # nobody's keys

# `named` holds those with each beginning, one more than are listed where there are more; nothing where it need not.
SOUGHT = """
WITH first AS MATERIALIZED (SELECT ARRAY({first}) AS named),
usual AS MATERIALIZED (
    SELECT count(*) > %(usual)s AS is_usual FROM (
        SELECT FROM first, {table} AS each
         WHERE %(sampled)s AND cardinality(first.named) > %(few)s
           AND each.{patient} = ANY (first.named[1:%(few)s]) AND {examined} LIMIT %(usual)s + 1) AS looked_at),
named AS MATERIALIZED (SELECT {arrays} FROM usual WHERE NOT is_usual)
SELECT %(are_usual)s FROM usual WHERE is_usual
UNION ALL SELECT %(not_listed)s FROM named WHERE {beyond}
UNION ALL (
    SELECT each.{patient} FROM named, {table} AS each
     WHERE NOT ({beyond}) AND {among} AND {examined} AND {visible} LIMIT %(few)s + 1)
"""


@dataclass(frozen=True)
class FirstNamed:
    """`patients` is None where they are not few; `are_listed` is None where that was not asked for."""

    patients: list[int] | None
    are_listed: bool | None = True


def are_listed(beginnings: Sequence[str]) -> bool:
    """Whether none of these is the beginning of a word in more names than are listed."""
    return not any(having_word(each)[MOST_LISTED : MOST_LISTED + 1].exists() for each in beginnings)


def first_named(
    *, who: Any, beginnings: Sequence[str], modalities: Collection[str], counted: bool = False
) -> FirstNamed:
    """Those whose name has, for each of `beginnings`, a word that begins so, and who have studies of one of
    `modalities` if there are any. `counted` looks at all who have the name, however usual the modality."""
    values: dict[str, Any] = {
        "usual": USUAL, "few": FEW_PATIENTS, "most": MOST_LISTED,
        "sampled": not counted and len(beginnings) == 1, "not_listed": NOT_LISTED, "are_usual": ARE_USUAL,
    }  # fmt: skip
    patient = "patient_ref_id" if modalities else "id"
    examined = [_named(code, values) for code in modalities]
    try:
        visible = "TRUE"
        if not who.sees_every_site:
            visible = f"each.{patient} IN ({_written(Patient.objects.visible_to(who).values('pk'), values)})"
    except EmptyResultSet:
        return FirstNamed([])
    named = [_written(having_word(each)[: MOST_LISTED + 1], values) for each in beginnings]
    sql = SOUGHT.format(
        first=_written(having_word(beginnings[0])[: FEW_PATIENTS + 1], values),
        table="pacs_patientmodality" if modalities else "radiology_patient",
        patient=patient,
        examined=f"each.modality IN ({', '.join(examined)})" if modalities else "TRUE",
        visible=visible,
        arrays=", ".join(f"ARRAY({each}) AS of{number}" for number, each in enumerate(named)),
        among=" AND ".join(f"each.{patient} = ANY (named.of{number})" for number in range(len(named))),
        beyond=" OR ".join(f"cardinality(named.of{number}) > %(most)s" for number in range(len(named))),
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found = [key for (key,) in cursor.fetchall()]
    if ARE_USUAL in found:
        return FirstNamed(None, are_listed=None)
    if NOT_LISTED in found:
        return FirstNamed(None, are_listed=False)
    return FirstNamed(found if len(found) <= FEW_PATIENTS else None)


def _written(query: Any, values: dict[str, Any]) -> str:
    """A query as SQL; its values join the others."""
    sql, params = query.query.sql_with_params()
    return str(sql % tuple(_named(value, values) for value in params))


def _named(value: Any, values: dict[str, Any]) -> str:
    """The place of a value in the statement."""
    name = f"value{len(values)}"
    values[name] = value
    return f"%({name})s"
