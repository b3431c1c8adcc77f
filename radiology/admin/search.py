"""Search that an index answers, however long the table."""

from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import CharField, Field, Model, Q, QuerySet
from django.http import HttpRequest

from radiology.models import Site

# As many rows as one way of matching may add to the answer.
MOST_MATCHES = 200
LOOKUPS = {"=": "exact", "^": "startswith"}

Matches = QuerySet[Any, Any]


class KeySearch:
    """Lets `search_fields` mean what indexes can do: `=field` is the whole value, `^field` its beginning.

    Django's own `^` compares `UPPER(column)`, which no index of ours serves, and joins all fields by
    OR in one condition, which a database answers by reading everything as soon as one of them lies
    in another table. Here each field is a query of its own, bounded, over columns in `COLLATE "C"`;
    the term is tried as typed and in capitals.
    """

    model: Any
    search_fields: ClassVar[Any] = ()

    def get_search_results(self, request: HttpRequest, queryset: Matches, search_term: str) -> tuple[Matches, bool]:
        term = " ".join(search_term.replace("\x00", "").split())
        if not term:
            return queryset, False
        sites = sites_of(request)
        found = [one.order_by().values("pk")[:MOST_MATCHES] for one in self.matches(term, sites)]
        if not found:
            return queryset.none(), False
        # Asked for by itself: as a part of the list's query it could make the database walk all rows in
        # their order until enough of them are in it.
        union = found[0].union(*found[1:], all=True) if found[1:] else found[0]
        return queryset.filter(pk__in=sorted({row["pk"] for row in union})), False

    def matches(self, term: str, sites: list[int]) -> Iterator[Matches]:
        """One queryset for each way in which `term` may be meant."""
        for entry in self.search_fields:
            condition = field_condition(self.model, entry[1:], LOOKUPS[entry[0]], term, sites)
            if condition is not None:
                yield self.model._default_manager.filter(condition)


def sites_of(request: HttpRequest) -> list[int]:
    """The sites whose rows the caller may see; indexes of large tables begin with the site."""
    user: Any = request.user
    if user.is_superuser:
        return list(Site.objects.order_by("id").values_list("id", flat=True))
    return [user.site_id]


def field_condition(model: type[Model], path: str, lookup: str, term: str, sites: list[int]) -> Q | None:
    """The condition that the field at `path` matches, within `sites`. None when `term` cannot be its value."""
    *relations, name = path.split("__")
    owner = model
    for relation in relations:
        owner = owner._meta.get_field(relation).related_model  # type: ignore[assignment]
    field = owner._meta.get_field(name)
    assert isinstance(field, Field)
    condition = Q()
    for value in _values(field, term):
        condition |= Q(**{f"{path}__{lookup}": value})
    if not condition:
        return None
    if _has_site(owner):
        condition &= Q(**{"__".join([*relations, "site_id", "in"]): sites})
    return condition


def _values(field: Field, term: str) -> list[Any]:
    if isinstance(field, CharField):
        return list(dict.fromkeys([term, term.upper()]))
    try:
        return [field.to_python(term)]
    except (ValidationError, ValueError):
        return []


def _has_site(model: type[Model]) -> bool:
    """Whether every row belongs to a site."""
    try:
        return not model._meta.get_field("site").null
    except FieldDoesNotExist:
        return False
