"""A proxy in front of an S3 server that breaks what it is told to break.

`python -m tests.pacs.faulty_proxy PORT UPSTREAM`

It also does what S3 does and its stand-in does not: a body whose x-amz-checksum-crc32 is another one
is refused. Faults are rules, set with `POST /-/faults`; the first that fits a request is used up by it.

    {"method": "PUT", "path": "part of it", "fault": "500", "times": 1, "after": 1000}
"""

import base64
import contextlib
import http.client
import json
import socket
import struct
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTROL = "/-/"
ERRORS = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied"}
BLOCK = 65536


class State:
    """The rules in force, and what was asked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rules: list[dict[str, Any]] = []
        self.seen: list[dict[str, Any]] = []

    def fault(self, method: str, path: str) -> dict[str, Any]:
        with self.lock:
            for rule in self.rules:
                if rule["times"] and rule.get("method", method) == method and rule.get("path", "") in path:
                    rule["times"] -= 1
                    return dict(rule)
        return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = State()
    upstream = 0

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            super().handle_one_request()

    def handle_expect_100(self) -> bool:
        # Before the body: what is cut or stalls does so now or within the body.
        return super().handle_expect_100()

    def do(self) -> None:
        if self.path.startswith(CONTROL):
            self.control()
            return
        rule = self.state.fault(self.command, self.path)
        fault, after = rule.get("fault", ""), int(rule.get("after", 0))
        with self.state.lock:
            self.state.seen.append({
                "method": self.command,
                "path": self.path,
                "fault": fault,
                "range": self.headers.get("Range", ""),
                "copies": bool(self.headers.get("x-amz-copy-source")),
            })  # fmt: skip
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "cut-up":
            self.rfile.read(min(after, length))
            self.reset()
            return
        body = bytearray(self.rfile.read(length))
        if fault == "stall":
            time.sleep(float(rule.get("seconds", 30)))
            self.reset()
            return
        if fault == "damage" and body:
            body[len(body) // 2] ^= 0xFF
        if fault in ERRORS:
            self.answer(int(fault), ERRORS[fault])
            return
        expected = self.headers.get("x-amz-checksum-crc32")
        if expected and base64.b64decode(expected) != zlib.crc32(body).to_bytes(4, "big"):
            self.answer(400, "BadDigest")
            return
        self.forward(bytes(body), fault, after)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

    def forward(self, body: bytes, fault: str, after: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"expect", "connection"}}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        if fault == "lose-answer":
            answer.read()
            self.reset()
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "server", "date", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        left = after if fault == "cut-down" else -1
        while block := answer.read(BLOCK):
            if 0 <= left < len(block):
                self.wfile.write(block[:left])
                self.wfile.flush()
                self.reset()
                return
            if left >= 0:
                left -= len(block)
            self.wfile.write(block)
        self.close_connection = True
        connection.close()

    def answer(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    def reset(self) -> None:
        """End the connection as a broken line does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def control(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.state.lock:
            if self.command == "POST":
                self.state.rules = [{"times": 1, **rule} for rule in json.loads(body)]
                self.state.seen = []
            found = json.dumps({"seen": self.state.seen, "rules": self.state.rules}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections are cut on purpose


if __name__ == "__main__":
    Handler.upstream = int(sys.argv[2])
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
