"""A program that talks to the Orthanc-shaped REST, with Basic authentication and a token as password."""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from django.test import Client

from radiology.models import Scope, Site
from tests.factories import make_token

ALL = tuple(Scope.values)


def sha1(*parts: str) -> str:
    """An identifier as Orthanc's book says how to make one."""
    text = hashlib.sha1("|".join(parts).encode()).hexdigest()
    return "-".join(text[start : start + 8] for start in range(0, 40, 8))


class OrthancProgram:
    """`program.get("studies")`: the response."""

    def __init__(self, *, scopes: Sequence[str] = ALL, site: Site | None = None, name: str = "khanza") -> None:
        _, self.token = make_token(name, scopes=scopes, site=site)
        password = base64.b64encode(f"orthanc:{self.token}".encode()).decode()
        self.client = Client(headers={"Authorization": f"Basic {password}"})

    def get(self, path: str, query: Any = None, **headers: str) -> Any:
        return self.client.get(f"/orthanc/{path}", query, headers=headers)

    def json(self, path: str, query: Any = None) -> Any:
        response = self.get(path, query)
        content = b"".join(response.streaming_content) if response.streaming else response.content
        assert response.status_code == 200, content
        assert response["Content-Type"].startswith("application/json")
        return json.loads(content)

    def post(self, path: str, body: Any = None, content_type: str = "text/plain") -> Any:
        sent = body if isinstance(body, bytes | str) else json.dumps(body)
        return self.client.post(f"/orthanc/{path}", sent, content_type=content_type)

    def told(self, path: str, body: Any = None) -> Any:
        """What a POST answers."""
        response = self.post(path, body)
        content = b"".join(response.streaming_content) if response.streaming else response.content
        assert response.status_code == 200, content
        return json.loads(content)

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/orthanc/{path}")


def refused(response: Any, status: int, number: int | None = None) -> str:
    """What an error says in detail; it must have Orthanc's shape."""
    assert response.status_code == status, response.content
    found = response.json()
    assert {"Message", "HttpStatus", "HttpError", "OrthancError", "OrthancStatus", "Method", "Uri"} <= set(found)
    assert found["HttpStatus"] == status
    assert number is None or found["OrthancStatus"] == number
    return str(found["Details"])
