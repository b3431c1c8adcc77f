"""One way for every HTTP door to send bytes whose tag and size are known: conditions and ranges (RFC 9110 13, 14)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from django.conf import settings
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import http_date, parse_http_date_safe

RANGE = re.compile(r"bytes\s*=\s*(\d{0,20})\s*-\s*(\d{0,20})")
BLOCK = 1 << 20
TAG = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True)
class Download:
    """What is to be sent. `blocks(start)` gives the bytes from `start` on; `etag` is strong and stands in quotes.

    Without `size` (it is not known before the end) there are no ranges. `open_file` opens the same bytes
    as a file, which servers send faster; `close` is called when neither is.
    """

    blocks: Callable[[int], Iterator[bytes]]
    size: int | None
    etag: str
    content_type: str
    filename: str = ""
    inline: bool = False
    last_modified: datetime | None = None
    open_file: Callable[[], BinaryIO] | None = None
    close: Callable[[], None] | None = None


def answer(request: Any, download: Download) -> HttpResponseBase:
    """200, 206 for one range, 304, or 416; for HEAD the same without a body.

    The first block is made before the status is given, so that what is wrong with it is an error; what
    goes wrong later cuts the connection.
    """
    headers = _headers(download)
    if not_modified(request, etag=download.etag, last_modified=download.last_modified):
        return _without_body(download, HttpResponse(status=304, headers=headers))
    size = download.size
    wanted = _range(request, download) if request.method == "GET" and size is not None else None
    if wanted is not None and size is not None and not 0 <= wanted[0] < size:
        response = HttpResponse(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
        del response.headers["Content-Type"]
        return _without_body(download, response)
    start, end = wanted or (0, size)
    if size is not None and end is not None:
        headers["Content-Length"] = str(end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{(end or 1) - 1}/{size}"
    headers["Content-Type"] = download.content_type
    if request.method == "HEAD":
        return _without_body(download, HttpResponse(headers=headers))
    status = 200 if wanted is None else 206
    if download.open_file is not None and end == size:
        file = download.open_file()
        left = _left_to_front_server(file, headers) if wanted is None else None
        if left is not None:
            return left
        return _file(file, start, status, headers)
    blocks = _limited(download.blocks(start), None if end is None else end - start)
    first = next(blocks, b"")
    return StreamingHttpResponse(chain([first], blocks), status=status, headers=headers)


def not_modified(request: Any, *, etag: str, last_modified: datetime | None = None) -> bool:
    """Whether the caller's copy is still good: If-None-Match, or without one If-Modified-Since (RFC 9110 13.1)."""
    tags = request.META.get("HTTP_IF_NONE_MATCH")
    if tags is not None:
        opaque = etag.removeprefix("W/")
        return tags.strip() == "*" or opaque in (tag.removeprefix("W/") for tag in TAG.findall(tags))
    if last_modified is None or "HTTP_IF_MODIFIED_SINCE" not in request.META:
        return False
    since = parse_http_date_safe(request.META["HTTP_IF_MODIFIED_SINCE"])
    return since is not None and int(last_modified.timestamp()) <= since


def _headers(download: Download) -> dict[str, str]:
    headers = {"ETag": download.etag, "Accept-Ranges": "none" if download.size is None else "bytes"}
    if download.last_modified is not None:
        headers["Last-Modified"] = http_date(download.last_modified.astimezone(UTC).timestamp())
    if download.filename:
        kind = "inline" if download.inline else "attachment"
        headers["Content-Disposition"] = f'{kind}; filename="{download.filename}"'
    return headers


def _range(request: Any, download: Download) -> tuple[int, int] | None:
    """First byte and the one behind the last; None for none, for several, and for what is no range of bytes.

    A start that is not below the size cannot be satisfied.
    """
    assert download.size is not None
    found = RANGE.fullmatch(request.META.get("HTTP_RANGE", "").strip())
    if found is None or found[1] == found[2] == "" or not _unchanged(request, download):
        return None
    if not found[1]:  # the last so many bytes
        length = int(found[2])
        return (max(0, download.size - length), download.size) if length else (download.size, download.size)
    start = int(found[1])
    end = int(found[2]) + 1 if found[2] else download.size
    return None if end <= start and found[2] else (start, min(end, download.size))


def _unchanged(request: Any, download: Download) -> bool:
    """If-Range (RFC 9110 13.1.5): a part fits only to the same whole."""
    condition = request.META.get("HTTP_IF_RANGE", "").strip()
    if not condition:
        return True
    if condition.startswith(('"', "W/")):
        return bool(condition == download.etag)
    moment = parse_http_date_safe(condition)
    return (
        download.last_modified is not None and moment is not None and int(download.last_modified.timestamp()) == moment
    )


def _left_to_front_server(file: BinaryIO, headers: dict[str, str]) -> HttpResponse | None:
    """Tells the server before this one to send the file itself, where there is one that can and the file is local."""
    path = getattr(file, "name", None)
    if not settings.SINAR_ACCEL_REDIRECT or not isinstance(path, str) or not path.startswith("/"):
        return None
    file.close()
    response = HttpResponse(headers={name: value for name, value in headers.items() if name != "Content-Length"})
    response.headers["X-Accel-Redirect"] = settings.SINAR_ACCEL_REDIRECT.rstrip("/") + quote(path)
    return response


def _file(file: BinaryIO, start: int, status: int, headers: dict[str, str]) -> HttpResponseBase:
    file.seek(start)
    response: Any = FileResponse(file, status=status, content_type=headers["Content-Type"])
    response.block_size = BLOCK  # the default blocks are four times slower
    for name, value in headers.items():
        response.headers[name] = value
    if "Content-Disposition" not in headers:
        response.headers.pop("Content-Disposition", None)
    return cast(HttpResponseBase, response)


def _limited(blocks: Iterator[bytes], length: int | None) -> Iterator[bytes]:
    left = length
    for block in blocks:
        if left is None:
            yield block
            continue
        yield block[:left]
        left -= min(left, len(block))
        if not left:
            return


def _without_body(download: Download, response: HttpResponse) -> HttpResponse:
    if download.close is not None:
        download.close()
    return response


def after(blocks: Iterator[bytes], start: int) -> Iterator[bytes]:
    """`blocks` without the first `start` bytes: for what cannot be begun in the middle."""
    for block in blocks:
        if start < len(block):
            yield block[start:]
        start = max(0, start - len(block))
