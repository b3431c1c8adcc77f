"""Pages of a list that may have millions of rows."""

from typing import Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property

# A list shows at most this many rows; whoever needs others searches or filters.
MOST_ROWS = 1000


class BoundedPaginator(Paginator):
    """Counts no further than `MOST_ROWS`, so that neither counting nor the last page costs more in a larger archive."""

    template_name = "radiology/admin/pagination.html"

    @cached_property
    def rows(self) -> int:
        """How many there are, up to one more than are shown."""
        found: Any = self.object_list
        return int(found.order_by()[: MOST_ROWS + 1].count())

    @cached_property
    def count(self) -> int:
        return min(self.rows, MOST_ROWS)

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than are shown."""
        return self.rows > MOST_ROWS
