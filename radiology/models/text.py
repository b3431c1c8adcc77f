"""Columns whose order and comparison are those of bytes, the same on every server."""

from typing import Any

from django.db import models


class KeyField(models.CharField):
    """Text that is matched, never sorted for people: `COLLATE "C"`, empty rather than NULL."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("blank", True)
        kwargs.setdefault("default", "")
        kwargs["db_collation"] = "C"
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("db_collation", None)
        return name, path, args, kwargs
