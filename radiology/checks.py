"""What `manage.py check` says of the installation's folders."""

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def data_folder(**_: Any) -> list[CheckMessage]:
    """SINAR_DATA can be written, or made."""
    return [
        Error(
            f"The folder {folder} cannot be written by this user.",
            hint="Give it to the user who runs Sinar, or point SINAR_DATA to another folder.",
            id="radiology.E001",
        )
        for folder in unwritable([Path(settings.SINAR_DATA)])
    ]


def unwritable(folders: list[Path]) -> list[Path]:
    """Those of `folders` that can neither be written nor, where they are missing, be made."""
    return [folder for folder in folders if not _can_write(folder)]


def _can_write(folder: Path) -> bool:
    for existing in (folder, *folder.parents):
        if existing.exists():
            return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return False
