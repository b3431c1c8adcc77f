"""Making room in folders of files that can be had again."""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

# A .part file this old, in seconds, has nobody who writes it any more.
FORGOTTEN_AFTER = 24 * 3600


def remove_least_recent(folders: Iterable[Path | str], *, limit: int, enough: int | None = None) -> int:
    """Remove the files that were used least recently until `limit` bytes are left in `folders` together.

    With `enough`, only until so many bytes are removed. How many were; what others remove meanwhile counts as gone.
    """
    kept = []
    for folder in folders:
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                state = entry.stat(follow_symlinks=False)
                if not entry.name.endswith(".part"):
                    kept.append((state.st_mtime, state.st_size, entry.path))
                elif time.time() - state.st_mtime > FORGOTTEN_AFTER:
                    os.unlink(entry.path)
    left, removed = sum(size for _, size, _ in kept), 0
    for _, size, path in sorted(kept):
        if left <= limit or (enough is not None and removed >= enough):
            break
        left -= size
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            removed += size
    return removed
