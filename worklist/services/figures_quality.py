"""What had to be made again and why; critical results and how long nobody knew of them."""

import json
from collections import Counter
from typing import Any

from django.utils.translation import gettext as _

from pacs.models import RemovalCode
from radiology.models.critical_result import CriticalCategory
from worklist.models import RejectReason
from worklist.services import figures_numbers as numbers
from worklist.services.figures_numbers import Selection
from worklist.services.figures_period import starts
from worklist.services.figures_tables import MOST_LINES, Figures, Table, number, rows, share, text, time
from worklist.services.figures_workload import device_labels

AGAIN_DAYS = (1, 3, 7, 14, 30)
USUAL_DAYS = 7
# A site's days by its own clock; the bounds around them let the index of moments serve.
_DAYS = (
    "AND {at} >= %(first)s::date - 1 AND {at} < %(last)s::date + 3"
    " AND ({at} AT TIME ZONE site.time_zone)::date BETWEEN %(first)s AND %(last)s"
)
_REJECTED = f"""
SELECT q.source_ae_title, q.modality, q.reason, count(*), sum(q.images)
  FROM worklist_qualitycheck q JOIN radiology_site site ON site.id = q.site_id
 WHERE q.site_id = ANY(%(sites)s) AND q.outcome = 'rejected' AND q.undone_at IS NULL
   AND (%(modality)s = '' OR q.modality = %(modality)s) {_DAYS.format(at="q.at")}
 GROUP BY 1, 2, 3
"""
# Rejection notes for quality that came without a check here: from a device, another archive, the study's page.
_NOTES = f"""
SELECT source.ae_title, source.modality, count(*),
       sum((SELECT count(*) FROM pacs_removedinstance i WHERE i.removal_id = r.id))
  FROM pacs_removal r JOIN radiology_site site ON site.id = r.site_id
  LEFT JOIN worklist_qualitycheck q ON q.removal_id = r.id
  LEFT JOIN LATERAL (
       SELECT s.source_ae_title AS ae_title, s.modality
         FROM pacs_removedinstance i
         JOIN pacs_instance o ON o.sop_instance_uid = i.sop_instance_uid AND o.site_id = r.site_id
         JOIN pacs_series s ON s.id = o.series_ref_id
        WHERE i.removal_id = r.id ORDER BY i.id LIMIT 1) source ON true
 WHERE r.site_id = ANY(%(sites)s) AND r.code = %(code)s AND r.restored_at IS NULL AND q.id IS NULL
   AND (%(modality)s = '' OR source.modality = %(modality)s) {_DAYS.format(at="r.created_at")}
 GROUP BY 1, 2
"""
_DISCONTINUED = f"""
SELECT v.performed_station_ae_title, v.discontinuation_reason, count(*)
  FROM worklist_performedprocedurestep v JOIN radiology_site site ON site.id = v.site_id
 WHERE v.site_id = ANY(%(sites)s) AND v.performed_procedure_step_status = 'DISCONTINUED'
   AND (%(modality)s = '' OR v.modality = %(modality)s) {_DAYS.format(at="coalesce(v.ended_at, v.created_at)")}
 GROUP BY 1, 2
"""
_AGAIN = """
WITH made AS (
    SELECT day, modality, procedure, device_id, station_ae_title,
           began_at - lag(began_at) OVER (PARTITION BY patient_key, procedure ORDER BY began_at) AS since
      FROM worklist_examinationfigures
     WHERE site_id = ANY(%(sites)s) AND day BETWEEN %(first)s::date - %(days)s - 1 AND %(last)s AND procedure <> ''
       AND (%(modality)s = '' OR modality = %(modality)s))
SELECT device_id, station_ae_title, procedure, count(*),
       count(*) FILTER (WHERE since <= make_interval(days => %(days)s))
  FROM made WHERE day >= %(first)s GROUP BY 1, 2, 3
"""
_CRITICAL = f"""
SELECT c.category, (c.raised_at AT TIME ZONE site.time_zone)::date, c.state, c.level,
       extract(epoch FROM c.acknowledged_at - c.raised_at)::float8
  FROM radiology_criticalresult c JOIN radiology_site site ON site.id = c.site_id
  JOIN radiology_requestedprocedure p ON p.id = c.requested_procedure_ref_id
  LEFT JOIN worklist_reading reading ON reading.requested_procedure_ref_id = p.id
 WHERE c.site_id = ANY(%(sites)s)
   AND (%(modality)s = '' OR coalesce(nullif(reading.modality, ''), p.modality) = %(modality)s)
   {_DAYS.format(at="c.raised_at")}
"""
_OPEN = """
SELECT count(*), min(raised_at) FROM radiology_criticalresult WHERE site_id = ANY(%(sites)s) AND state = 'open'
"""


