"""What a page says at its bottom after something was done, and how it is taken back."""

from django.contrib import messages
from django.http import HttpRequest

UNDO = "undo:"


def say(request: HttpRequest, text: str, *, undo: str = "", level: int = messages.SUCCESS) -> None:
    """Say `text` on the next page (or part) that this person is shown.

    `undo` is an address of ours that takes it back when something is posted there; the bar offers it for 30 seconds.
    """
    messages.add_message(request, level, text, extra_tags=f"{UNDO}{undo}" if undo else "")
