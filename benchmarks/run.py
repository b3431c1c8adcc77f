#!/usr/bin/env python3
"""What `make bench` and `make scale` need, then the one that is named, with its arguments (`ARGS="--rows QIDO"`)."""

import os
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[0] = ROOT

from deploy import python_version  # noqa: E402


def main() -> int:
    from deploy import project
    from deploy.screen import Screen, SetUpFailed
    from deploy.suite import debian_packages

    screen = Screen()
    try:
        project.install(screen, "requirements-dev.txt")
        debian_packages(screen, "bench")
    except SetUpFailed as error:
        print(error, file=sys.stderr)
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the comparison, which ends its servers
    program, *arguments = sys.argv[1:]
    command = [str(project.PYTHON), "-c", f"import sys; from benchmarks.{program} import main; sys.exit(main())"]
    with subprocess.Popen([*command, *arguments], cwd=ROOT, env=project.environment()) as process:
        return process.wait()


if __name__ == "__main__":
    python_version.ensure()
    sys.exit(main())