def repeats(*, selection: Selection, days: int = USUAL_DAYS) -> Figures:
    """Images rejected for quality, steps that were broken off, and the same procedure again within so many `days`."""
    rejected, again = _rejected(selection), _again(selection, days)
    was, again_before = _rejected(selection.before), _again(selection.before, days)
    discontinued = rows(_DISCONTINUED, _asked(selection))
    discontinued_before = rows(_DISCONTINUED, _asked(selection.before))
    within = _("Again within %(days)d days") % {"days": days}
    tables = [
        _images("rejected-by-reason", _("Rejected images by reason"), _("Reason"), rejected, was, 2),
        _images("rejected-by-device", _("Rejected images by device"), _("Device"), rejected, was, 0),
        _images("rejected-by-modality", _("Rejected images by modality"), _("Modality"), rejected, was, 1),
        _broken_off(discontinued),
        _made_again("again-by-device", _("Same procedure again, by device"), _("Device"), again, 0, within),
        _made_again("again-by-procedure", _("Same procedure again, by procedure"), _("Procedure"), again, 1, within),
    ]
    count = number("count", "")
    return Figures(
        tables,
        [
            (_("Rejected images"), count, sum(row[4] for row in rejected), sum(row[4] for row in was)),
            (
                _("Steps broken off"),
                count,
                sum(row[2] for row in discontinued),
                sum(row[2] for row in discontinued_before),
            ),
            (within, count, sum(row[3] for row in again), sum(row[3] for row in again_before)),
        ],
    )


def critical(*, selection: Selection, unit: str = "") -> Figures:
    """Critical results by the day they were raised on; the open ones of any day."""
    now, before = rows(_CRITICAL, _asked(selection)), rows(_CRITICAL, _asked(selection.before))
    unit = unit or selection.period.unit
    begins = starts(selection.period, unit)
    counted = Counter(max(begin for begin in begins if begin <= row[1]) for row in now)
    known = [row[4] for row in now if row[4] is not None]
    known_before = [row[4] for row in before if row[4] is not None]
    waiting, oldest = rows(_OPEN, {"sites": list(selection.sites)})[0]
    tables = [
        Table(
            "by-category",
            _("By category"),
            [
                text("category", _("Category")),
                number("count", _("Raised")),
                number("acknowledged", _("Acknowledged")),
                number("open", _("Not acknowledged")),
                number("withdrawn", _("Withdrawn")),
                number("escalated", _("Escalated")),
                time("median", _("Median until acknowledged")),
                time("p90", _("90th percentile")),
                share("within", _("Without escalation")),
            ],
            [
                _category(str(label), [row for row in now if row[0] == value])
                for value, label in CriticalCategory.choices
            ],
        ),
        Table(
            "over-time",
            _("Critical results over time"),
            [text("start", _("From")), number("count", _("Raised"))],
            [[each.isoformat(), counted.get(each, 0)] for each in begins],
            plot="bars",
        ),
        Table(
            "open",
            _("Not acknowledged now"),
            [text("since", _("Oldest since")), number("count", _("Not acknowledged"))],
            [[oldest.isoformat(timespec="minutes") if oldest else "—", waiting]],
        ),
    ]
    return Figures(
        tables,
        [
            (_("Raised"), number("count", ""), len(now), len(before)),
            (_("Acknowledged, median"), time("median", ""), _percentile(known, 0.5), _percentile(known_before, 0.5)),
            (
                _("Acknowledged, 90th percentile"),
                time("p90", ""),
                _percentile(known, 0.9),
                _percentile(known_before, 0.9),
            ),
            (
                _("Escalated"),
                number("escalated", ""),
                sum(row[3] > 0 for row in now),
                sum(row[3] > 0 for row in before),
            ),
        ],
    )


