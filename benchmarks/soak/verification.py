"""Whether the ledger came true: in the rows, in the files, and through the doors."""

import random
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import dcmtk
from benchmarks.soak.images import sha256_of
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.product import Product

MOST_TOLD = 10
STUDIES_BY_C_GET = 10
JOBS_SECONDS = 120.0
COLLECT = "from pacs.services.collect import collect_unfinished; print(collect_unfinished())"


class Verification:
    """`problems` says what is wrong, `facts` what was looked at."""

    def __init__(self, product: Product, ledger: Ledger) -> None:
        self._product, self._ledger = product, ledger
        self.problems: list[str] = []
        self.facts: list[str] = []
        self.images: dict[str, dict[str, str]] = {}
        for entry in ledger.entries("image"):
            if entry["uid"] in self.images:
                self.problems.append(f"the harness wrote {entry['uid']} into the ledger twice")
            self.images[entry["uid"]] = entry

    def run(self) -> None:
        self._jobs()
        self._rows_and_files()
        self._wado()
        self._c_get()
        self._messages()
        self._archive()

    def _query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._product.database_url) as database:
            return database.execute(statement.encode(), values).fetchall()

    def _all(self, what: str, wrong: list[str], looked_at: int) -> None:
        self.facts.append(f"{what}: {looked_at}, {len(wrong)} wrong")
        self.problems += wrong[:MOST_TOLD]
        if len(wrong) > MOST_TOLD:
            self.problems.append(f"and {len(wrong) - MOST_TOLD} more of {what}")

    def _jobs(self) -> None:
        """Nothing that a killed worker had in hand stays undone. Its lease must run out first."""
        until = time.monotonic() + JOBS_SECONDS
        open_jobs = (
            "SELECT kind, state, count(*) FROM radiology_job WHERE state = 'dead' OR state IN ('pending', 'running')"
            " AND next_attempt_at < now() GROUP BY 1, 2"
        )
        while (left := self._query(open_jobs)) and time.monotonic() < until:
            time.sleep(1)
        done = self._query("SELECT count(*) FROM radiology_job WHERE state = 'done'")[0][0]
        self._all("jobs done", [f"job {kind}: {count} {state}" for kind, state, count in left], done)

    def _rows_and_files(self) -> None:
        """Each entry one row and one file that holds its bytes; no other rows, nothing held back."""
        wrong, seen = [], set()
        rows = self._query(
            "SELECT i.sop_instance_uid, count(*), min(l.path), min(encode(l.sha256, 'hex'))"
            " FROM pacs_instance i LEFT JOIN pacs_location l ON l.instance_ref_id = i.id GROUP BY 1"
        )
        for uid, count, path, sha256 in rows:
            seen.add(uid)
            entry = self.images.get(uid)
            if entry is None:
                wrong.append(f"{uid} is there and nobody was told so")
            elif count != 1 or path is None:
                wrong.append(f"{uid} has {count} rows, file {path}")
            elif sha256 != entry["sha256"]:
                wrong.append(f"{uid}: the row has another SHA-256")
            elif not (file := self._product.folder / "archive" / path).is_file():
                wrong.append(f"{uid}: there is no file {path}")
            elif sha256_of(file.read_bytes()) != entry["sha256"]:
                wrong.append(f"{uid}: the file {path} holds other bytes")
        wrong += [
            f"{uid} was acknowledged ({self.images[uid]['door']}) and is LOST" for uid in self.images.keys() - seen
        ]
        held = self._query("SELECT sop_instance_uid, reason FROM pacs_heldobject")
        wrong += [f"{uid} is held back: {reason}" for uid, reason in held]
        self._all("images by row and file", wrong, len(rows))

    def _studies(self) -> dict[str, dict[str, str]]:
        """SHA-256 by SOP Instance UID, by study."""
        studies: dict[str, dict[str, str]] = defaultdict(dict)
        for uid, entry in self.images.items():
            studies[entry["study"]][uid] = entry["sha256"]
        return studies

    def _wado(self) -> None:
        """Every study in whole: as many parts as were acknowledged, each with the bytes that were sent."""
        client, wrong, count = self._product.again(), [], 0
        for study, expected in self._studies().items():
            accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
            answer = client.get(f"{self._product.dicomweb}/studies/{study}", Accept=accept)
            if answer.status != 200:
                wrong.append(f"WADO-RS of study {study}: {answer.status}")
                continue
            got = sorted(sha256_of(part) for part in parts_of(answer.headers["Content-Type"], answer.body))
            count += len(got)
            if got != sorted(expected.values()):
                wrong.append(
                    f"WADO-RS of study {study}: {len(got)} images, {len(expected)} acknowledged, or other bytes"
                )
        self._all("images by WADO-RS", wrong, count)

    def _c_get(self) -> None:
        """Of a sample of studies."""
        studies, wrong, count = self._studies(), [], 0
        for study in random.sample(sorted(studies), min(STUDIES_BY_C_GET, len(studies))):
            with tempfile.TemporaryDirectory() as folder:
                dcmtk.get_study(self._product, study, Path(folder))
                got = sorted(sha256_of(path.read_bytes()) for path in Path(folder).iterdir())
            count += len(got)
            if got != sorted(studies[study].values()):
                wrong.append(f"C-GET of study {study}: {len(got)} images, {len(studies[study])} acknowledged")
        self._all("images by C-GET", wrong, count)

    def _messages(self) -> None:
        """Each AA: processed once, whatever often it was sent; one patient, one order."""
        wrong = []
        entries = list(self._ledger.entries("message"))
        done: dict[str, list[tuple[str, int]]] = defaultdict(list)
        statement = "SELECT message_control_id, state, attempts FROM integrations_hl7message WHERE direction = 'in'"
        for control_id, state, attempts in self._query(statement):
            done[control_id].append((state, attempts))
        patients = dict(self._query("SELECT patient_id, count(*) FROM radiology_patient GROUP BY 1"))
        orders = dict(self._query("SELECT placer_order_number, count(*) FROM radiology_order GROUP BY 1"))
        for entry in entries:
            states = [state for state, _attempts in done[entry["control_id"]]]
            if states.count("processed") != 1 or set(states) - {"processed", "duplicate"}:
                wrong.append(f"HL7 {entry['control_id']} was answered AA and is {states or 'LOST'}")
            if patients.get(entry["patient"]) != 1:
                wrong.append(
                    f"HL7 {entry['control_id']}: {patients.get(entry['patient'], 0)} patients {entry['patient']}"
                )
            if entry["placer"] and orders.get(entry["placer"]) != 1:
                wrong.append(f"HL7 {entry['control_id']}: {orders.get(entry['placer'], 0)} orders {entry['placer']}")
        again = sum(len(states) - 1 for states in done.values())
        self._all(f"HL7 messages answered AA ({again} came again)", wrong, len(entries))

    def _archive(self) -> None:
        """After the collector nothing half-written is left, and `verifyarchive` finds nothing wrong."""
        wrong = []
        archive = self._product.folder / "archive"
        left = len(list((archive / "incoming").iterdir()))
        collected = self._product.manage("shell", "-v", "0", "-c", COLLECT)
        self.facts.append(f"half-written or twice linked files before the collector ran: {left}")
        if collected.returncode:
            wrong.append(f"the collector failed: {collected.stderr.strip()[-300:]}")
        wrong += [f"{path} was not collected" for path in (archive / "incoming").iterdir()]
        named = {
            path for (path,) in self._query("SELECT path FROM pacs_location UNION SELECT path FROM pacs_heldobject")
        }
        files = {str(path.relative_to(archive)) for path in archive.rglob("*.dcm")}
        wrong += [f"{path}: a row without a file" for path in named - files]
        wrong += [f"{path}: a file without a row" for path in files - named]
        verified = self._product.manage("verifyarchive", "--orphan-age", "0", "--pause", "0")
        if verified.returncode:
            wrong.append(f"verifyarchive: {(verified.stdout + verified.stderr).strip()[-500:]}")
        self.facts.append(f"verifyarchive: {(verified.stdout.strip().splitlines() or ['said nothing'])[-1]}")
        self._all("files", wrong, len(files))


def parts_of(content_type: str, body: bytes) -> Iterator[bytes]:
    """The bodies of a multipart/related answer (RFC 2387)."""
    found = re.search('boundary="?([^";]+)', content_type)
    if found is None:
        return
    for part in body.split(b"\r\n--" + found[1].encode()):
        head, mark, content = part.partition(b"\r\n\r\n")
        if mark and b"application/dicom" in head:
            yield content
