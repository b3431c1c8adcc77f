"""How a benchmark of the command line begins and ends."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from deploy.screen import SetUpFailed


def main_of(do: Callable[[argparse.Namespace], int], options: Callable[[Sequence[str]], argparse.Namespace]) -> int:
    """The exit code of what is done with the options of the command line; a signal ends it as Ctrl-C does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        return do(options(sys.argv[1:]))
    except KeyboardInterrupt:
        return 130
    except SetUpFailed as error:
        print(error, file=sys.stderr)
        return 1


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
