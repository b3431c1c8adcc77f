"""Ranges in constraints, without the extension that exclusion constraints over plain keys would need."""

from django.contrib.postgres.fields import BigIntegerRangeField, DateTimeRangeField
from django.db.models import Func


class TimeRange(Func):
    """`tstzrange(start, end)`: the start belongs to it, the end does not."""

    function = "TSTZRANGE"
    output_field = DateTimeRangeField()


class KeyRange(Func):
    """A key as the range that holds it alone: two such ranges overlap exactly when the keys are equal."""

    function = "INT8RANGE"
    template = "%(function)s(%(expressions)s, %(expressions)s, '[]')"
    output_field = BigIntegerRangeField()