def _asked(selection: Selection, **more: Any) -> dict[str, Any]:
    return {**selection.where()[1], "code": RemovalCode.QUALITY.value, **more}


def _rejected(selection: Selection) -> list[tuple[str, str, str, int, int]]:
    """Device, modality, reason, rejections, images."""
    labels = dict(RejectReason.choices)
    checked = rows(_REJECTED, _asked(selection))
    found = [
        (title or "—", kind or "—", str(labels.get(why, why or "—")), n, int(k)) for title, kind, why, n, k in checked
    ]
    for title, kind, count, images in rows(_NOTES, _asked(selection)):
        found.append((title or "—", kind or "—", _("Rejection note without a reason of ours"), count, int(images or 0)))
    return found


def _images(name: str, title: str, what: str, now: list[Any], before: list[Any], place: int) -> Table:
    rejections: Counter[str] = Counter()
    images: Counter[str] = Counter()
    was: Counter[str] = Counter()
    for row in now:
        rejections[row[place]] += row[3]
        images[row[place]] += row[4]
    for row in before:
        was[row[place]] += row[4]
    columns = [
        text("name", what),
        number("images", _("Images")),
        number("rejections", _("Rejections")),
        number("images_before", _("Images, period before")),
    ]
    order = sorted({*images, *was}, key=lambda each: (-images[each], each))[:MOST_LINES]
    return Table(
        name, title, columns, [[each, images[each], rejections[each], was[each]] for each in order], plot="bars"
    )


def _broken_off(found: list[Any]) -> Table:
    counted: Counter[tuple[str, str]] = Counter()
    for title, reason, count in found:
        counted[title or "—", _reason(reason)] += count
    columns = [text("device", _("Device")), text("reason", _("Reason")), number("count", _("Steps broken off"))]
    lines = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:MOST_LINES]
    return Table("discontinued", _("Steps broken off, by device and reason"), columns, [[*key, n] for key, n in lines])


def _reason(found: Any) -> str:
    """The meaning of a code as the step keeps it: code, scheme, meaning."""
    found = json.loads(found) if isinstance(found, str) else found
    code = found[0] if isinstance(found, list) and found and isinstance(found[0], list) else found
    parts = [str(part) for part in code] if isinstance(code, list) else []
    return (parts[2] if len(parts) > 2 and parts[2] else parts[0] if parts else "") or "—"


def _again(selection: Selection, days: int) -> list[tuple[str, str, int, int]]:
    """Device, procedure, examinations, those of them that were made again."""
    found = rows(_AGAIN, _asked(selection, days=days))
    labels = device_labels({(row[0], row[1]) for row in found})
    return [(labels[row[0], row[1]], row[2].strip(), row[3], row[4]) for row in found]


def _made_again(name: str, title: str, what: str, found: list[Any], place: int, within: str) -> Table:
    made: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for row in found:
        made[row[place]] += row[2]
        again[row[place]] += row[3]
    columns = [
        text("name", what),
        number("again", within),
        number("count", _("Examinations")),
        share("share", _("Share")),
    ]
    order = sorted((each for each in made if again[each]), key=lambda each: (-again[each], each))[:MOST_LINES]
    return Table(name, title, columns, [[each, again[each], made[each], again[each] / made[each]] for each in order])


def _category(label: str, found: list[Any]) -> list[Any]:
    times = [row[4] for row in found if row[4] is not None]
    states = Counter(row[2] for row in found)
    escalated = sum(row[3] > 0 for row in found)
    quiet = 1 - escalated / len(found) if found else None
    return [
        label,
        len(found),
        states["acknowledged"],
        states["open"],
        states["withdrawn"],
        escalated,
        _percentile(times, 0.5),
        _percentile(times, 0.9),
        quiet,
    ]


def _percentile(times: list[float], part: float) -> float | None:
    return numbers.percentile(sorted(times), part)
