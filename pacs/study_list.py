"""What the list of studies shows: its columns, how the search box was understood, what its owner saved."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.urls import reverse
from django.utils import formats, translation
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from pacs.services.search import DESCRIPTION_DAYS, Criteria, Order
from pacs.services.search_days import Days
from pacs.services.search_words import MOST_TERMS, Meaning, Term
from radiology.models import SavedFilter, User

MOST_SAVED = 30


@dataclass(frozen=True)
class Column:
    """A column of the list. `order` is how its header sorts, if an index serves that."""

    name: str
    label: str | Promise
    at_first: bool = True
    always: bool = False
    order: Order | None = None


COLUMNS = [
    Column("picture", gettext_lazy("Picture"), at_first=False),
    Column("patient", gettext_lazy("Patient"), always=True, order=Order.NAME),
    Column("person", gettext_lazy("Sex, age")),
    Column("born", gettext_lazy("Birth date"), at_first=False),
    Column("mrn", gettext_lazy("MRN")),
    Column("date", gettext_lazy("Date"), order=Order.DATE),
    Column("received", gettext_lazy("Received"), at_first=False, order=Order.ARRIVAL),
    Column("modality", gettext_lazy("Modality")),
    Column("study", gettext_lazy("Study"), always=True),
    Column("accession", gettext_lazy("Accession")),
    Column("referrer", gettext_lazy("Referring physician"), at_first=False),
    Column("series", pgettext_lazy("column", "Series"), at_first=False),
    Column("images", gettext_lazy("Images")),
    Column("size", gettext_lazy("Size"), at_first=False),
    Column("site", gettext_lazy("Site"), at_first=False),
]


def columns_of(user: User) -> list[Column]:
    """The columns that `user` chose, in the house's order; those of everybody when nothing was chosen."""
    chosen = user.study_columns
    return [
        column for column in COLUMNS if column.always or (column.at_first if chosen is None else column.name in chosen)
    ]


def column_choice(user: User) -> list[dict[str, Any]]:
    """What the menu of columns offers."""
    shown = {column.name for column in columns_of(user)}
    return [
        {"name": column.name, "label": column.label, "shown": column.name in shown}
        for column in COLUMNS
        if not column.always
    ]


def keep_columns(*, user: User, names: Iterable[str] | None) -> None:
    """Remember the columns that somebody chose; None goes back to those of everybody."""
    known = {column.name for column in COLUMNS if not column.always}
    user.study_columns = None if names is None else sorted(known & set(names))
    user.save(update_fields=["study_columns"])


@dataclass(frozen=True)
class Chip:
    """One term of the box as it was understood, and the address of the list without it."""

    kind: str
    value: str
    without: str


def chips(criteria: Criteria, filters: dict[str, str]) -> list[Chip]:
    """How the box was understood, term by term."""
    return [
        Chip(*_told(term, criteria), without=list_address({**filters, "q": term.rest}))
        for term in criteria.understood().terms
    ]


def notes(criteria: Criteria, served: Order, filters: dict[str, str]) -> list[dict[str, str]]:
    """What the list does otherwise than one may expect, and the address where it does as expected."""
    understood = criteria.understood()
    told = []
    if understood.ignored:
        told.append({"text": _("Only the first %(count)d words count.") % {"count": MOST_TERMS}})
    if any(term.meaning == Meaning.NAME for term in understood.terms) and not criteria.searches_descriptions():
        phrase = "30 hari terakhir" if translation.get_language() == "id" else "last 30 days"
        within = {key: value for key, value in filters.items() if key not in {"day", "start", "end"}}
        told.append(
            {
                "text": _("Words of descriptions are searched within %(days)d days.") % {"days": DESCRIPTION_DAYS},
                "action": _("Search the last 30 days"),
                "address": list_address({**within, "q": f"{criteria.text} {phrase}"}),
            }
        )
    if criteria.served_order() != criteria.order:
        told.append({"text": _("Sorted by date: other orders work within %(days)d days.") % {"days": DESCRIPTION_DAYS}})
    return told


def headers(columns: list[Column], served: Order, filters: dict[str, str]) -> list[dict[str, Any]]:
    """The header cells; those that sort, with where they lead."""
    return [
        {
            "name": column.name,
            "label": column.label,
            "address": list_address({**filters, "order": column.order.value}) if column.order else "",
            "sorted": ("ascending" if column.order == Order.NAME else "descending") if column.order == served else "",
        }
        for column in columns
    ]


def list_address(filters: dict[str, str]) -> str:
    """The list with these filters. An empty search says so: nothing at all means what one saved as the default."""
    kept = {name: value for name, value in filters.items() if value and (name, value) != ("order", Order.DATE.value)}
    return f"{reverse('studies')}?{urlencode(kept or {'q': ''})}"


def saved_filters(user: User) -> list[SavedFilter]:
    """What `user` saved, by name."""
    return list(user.saved_filters.order_by("name")[:MOST_SAVED])


def query_of(text: str, names: Iterable[str]) -> str:
    """The filters among `names` of an address's query, put into one order; without the place in the list."""
    try:
        given = dict(parse_qsl(text.lstrip("?"), max_num_fields=50))
    except ValueError:
        return ""
    return urlencode({name: given[name] for name in names if given.get(name)})


def _told(term: Term, criteria: Criteria) -> tuple[str, str]:
    match term.meaning:
        case Meaning.MODALITY:
            return _("Modality"), ", ".join(term.modalities)
        case Meaning.DAYS if term.days:
            return _("Days"), _span(term.days)
        case Meaning.NUMBER:
            return _("Number"), term.value
    return (_("Name or description") if criteria.searches_descriptions() else _("Name")), term.value


def _span(days: Days) -> str:
    start = formats.date_format(days.start, "j M Y") if days.start else ""
    end = formats.date_format(days.end, "j M Y") if days.end else ""
    if start == end:
        return start
    return f"{start} – {end}" if end else _("since %(day)s") % {"day": start}
