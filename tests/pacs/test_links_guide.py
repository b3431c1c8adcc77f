"""docs/tokens.md: its examples run as they stand, and answer what stands below them."""

import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from pacs.models import Study
from pacs.services.links import new_secret, signature, string_to_sign
from pacs.services.study_tokens import ASKED, REVOKED, USED, hand_out
from radiology.models import AuditEvent, Scope, Site
from tests.daemons import Daemon
from tests.factories import make_token
from tests.pacs.dicomweb import store
from tests.pacs.test_api_integration_guide import BLOCK, SERVER, fits, image

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "tokens.md").read_text(encoding="utf-8")


def test_the_examples_run_as_they_stand(committed_db: None, web_server: Daemon, tool: Callable[[str], str]) -> None:
    for name in ("curl", "openssl"):
        tool(name)
    before = len(web_server.output)  # other tests ask this server too
    store(Site.objects.default(), image("996", 1))
    token, text = make_token("simrs", scopes=Scope.values)
    secret = new_secret(who=None, client=token.client)
    environment = {**os.environ, "PACS": web_server.url, "TOKEN": text, "SECRET": secret}
    blocks = list(BLOCK.finditer(GUIDE))
    ran = 0
    for block, after in itertools.pairwise(blocks):
        if block[1] != "sh" or block[2].startswith("export PACS="):
            continue
        assert after.start() - block.end() < 4, block[2]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block[2]],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        answer = done.stdout.replace(web_server.url, SERVER)
        assert done.returncode == 0, (block[2], done.stdout, done.stderr)
        if after[1] == "json":
            assert fits(json.loads(after[2]), json.loads(answer)), answer
        else:
            assert answer == after[2]
        ran += 1
    assert ran == 4
    (handed,) = hand_out(studies=Study.objects.all())
    for path in (f"viewer?token={handed.token}", f"download?token={handed.token}", "viewer?token=" + "x" * 64):
        subprocess.run(["curl", "-s", "-o", "/dev/null", f"{web_server.url}/{path}"], check=True, timeout=60)
    told = web_server.output[before:]
    assert '"GET /viewer" 302' in told and '"GET /download" 200' in told and '"GET /viewer" 404' in told
    assert not any(each in told for each in (handed.token, "x" * 64, secret, "signature", "token="))
    names = set(AuditEvent.objects.values_list("event", flat=True))
    assert {ASKED, REVOKED, "link.made", "link.used", "link.secret"} <= names and USED in GUIDE
    assert all(f"`{name}`" in GUIDE for name in names if name.startswith(("token.", "link.")))


def test_what_is_signed_is_as_described() -> None:
    parameters = {"client": "simrs", "expires": "1767225600", "AccessionNumber": "ACC12345", "signature": "x"}
    assert f"\n```text\n{string_to_sign(path='/viewer', parameters=parameters)}\n```\n" in GUIDE
    assert f"`{signature(secret='test', path='/viewer', parameters=parameters)}`" in GUIDE


def test_the_function_for_php_makes_links_that_open(
    committed_db: None, web_server: Daemon, tool: Callable[[str], str]
) -> None:
    php = tool("php")
    study = store(Site.objects.default(), image("996", 1, AccessionNumber="A/1 &+"))
    token, _ = make_token("simrs")
    secret = new_secret(who=None, client=token.client)
    (function,) = re.findall(r"^```php\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    call = f'echo pacs_link("/viewer", ["AccessionNumber" => "A/1 &+"], "simrs", "{secret}");'
    made = subprocess.run([php, "-r", function + call], capture_output=True, text=True, check=True).stdout
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{redirect_url}", made.replace(SERVER, web_server.url)]
    assert study.study_instance_uid in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert Study.objects.count() == 1
