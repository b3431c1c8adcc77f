"""Goes on in a Python that is new enough. Runs in any Python 3, so its syntax is plain."""

import os
import shutil
import sys

OLDEST = (3, 11)
NAMES = ["python3.11", "python3.12", "python3.13", "python3.14", "python3", "python"]


def ensure():
    """Return in Python 3.11 or later: this one, or one on PATH that takes this process over."""
    if sys.version_info >= OLDEST:
        return
    tried = os.environ.get("SINAR_PYTHON_TRIED", "").split()
    for name in NAMES:
        path = shutil.which(name)
        if path and name not in tried:
            os.environ["SINAR_PYTHON_TRIED"] = " ".join([*tried, name])
            os.execv(path, [path, *sys.argv])
    sys.exit(
        "Sinar needs Python {}.{} or later and this is {}.{}: install it (on Debian: apt-get install python3), "
        "then type this again.".format(*OLDEST, *sys.version_info[:2])
    )
