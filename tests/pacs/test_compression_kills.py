"""A worker that compresses is killed (kill -9): nothing is lost, nothing stays behind, and the work goes on."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from pydicom.uid import JPEGLSLossless

from pacs.models import Location, Study, Volume
from pacs.services import compression, lossless
from pacs.services.collect import collect_unfinished
from pacs.storage import Draft
from radiology.models import Job
from tests.pacs.compressing import (
    clear_old_files,
    files,
    pixels,
    pixels_of,
    put,
    rule,
    series_of,
    syntaxes,
    verified,
    work,
)


def killed_at(target: Any, name: str, *, after: bool, times: int = 1) -> None:
    """Run a turn in a process of its own that is killed when it comes to (or from) that call."""
    connections.close_all()  # two processes cannot talk through one
    pid = os.fork()
    if pid == 0:
        for inherited in connections.all(initialized_only=True):
            inherited.connection = None  # of before a browser's event loop ran, and out of `close_all`'s sight since
        try:
            real, seen = getattr(target, name), 0

            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal seen
                seen += 1
                if seen == times and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = real(*arguments, **options)
                if seen == times:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            setattr(target, name, call)
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize(
    ("target", "name", "after", "times"),
    [
        (lossless, "encode_frame", True, 2),
        (lossless, "_compare", False, 3),
        (Draft, "seal", True, 4),
        (Draft, "publish", True, 3),
        (compression, "_mark", True, 2),
        (compression.Work, "_switch", False, 1),
        (compression.audit, "record", True, 1),
        (Draft, "discard", False, 2),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_kill_at_any_moment_loses_nothing_and_leaves_nothing(
    committed_db: None, settings: Any, tmp_path: Path, target: Any, name: str, after: bool, times: int
) -> None:
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    archive = Volume.objects.get()
    sent = series_of(4)
    put(*sent)
    rule()
    Job.objects.exclude(kind=compression.KIND).delete()
    killed_at(target, name, after=after, times=times)
    assert pixels() == pixels_of(sent)
    collect_unfinished()
    clear_old_files()
    assert verified() == "" and pixels() == pixels_of(sent)
    assert len(files(archive)) == 4
    Job.objects.filter(kind=compression.KIND).update(lease_until=timezone.now() - timedelta(seconds=1))
    work()
    clear_old_files()
    assert set(syntaxes()) == {JPEGLSLossless} and pixels() == pixels_of(sent)
    assert len(files(archive)) == 4 and verified() == ""
    assert sum(Location.objects.values_list("size", flat=True)) == Study.objects.get().size
