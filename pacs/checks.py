"""What `manage.py check --database default` says of the places where images are kept."""

import shutil
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError

from pacs.models import Volume
from pacs.storage import folder_of
from radiology.checks import unwritable


@register(Tags.database)
def volumes(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """There is a volume that takes new objects, its folder can be written, and there is space on it."""
    if not databases:
        return []
    try:
        active = list(Volume.objects.filter(is_active=True))
    except DatabaseError:  # not migrated yet
        return []
    if not active:
        return [
            Error(
                "No volume takes new objects: nothing can be stored.",
                hint="Make one active in the administration, under Volumes.",
                id="pacs.E001",
            )
        ]
    return [message for volume in active for message in _of_volume(volume)]


def _of_volume(volume: Volume) -> list[CheckMessage]:
    folder = folder_of(volume)
    if unwritable([folder]):
        return [
            Error(
                f"The folder {folder} of the volume {volume.name} cannot be written by this user.",
                hint="Mount it, or give it to the user who runs Sinar.",
                id="pacs.E002",
            )
        ]
    if folder.is_dir() and (free := shutil.disk_usage(folder).free) < volume.reserve:
        return [
            Warning(
                f"The volume {volume.name} has {free // 1024**2} MiB left, less than its reserve of "
                f"{volume.reserve // 1024**2} MiB: nothing more is taken in.",
                hint="Free some space, or make a volume active that has more.",
                id="pacs.W001",
            )
        ]
    return []
