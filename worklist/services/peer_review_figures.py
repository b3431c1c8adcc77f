"""How reviews of reports came out: of everybody's for who leads the department, else of one's own reports."""

from collections import Counter
from datetime import date
from typing import Any

from django.db.models import Count
from django.utils.translation import gettext as _

from worklist.models import DISCREPANCIES, PeerReview, PeerReviewState, RadpeerScore
from worklist.services.figures_tables import Column, Table, number, people, share, text
from worklist.services.peer_review import MANAGE, RIGHT


def tables(*, who: Any, first: date, last: date) -> list[Table]:
    """Of the samples of these months: by modality, and for who leads by radiologist. None for anybody else."""
    leads = who.may(MANAGE)
    if not leads and not who.may(RIGHT):
        return []
    rows = PeerReview.objects.managed_by(who) if leads else PeerReview.objects.filter(author_id=who.pk)
    rows = rows.filter(draw__month__gte=first.replace(day=1), draw__month__lte=last, state=PeerReviewState.SCORED)
    title = _("By modality") if leads else _("My reports by modality")
    found = [_table("by-modality", title, _("Modality"), _counted(rows, "modality"))]
    if leads:
        counted = _counted(rows, "author_id")
        names = people([int(key) for key in counted])
        named = {names[key]: scores for key, scores in counted.items()}
        found.append(_table("by-radiologist", _("By radiologist"), _("Radiologist"), named))
    return found


def _counted(rows: Any, column: str) -> dict[Any, Counter[str]]:
    found: dict[Any, Counter[str]] = {}
    for key, score, count in rows.values_list(column, "score").annotate(count=Count("pk")):
        found.setdefault(key, Counter())[score] = count
    return found


def _table(name: str, title: str, what: str, counted: dict[Any, Counter[str]]) -> Table:
    columns: list[Column] = [text("name", what), number("count", _("Reviews"))]
    columns += [number(f"score_{value}", value) for value in RadpeerScore.values]
    columns += [share("discrepancies", _("3a and 3b"))]
    lines = []
    for key, scores in sorted(counted.items(), key=lambda item: (-item[1].total(), str(item[0]))):
        wrong = sum(scores[each] for each in DISCREPANCIES)
        total = scores.total()
        lines.append([key or "—", total, *(scores[value] for value in RadpeerScore.values), wrong / total])
    return Table(name, title, columns, lines)
