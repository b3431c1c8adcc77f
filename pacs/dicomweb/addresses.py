"""The server's address as the caller reaches it, for the URLs that answers carry."""

from typing import Any

DEFAULT_PORTS = {80, 443}
FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_VIA")


def root_url(request: Any) -> str:
    """The DICOMweb root: `origin`, and `/dicom-web`, the first part of the path."""
    return origin(request) + "/" + request.path.split("/")[1]


def origin(request: Any) -> str:
    """Scheme, host and port.

    dicomweb-client leaves the port out of its Host header: on a connection that no proxy announces,
    the port that it came to is put in.
    """
    url: str = request.build_absolute_uri("/").rstrip("/")
    host = request.get_host()
    connection = request.META.get("gunicorn.socket")
    if connection is None or host.rpartition(":")[2].isdigit() or any(name in request.META for name in FORWARDED):
        return url
    port = connection.getsockname()[1]
    return url if port in DEFAULT_PORTS else url.replace(f"//{host}", f"//{host}:{port}", 1)
