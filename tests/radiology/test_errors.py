"""Named errors, and what each peer is told of them."""

import json
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from radiology import errors
from radiology.errors import OUTCOMES, UNEXPECTED, Conflict, InvalidValue, NotFound, RadiologyError, outcome_of, problem


def named_errors(kind: type[RadiologyError] = RadiologyError) -> list[type[RadiologyError]]:
    return [found for child in kind.__subclasses__() for found in (child, *named_errors(child))]


class Failing(APIView):
    """A view that raises what it is given."""

    authentication_classes = ()
    permission_classes = ()
    error: Exception = Exception()

    def get(self, request: HttpRequest) -> Response:
        raise self.error


def answer(error: Exception) -> Any:
    response = Failing.as_view(error=error)(APIRequestFactory().get("/"))
    if hasattr(response, "render"):
        response.render()
    return response


@pytest.mark.parametrize("kind", named_errors(), ids=lambda kind: kind.__name__)
class TestEveryNamedError:
    def test_has_an_outcome_for_each_peer(self, kind: type[RadiologyError]) -> None:
        outcome = outcome_of(kind("x"))
        assert outcome != UNEXPECTED
        assert 400 <= outcome.http < 600
        assert outcome.dimse != 0x0000
        assert outcome.dimse & 0xF000 in (0x0000, 0xA000, 0xC000), "a failure of PS3.7 Annex C, not a warning"
        assert outcome.ack in ("AE", "AR")

    def test_says_what_it_means(self, kind: type[RadiologyError]) -> None:
        assert kind.__doc__

    def test_is_told_as_problem_json(self, kind: type[RadiologyError]) -> None:
        response = answer(kind("The thing is wrong: do this.", field="port"))
        assert response.status_code == outcome_of(kind("x")).http
        assert response["Content-Type"] == "application/problem+json"
        assert json.loads(response.content) == {
            "type": f"urn:sinar:error:{kind.__name__}",
            "title": kind.__doc__,
            "status": outcome_of(kind("x")).http,
            "detail": "The thing is wrong: do this.",
            "field": "port",
        }


def test_a_child_has_the_outcome_of_its_parent() -> None:
    class Narrower(Conflict):
        """More exactly so."""

    assert outcome_of(Narrower("x")) == OUTCOMES[Conflict]


def test_what_nobody_named_is_a_failure_without_details() -> None:
    assert outcome_of(ZeroDivisionError("SECRET^NAME")) == UNEXPECTED
    with pytest.raises(ZeroDivisionError):
        answer(ZeroDivisionError())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Http404("SECRET"), 404),
        (PermissionDenied("SECRET"), 403),
        (exceptions.NotFound(), 404),
        (exceptions.PermissionDenied(), 403),
        (exceptions.NotAuthenticated(), 401),
        (exceptions.AuthenticationFailed("This token is unknown."), 401),
        (exceptions.MethodNotAllowed("PATCH"), 405),
        (exceptions.UnsupportedMediaType("text/x"), 415),
        (exceptions.ParseError(), 400),
        (exceptions.ValidationError({"port": ["Too large."]}), 400),
    ],
)
def test_errors_of_the_frameworks_are_told_alike(error: Exception, status: int) -> None:
    response = answer(error)
    body = json.loads(response.content)
    assert (response.status_code, body["status"]) == (status, status)
    assert response["Content-Type"] == "application/problem+json"
    assert {"type", "title", "detail"} <= set(body)
    assert "SECRET" not in json.dumps(body)


def test_who_is_not_known_is_told_how_to_sign_in() -> None:
    assert problem(errors.NotAuthenticated("Sign in."))["WWW-Authenticate"].startswith("Bearer")
    assert "WWW-Authenticate" not in problem(NotFound("Nothing."))


def test_a_field_is_named_only_where_there_is_one() -> None:
    assert "field" not in json.loads(problem(InvalidValue("Wrong.")).content)


def test_facts_stay_with_the_error_and_are_not_told() -> None:
    error = Conflict("It contradicts.", patient_name="SECRET")
    assert error.facts == {"patient_name": "SECRET"}
    assert "SECRET" not in problem(error).content.decode()
