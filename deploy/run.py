#!/usr/bin/env python3
"""`make run`: everything from a fresh clone to a serving department. Needs only Python's standard library."""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from deploy import python_version  # noqa: E402

if __name__ == "__main__":
    python_version.ensure()
    from deploy.department import main

    sys.exit(main())
