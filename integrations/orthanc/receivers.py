"""What the Orthanc-shaped door notes when the archive changes."""

from collections.abc import Sequence
from typing import Any

from django.dispatch import receiver

from integrations.orthanc.registrar import arrived
from pacs.signals import studies_changed, studies_stored


@receiver(studies_stored)
def note_what_came(instances: Sequence[int], **_: Any) -> None:
    arrived(instances=instances)


@receiver(studies_changed)
def note_what_changed(studies: Sequence[int], **_: Any) -> None:
    """Another patient, or series that moved: the same objects have other identifiers."""
    arrived(studies=studies)
