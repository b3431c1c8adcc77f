"""The second port of the web process: what stands at `/orthanc/` stands at its root, and DICOMweb, and nothing else."""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

ROOT = "/orthanc"
BESIDE = ("/dicom-web/", "/dicomweb/")

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class OrthancPort:
    """Rewrites the path of requests that came to SINAR_ORTHANC_PORT, before anything looks at them.

    The port is that of our own socket (gunicorn's SERVER_PORT), whatever the Host header says.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if is_orthanc_port(environ):
            path = environ.get("PATH_INFO", "") or "/"
            if not path.startswith(BESIDE):
                environ["PATH_INFO"] = ROOT + (path if path.startswith("/") else f"/{path}")
        return self.application(environ, start_response)


def is_orthanc_port(environ: dict[str, Any]) -> bool:
    """Whether the request came to that port; none does where it is the pages' own."""
    port = settings.SINAR_ORTHANC_PORT
    return bool(port) and port != settings.SINAR_HTTP_PORT and environ.get("SERVER_PORT") == str(port)
