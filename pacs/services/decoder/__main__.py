"""The child's loop: one request after the other from standard input, answers on standard output.

A message is a length in four bytes, that many bytes of JSON, then as many bytes as its `payload`
says. The process ends with its parent (end of input), when a request takes too long (SIGALRM, whose
default action ends even a decoder that does not return), or when it wants too much memory.
"""

import json
import os
import resource
import signal
import struct
import sys
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

MEMORY = 2 * 1024**3


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Answers have the pipe to themselves: whatever a library prints goes nowhere.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from pacs.services.decoder import decoding, encoding, rendering

    warnings.simplefilter("ignore")
    operations: dict[str, Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes | memoryview]]] = {
        "decode": decoding.decode,
        "encode": encoding.encode,
        "render": rendering.render,
        "animate": rendering.animate,
        "placeholder": rendering.placeholder,
    }
    requests = sys.stdin.buffer
    while True:
        message = _read(requests)
        if message is None:
            return
        request, payload = message
        answer: dict[str, Any]
        result: bytes | memoryview
        signal.alarm(int(request["seconds"]) + 1)
        try:
            answer, result = operations[request["operation"]](request, payload)
            answer["ok"] = True
        except MemoryError:
            answer, result = {"ok": False, "error": "it needs too much memory"}, b""
        except Exception as error:  # whatever a hostile stream makes a library raise
            answer, result = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}, b""
        signal.alarm(0)
        del payload
        _write(answers, answer, result)


def _read(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    size = stream.read(4)
    if len(size) < 4:
        return None
    request = json.loads(stream.read(struct.unpack(">I", size)[0]))
    return request, stream.read(request["payload"])


def _write(stream: BinaryIO, answer: dict[str, Any], result: bytes | memoryview) -> None:
    head = json.dumps({**answer, "payload": len(result)}).encode()
    stream.write(struct.pack(">I", len(head)) + head)
    stream.write(result)
    stream.flush()


if __name__ == "__main__":
    main()
