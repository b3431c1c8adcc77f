#!/usr/bin/env python3
"""What `make bench`, `make scale` and `make soak` need, then the one that is named, with its arguments."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[0] = ROOT

from deploy import python_version  # noqa: E402


def main() -> None:
    from deploy import project
    from deploy.screen import Screen, SetUpFailed
    from deploy.suite import debian_packages

    screen = Screen()
    try:
        project.install(screen, "requirements-dev.txt")
        debian_packages(screen, "bench")
    except SetUpFailed as error:
        sys.exit(str(error))
    os.chdir(ROOT)
    program, *arguments = sys.argv[1:]
    command = [str(project.PYTHON), "-c", f"import sys; from benchmarks.{program} import main; sys.exit(main())"]
    os.execve(command[0], [*command, *arguments], project.environment())


if __name__ == "__main__":
    python_version.ensure()
    main()
