"""A browser that comes by a token or a link, and the hospital system that makes the link."""

import hashlib
import hmac
import re
import time
from typing import Any
from urllib.parse import quote, urlencode

from django.test import Client

from pacs.models import LinkSigner, Study
from pacs.services import links
from pacs.services.study_tokens import hand_out
from radiology.models import ApiClient, Site
from tests.pacs.dicomweb import store
from tests.pacs.objects import ct, part10

EMR = "https://emr.hospital.com"


def received(site: Site, **attributes: Any) -> Study:
    stored = store(site, part10(ct(**attributes)))
    return Study.objects.get(study_instance_uid=stored.study_instance_uid, site=site)


def token_of(study: Study) -> str:
    (handed,) = hand_out(studies=Study.objects.filter(pk=study.pk))
    return handed.token


def signer(name: str = "simrs", **fields: Any) -> tuple[LinkSigner, str]:
    client, _ = ApiClient.objects.get_or_create(name=name, defaults={"site": Site.objects.default()})
    secret = links.new_secret(who=None, client=client)
    LinkSigner.objects.filter(client=client).update(**fields)
    return LinkSigner.objects.get(client=client), secret


def link(secret: str, path: str = "/viewer", *, left: int = 300, client: str = "simrs", **names: str) -> str:
    """As a hospital system writes it: by the documentation alone, with nothing of ours."""
    parameters = {**names, "client": client, "expires": str(int(time.time()) + left)}
    lines = "\n".join([path, *(f"{name}={value}" for name, value in sorted(parameters.items()))])
    parameters["signature"] = hmac.new(secret.encode(), lines.encode(), hashlib.sha256).hexdigest()
    return f"{path}?{urlencode(parameters, quote_via=quote)}"


def follow(client: Client, address: str, **more: Any) -> Any:
    """The page that a link leads to, and that nothing secret is left in its address."""
    first = client.get(address, **more)
    assert first.status_code == 302, (first.status_code, first.content[:300])
    assert first["Referrer-Policy"] == "no-referrer" and "no-store" in first["Cache-Control"]
    assert not re.search("token|signature|client=", first["Location"])
    return client.get(first["Location"], **more)


def rows(client: Client, **query: str) -> list[str]:
    answer = client.get("/dicom-web/studies", query)
    return [each["0020000D"]["Value"][0] for each in answer.json()] if answer.status_code == 200 else []
