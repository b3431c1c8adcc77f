#!/usr/bin/env python3
"""`make test`: what the suite needs, a throw-away PostgreSQL, and the whole suite. Arguments go to pytest.

`SINAR_DATA` (default var/test) keeps what is slow to make. With `DATABASE_URL` set, that server is used.
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from deploy import python_version  # noqa: E402

if __name__ == "__main__":
    python_version.ensure()
    from deploy.suite import main

    sys.exit(main(sys.argv[1:]))
