"""A program with a token that talks to `/api/v1`."""

import json
from collections.abc import Sequence
from typing import Any

from django.test import Client

from radiology.models import Scope, Site
from tests.factories import make_token

ALL = tuple(Scope.values)


class ApiProgram:
    """`program.get("studies", PatientID="7")`: the response."""

    def __init__(self, *, scopes: Sequence[str] = ALL, site: Site | None = None, name: str = "simrs") -> None:
        _, self.token = make_token(name, scopes=scopes, site=site)
        self.client = Client(headers={"Authorization": f"Bearer {self.token}"}, raise_request_exception=True)

    def get(self, path: str, query: Any = None, /, *, headers: Any = None, **parameters: Any) -> Any:
        address = path if path.startswith(("/", "http")) else f"/api/v1/{path}"
        return self.client.get(address, query or parameters, headers=headers)

    def post(self, path: str, body: Any = b"", content_type: str = "application/dicom", **headers: str) -> Any:
        return self.client.post(f"/api/v1/{path}", body, content_type=content_type, headers=headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.patch(f"/api/v1/{path}", json.dumps(body), content_type="application/json", headers=sent)

    def delete(self, path: str, body: Any = None, **parameters: str) -> Any:
        raw = json.dumps(body) if body is not None else ""
        return self.client.delete(f"/api/v1/{path}", raw, content_type="application/json", query_params=parameters)


def problem(response: Any, status: int, field: str = "") -> dict[str, Any]:
    """The problem that a response tells, which must be of that status and about that field."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == status and found["detail"] and found.get("field", "") == field, found
    return found


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content
