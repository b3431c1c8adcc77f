"""Bytes of a file that the kernel sends: this process neither reads nor copies them."""

from typing import Any, BinaryIO

# In a request's environment: a function that sends `count` bytes of a file from `offset` on, behind all that the
# body gave until now. Only for bodies whose Content-Length is known, and only when their first piece was taken. It is
# not there on connections that cannot do it, nor where the server is not `radiology.web_worker`'s.
SEND_FILE = "sinar.send_file"


def send_file(response: Any, file: BinaryIO, offset: int, count: int) -> None:
    """Send through a `radiology.web_response.Together`. Raises OSError where the connection or the file ends before."""
    if not response.headers_sent or response.is_chunked():
        raise ValueError("a file is sent behind the first piece of a body of known length")
    response.flush()
    sent = response.sock.sendfile(file, offset=offset, count=count) if count else 0
    response.sent += sent
    if sent != count:
        raise OSError("the file is shorter than it should be")
