"""What the figures of a part of the department come to: tables, some of which are plotted too."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from radiology.errors import NotAllowed
from radiology.models import Site, User

RIGHT = "figures.read"
# As many lines as somebody reads; the rest is counted in a last one where counts add up.
MOST_LINES = 200


@dataclass(frozen=True)
class Column:
    """`kind` is `text`, `count`, `time` (seconds) or `share` (of 1)."""

    name: str
    label: str
    kind: str = "count"


@dataclass(frozen=True)
class Table:
    """`plot` is how it is drawn: `lines`, `bars`, `heat` or not at all; the first column names each row."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: list[list[Any]]
    plot: str = ""
    note: str = ""

    @property
    def is_empty(self) -> bool:
        return not any(value for row in self.rows for value in row[1:])


@dataclass(frozen=True)
class Figures:
    """All tables of a part, and what stands above them: a title, and the value now and in the period before."""

    tables: list[Table] = field(default_factory=list)
    headlines: list[tuple[str, Column, Any, Any]] = field(default_factory=list)

    def table(self, name: str) -> Table | None:
        return next((each for each in self.tables if each.name == name), None)


def sites_of(who: Any, wanted: str = "") -> list[Site]:
    """The sites whose figures `who` may see: one's own; of who sees every site the one of that code, or `all`.

    Raises NotAllowed.
    """
    if not who.may(RIGHT):
        raise NotAllowed(_("The figures are for those who lead the department: an administrator gives the right."))
    if not who.sees_every_site or not wanted:
        return [Site.objects.get(pk=who.site_id)]
    found, wanted = Site.objects.order_by("pk"), wanted.replace("\x00", "")
    return list(found if wanted == "all" else found.filter(code=wanted)) or [Site.objects.get(pk=who.site_id)]


def rows(query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


def people(keys: Sequence[int]) -> dict[int, str]:
    """A name for each key, of nobody else among them: with the user name where two have the same."""
    wanted = [key for key in keys if key > 0]
    found = {each.pk: each for each in User.objects.filter(pk__in=wanted)}
    often = Counter(each.shown_name for each in found.values())
    names = {
        key: f"{each.shown_name} ({each.get_username()})" if often[each.shown_name] > 1 else each.shown_name
        for key, each in found.items()
    }
    return {key: names.get(key, f"#{key}") for key in wanted}


def words() -> dict[str, str]:
    """Columns that many tables have, as people read them."""
    return {
        "count": _("Examinations"),
        "median": _("Median"),
        "p90": _("90th percentile"),
        "within": _("In time"),
        "start": _("From"),
        "before": _("Period before"),
    }


def text(name: str, label: str) -> Column:
    return Column(name, label, "text")


def time(name: str, label: str) -> Column:
    return Column(name, label, "time")


def share(name: str, label: str) -> Column:
    return Column(name, label, "share")


def number(name: str, label: str) -> Column:
    return Column(name, label)
