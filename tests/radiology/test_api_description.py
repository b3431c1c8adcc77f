"""The OpenAPI document: valid, complete, up to date, and true; and nothing that fits it brings the API down."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from integrations.webhooks.events import Happening, tell
from pacs.models import Instance, Study, Volume
from radiology.api.docs import URLS, description
from radiology.models import Scope, Site
from radiology.services.order_attachments import add_attachment
from tests.factories import (
    make_case,
    make_device,
    make_key_image,
    make_order,
    make_patient,
    make_performed,
    make_procedure,
    make_report,
    make_report_template,
    make_requested_procedure,
    make_series,
    make_step,
    make_study,
    make_token,
)
from tests.integrations.webhook_receiver import make_webhook
from tests.pacs.api_client import ApiProgram
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10
from tests.worklist.peer_reviews import make_radiologist, make_signed, policy, this_month
from worklist.services.peer_review_draw import draw

COPY = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
METHODS = {"get", "post", "put", "patch", "delete"}
DOCUMENT: dict[str, Any] = json.loads(description("json"))
OPERATIONS = [
    (path, method, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method in METHODS
]
IDS = [f"{method} {path}" for path, method, _ in OPERATIONS]


def patterns(resolver: Any) -> Iterator[Any]:
    """Every address, those that other configurations add included."""
    for each in resolver.url_patterns:
        yield from patterns(each) if hasattr(each, "url_patterns") else [each]


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_the_copy_among_the_documentation_is_up_to_date() -> None:
    command = "python manage.py spectacular --urlconf radiology.api.urls --file docs/openapi.yaml"
    assert COPY.read_bytes() == description("yaml"), f"Make it anew: {command}"


def test_every_address_is_in_it() -> None:
    undocumented = {"schema", "docs", "instances", ""}  # `instances` is another name of POST /studies
    routes = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(each.pattern)) for each in patterns(get_resolver(URLS))}
    assert {path.strip("/") for path in DOCUMENT["paths"]} == routes - undocumented


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=IDS)
def test_every_operation_says_what_it_does_takes_and_answers(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["summary"] and operation["tags"] and operation["operationId"]
    assert {"api-token", "password", "session"} <= {name for each in operation["security"] for name in each}
    for parameter in operation.get("parameters", []):
        assert parameter["description"], parameter["name"]
        if parameter["in"] == "path" or (parameter["name"] not in {"cursor"} and parameter["in"] == "query"):
            assert parameter.get("examples") or parameter["schema"].get("enum"), parameter["name"]
    assert {"400", "401", "403"} <= set(operation["responses"])
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {}).items():
            if status >= "400":
                assert media_type == "application/problem+json" and content["examples"], status
    if "{" in path:
        assert "404" in operation["responses"]


def strict(schema: Any) -> Any:
    """The same schema, in which objects have no other members than those that are described."""
    if isinstance(schema, dict):
        found = {key: strict(value) for key, value in schema.items()}
        return {**found, "additionalProperties": False} if "properties" in found else found
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


# Parameters without which an address has no answer.
NEEDED = {"/slots": {"modality": "CT"}, "/report-templates": {"procedure": "{procedure}"}}
# Of people only: a program has no answer there.
PEOPLE = {"/peer-reviews", "/peer-reviews/{review}", "/peer-reviews/figures"}
COMPONENTS = strict(DOCUMENT["components"])


def require_as_described(response: Any, path: str, method: str = "get") -> None:
    """A response must be one that the document describes, member by member."""
    described = DOCUMENT["paths"][path][method]["responses"][str(response.status_code)]["content"]
    media_type = response["Content-Type"].partition(";")[0]
    assert media_type in described, (media_type, list(described))
    if media_type.endswith("json"):
        schema = {**strict(described[media_type]["schema"]), "components": COMPONENTS}
        errors = list(OAS31Validator(schema).iter_errors(json.loads(response.content)))
        assert not errors, errors[0]


@pytest.fixture
def archive(db: None, settings: Any, tmp_path: Path) -> dict[str, Any]:
    """A site with a stored object and a richer study; what names them in addresses."""
    settings.SINAR_DATA = tmp_path
    Volume.objects.update(path=str(tmp_path / "archive"))
    stored = store(Site.objects.default(), part10(ct()))
    study = make_study(make_patient("7", identifiers=[("NIK", "31")]), series=1, instances=1, study_date="")
    make_series(study, modality="SR", series_number=None, instances=1)
    step = make_step(device=make_device())
    performed = make_performed(step)
    case = make_case(study, make_step(make_requested_procedure()).requested_procedure_ref)
    patient = Instance.objects.get(sop_instance_uid=stored.sop_instance_uid).series_ref.study_ref.patient_ref
    order = make_order(make_patient(), procedures=1, egfr=Decimal("55.5"), requested_start=timezone.now())
    letter = add_attachment(order=order, name="rujukan.pdf", content=b"%PDF-1.7 letter")
    token, _ = make_token("simrs", scopes=Scope.values)
    webhook, _ = make_webhook("https://127.0.0.1:9/", who=token)
    tell(event="study.complete", about=lambda: [Happening(webhook.site_id, "1.2.3", {})])
    make_report(order.requested_procedures.get(), findings="Normal besar.")
    make_procedure().codes.create(coding_scheme_designator="LN", code_value="24627-2")
    report = make_report(order.requested_procedures.get(), findings="Normal.")
    shown = store(Site.objects.default(), part10(ct(PatientID="KEY-1")))
    image = Instance.objects.get(sop_instance_uid=shown.sop_instance_uid)
    Study.objects.filter(pk=image.series_ref.study_ref_id).update(patient_ref=order.patient_ref)
    return {
        "study": stored.study_instance_uid,
        "series": stored.series_instance_uid,
        "instance": stored.sop_instance_uid,
        "patient": str(patient.public_id),
        "correction": "01930f5e-7c1a-7b3e-9d51-2f6f0c9a4e11",
        "room": str(step.room.public_id if step.room else ""),
        "device": str(step.device.public_id if step.device else ""),
        "step": str(step.public_id),
        "performed": performed.sop_instance_uid,
        "order": str(order.public_id),
        "procedure": str(order.requested_procedures.get().public_id),
        "attachment": str(letter.public_id),
        "case": str(case.public_id),
        "merge": "01930f5e-9a10-7d3b-9c44-1f5e2d7a6b33",
        "template": str(make_report_template().public_id),
        "webhook": str(webhook.public_id),
        "report": str(report.public_id),
        "key_image": make_key_image(report, image),
        "critical_result": "01930f5e-9a10-7d3b-9c44-1f5e2d7a6b34",
        "review": "01930f5e-ab63-7d4e-8fa9-7dafb3c2e199",
    }


def test_answers_are_as_described(archive: dict[str, Any]) -> None:
    program = ApiProgram()
    for path, method, _ in OPERATIONS:
        if method == "get" and path not in PEOPLE:
            address = path.format(**archive).strip("/")
            needed = {name: value.format(**archive) for name, value in NEEDED.get(path, {}).items()}
            response = program.get(address, **needed)
            assert response.status_code == 200, (path, response.content)
            require_as_described(response, path)
            require_as_described(program.get(address, nonsense="1"), path)
            require_as_described(Client().get(f"/api/v1/{address}"), path)
    require_as_described(program.get("studies", limit="1"), "/studies")
    for body in (part10(ct()), b"nonsense"):
        require_as_described(program.post("studies", body), "/studies", "post")
    require_as_described(program.post("studies", b"{}", "application/json"), "/studies", "post")
    path = f"studies/{archive['study']}"
    require_as_described(program.patch(path, {"study_id": "A"}), "/studies/{study}", "patch")
    tag = program.get(path)["ETag"]
    for _ in range(2):
        require_as_described(program.patch(path, {"study_id": "A"}, If_Match=tag), "/studies/{study}", "patch")
    require_as_described(program.get(f"{path}/history"), "/studies/{study}/history")
    undo = program.get(f"{path}/history").json()["corrections"][0]["links"]["undo"]
    require_as_described(program.post(undo.partition("/api/v1/")[2]), "/corrections/{correction}/undo", "post")
    require_as_described(program.delete(path), "/studies/{study}", "delete")
    require_as_described(program.delete(path, reason="x"), "/studies/{study}", "delete")
    require_as_described(program.get("studies/deleted"), "/studies/deleted")
    for _ in range(2):
        require_as_described(program.post(f"{path}/restore"), "/studies/{study}/restore", "post")


def test_answers_about_reports_are_as_described(archive: dict[str, Any]) -> None:
    program = ApiProgram(scopes=Scope.values)
    new = {"status": "final", "sections": {"impression": "Normal."}, "procedure": archive["procedure"]}
    other = {**new, "procedure": str(make_requested_procedure().public_id)}
    for body, status in ((other, 201), (other, 200), ({**new, "external_id": "R"}, 201), ({}, 400)):
        response = program.post("reports", json.dumps(body), "application/json")
        assert response.status_code == status, response.content
        require_as_described(response, "/reports", "post")
    path = f"reports/{archive['report']}"
    require_as_described(program.get(f"{path}/versions"), "/reports/{report}/versions")
    for tag, status in (("", 428), ('"99"', 412), (program.get(path)["ETag"], 200)):
        headers = {"If-Match": tag} if tag else {}
        response = program.post(f"{path}/withdraw", json.dumps({"reason": "x"}), "application/json", **headers)
        assert response.status_code == status, response.content
        require_as_described(response, "/reports/{report}/withdraw", "post")


def test_answers_about_peer_reviews_are_as_described(archive: dict[str, Any]) -> None:
    policy(number=1)
    author, reviewer = make_radiologist("author"), make_radiologist("reviewer")
    make_signed(author)
    (review,) = draw(site=Site.objects.default(), month=this_month())
    client = Client()
    client.force_login(reviewer, backend="django.contrib.auth.backends.ModelBackend")
    for path in PEOPLE:
        require_as_described(client.get("/api/v1" + path.format(review=review.public_id)), path)
        require_as_described(ApiProgram().get(path.format(review=review.public_id).strip("/")), path)
    one = f"/api/v1/peer-reviews/{review.public_id}"
    for what, body, status in (("score", {}, 400), ("score", {"score": "1"}, 200), ("decline", {"reason": "x"}, 409)):
        response = client.post(f"{one}/{what}", json.dumps(body), "application/json")
        assert response.status_code == status, response.content
        require_as_described(response, f"/peer-reviews/{{review}}/{what}", "post")


def test_answers_about_orders_are_as_described(archive: dict[str, Any]) -> None:
    program = ApiProgram(scopes=Scope.values)
    patient = {"patient_id": "new", "patient_name": "BARU^ANI", "patient_birth_date": "19800101", "patient_sex": "F"}
    wanted = {"patient": patient, "procedures": [{"code": "CTTHX"}], "client_key": "k"}
    for body, status in ((wanted, 201), (wanted, 200), ({**wanted, "client_key": ""}, 409), ({}, 400)):
        response = program.post("orders", json.dumps(body), "application/json")
        assert response.status_code == status, response.content
        if status != 409:
            require_as_described(response, "/orders", "post")
    require_as_described(program.get("procedures", text="tho"), "/procedures")
    path = f"orders/{archive['order']}"
    changed = program.patch(path, {"egfr": "60"}, If_Match=program.get(path)["ETag"])
    require_as_described(changed, "/orders/{order}", "patch")
    require_as_described(program.patch(path, {"egfr": "60"}), "/orders/{order}", "patch")
    require_as_described(program.get(f"{path}/history"), "/orders/{order}/history")
    more = json.dumps({"procedures": [{"description": "Foto khusus", "modality": "DX"}]})
    for status in (201, 409):
        response = program.post(f"{path}/procedures", more, "application/json")
        assert response.status_code == status, response.content
        require_as_described(response, "/orders/{order}/procedures", "post")
    cancel = f"{path}/procedures/{response.json()['procedure']['public_id']}/cancel"
    for why, status in (("", 400), ("why", 200)):
        response = program.post(cancel, json.dumps({"reason": why}), "application/json")
        assert response.status_code == status, response.content
        require_as_described(response, "/orders/{order}/procedures/{procedure}/cancel", "post")
    again = program.post(cancel.replace("/cancel", "/reinstate"), b"{}", "application/json")
    assert again.status_code == 200, again.content
    require_as_described(again, "/orders/{order}/procedures/{procedure}/reinstate", "post")
    for move in ("hold", "release", "cancel", "reinstate", "discontinue"):
        response = program.post(f"{path}/{move}", json.dumps({"reason": "why"}), "application/json")
        assert response.status_code == 200, response.content
        require_as_described(response, f"/orders/{{order}}/{move}", "post")
    for content, status in ((b"%PDF-1.4 other", 201), (b"MZ", 415)):
        response = program.post(f"{path}/attachments?name=a.pdf", content, "application/pdf")
        assert response.status_code == status
        require_as_described(response, "/orders/{order}/attachments", "post")
    assert program.delete(f"{path}/attachments/{archive['attachment']}").status_code == 204


def test_answers_about_patients_are_as_described(archive: dict[str, Any]) -> None:
    program = ApiProgram()
    path = f"patients/{archive['patient']}"
    values = {"patient_name": "SARI^DEWI", "patient_birth_date": "19700131"}

    def post(address: str, body: Any, described: str) -> Any:
        answer = program.post(address, json.dumps(body), "application/json")
        require_as_described(answer, described, "post")
        return answer.json()

    made = post("patients", values, "/patients")
    require_as_described(program.patch(path, {"allergies": "Iodine"}), "/patients/{patient}", "patch")
    for _ in range(2):
        changed = program.patch(f"patients/{made['public_id']}", {"allergies": "Iodine"}, If_Match='"1"')
        require_as_described(changed, "/patients/{patient}", "patch")
    for body in (values, {**values, "patient_id": made["patient_id"]}, {"patient_name": ""}):
        post("patients", body, "/patients")
    post("patients/candidates", values, "/patients/candidates")
    merge = {"merged": made["public_id"]}
    post(f"{path}/merge", {**merge, "dry_run": True}, "/patients/{patient}/merge")
    done = post(f"{path}/merge", merge, "/patients/{patient}/merge")
    post(f"{path}/merge", merge, "/patients/{patient}/merge")
    for address in (path, f"patients/{made['public_id']}"):
        require_as_described(program.get(address), "/patients/{patient}")
        require_as_described(program.get(f"{address}/history"), "/patients/{patient}/history")
    require_as_described(program.get("patients", q="sari"), "/patients")
    post(f"merges/{done['public_id']}/undo", {}, "/merges/{merge}/undo")


def test_answers_about_webhooks_are_as_described(archive: dict[str, Any]) -> None:
    program = ApiProgram(scopes=Scope.values)
    new = {"url": "https://simrs.example/", "events": ["order.placed"], "name": "mine"}
    for body, status in ((new, 201), (new, 409), ({}, 400)):
        response = program.post("webhooks", json.dumps(body), "application/json")
        assert response.status_code == status
        require_as_described(response, "/webhooks", "post")
    for what, status in (("test", 200), ("secret", 201)):
        response = program.post(f"webhooks/{archive['webhook']}/{what}")
        assert response.status_code == status
        require_as_described(response, f"/webhooks/{{webhook}}/{what}", "post")
    assert program.delete(f"webhooks/{archive['webhook']}").status_code == 204


@pytest.mark.django_db
def test_the_document_is_served_as_yaml_and_json() -> None:
    client = Client()
    served = client.get("/api/v1/schema")
    assert yaml.safe_load(served.content) == DOCUMENT
    for response in (
        client.get("/api/v1/schema?format=json"),
        client.get("/api/v1/schema", headers={"Accept": "application/json"}),
    ):
        assert response["Content-Type"] == "application/json" and response.json() == DOCUMENT
    assert client.get("/api/v1/schema", headers={"If-None-Match": served["ETag"]}).status_code == 304


text = st.text(max_size=40) | st.sampled_from(
    ["", "*", "%", "'", "\x00", "../..", "20240101", "-1", "9" * 30, "1.2.3", "\\", "^", "=", "é", "\ud7ff", "null"]
)


def values(archive: dict[str, Any], name: str) -> st.SearchStrategy[str]:
    return st.just(str(archive[name])) | st.text(min_size=1, max_size=70)


def queries(declared: list[dict[str, Any]]) -> dict[str, st.SearchStrategy[str]]:
    """Values for the parameters of an operation: those of the examples, and any text."""
    found = {}
    for each in declared:
        if each["in"] == "query":
            examples = [str(example["value"]) for example in each.get("examples", {}).values()]
            found[each["name"]] = st.sampled_from([*examples, *each["schema"].get("enum", []), ""]) | text
    return found


def requests(archive: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Requests to operations of the document, with values that fit, nearly fit, or do not fit at all."""

    @st.composite
    def request(draw: Any) -> Any:
        path, method, operation = draw(st.sampled_from(OPERATIONS))
        names = re.findall(r"{(\w+)}", path)
        address = path.format(**{name: quote(draw(values(archive, name)), safe="") for name in names})
        declared = operation.get("parameters", [])
        query = draw(st.fixed_dictionaries({}, optional=queries(declared)) if declared else st.just({}))
        query |= draw(st.just({}) | st.just({}) | st.just({}) | st.dictionaries(text, text, max_size=1))
        headers = draw(
            st.dictionaries(
                st.sampled_from(["If-Match", "If-None-Match", "Range", "If-Range", "Accept", "Idempotency-Key"]),
                st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
                | st.sampled_from(['"1"', "bytes=0-", "bytes=-5", "bytes=9-3", "*", "bytes=0-0,2-3"]),
                max_size=3,
            )
        )
        kinds = ["application/json", "application/dicom", "application/zip", "multipart/form-data; boundary=x", "", "a"]
        members = text | st.sampled_from(
            ["reason", "patient", "study_id", "study_date", "accession_number", "patient_name", "merged", "identifiers"]
        )
        objects: Any = st.dictionaries(members, text | st.integers() | st.none(), max_size=3)
        broken = [b"--x\r\n\r\n", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), bytes(128) + b"DICM" + bytes(20)]
        body = draw(
            st.binary(max_size=200) | st.sampled_from(broken) | objects.map(lambda found: json.dumps(found).encode())
        )
        return method, address, query, headers, body, draw(st.sampled_from(kinds))

    return request()


def test_no_request_brings_it_down(archive: dict[str, Any]) -> None:
    program = ApiProgram()

    @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(requests(archive))
    def try_one(request: Any) -> None:
        method, address, query, headers, body, content_type = request
        response: Any = program.client.generic(
            method.upper(),
            f"/api/v1{address}",
            b"" if method == "get" else body,
            content_type=content_type,
            query_params=query,
            headers=headers,
        )
        assert response.status_code < 500 or response.status_code == 507, (request, response.content)
        if response.status_code >= 400 and response.status_code != 416:
            assert response["Content-Type"] == "application/problem+json", request
            assert b"Traceback" not in response.content
        if response.streaming:
            for _ in response.streaming_content:
                pass

    try_one()


def walk(found: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(found, dict):
        for value in found.values():
            yield from walk(value)
    elif isinstance(found, list):
        for value in found:
            yield from walk(value)
    elif isinstance(found, str):
        yield found


def test_no_text_is_a_leftover() -> None:
    assert not [each for each in walk(DOCUMENT) if re.search(r"TODO|FIXME|drf|spectacular", each)]
