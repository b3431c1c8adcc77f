"""An S3 server in a process of its own (moto), behind a proxy in another one that breaks what it is told to break."""

import json
import subprocess
import sys
import urllib.request
import uuid
from typing import Any

import boto3
from botocore.config import Config

from pacs.models import Volume, VolumeKind
from tests.daemons import ROOT, accepts, free_port, wait_until

ACCESS_KEY, SECRET = "AKIATESTTESTTEST", "very/secret+key"
ALWAYS = 10**6


class ObjectStore:
    """`volume()` makes a bucket and a volume on it; `break_with` sets the faults of the line to it."""

    def __init__(self) -> None:
        self.upstream, self.port = free_port(), free_port()
        self._processes = [
            self._start("-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.upstream)),
            self._start("-m", "tests.pacs.faulty_proxy", str(self.port), str(self.upstream)),
        ]
        wait_until(lambda: accepts(self.upstream) and accepts(self.port), seconds=60, what="the S3 server answers")
        # Straight to the server: what tests look at does not pass the faults.
        self.client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.upstream}",
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}),
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def volume(self, name: str = "bucket", *, prefix: str = "sinar/", **fields: Any) -> Volume:
        """A new bucket, and a volume that is on it."""
        bucket = f"test-{uuid.uuid4().hex[:20]}"
        self.client.create_bucket(Bucket=bucket)
        volume = Volume(
            name=name,
            kind=VolumeKind.S3,
            endpoint_url=self.url,
            bucket=bucket,
            prefix=prefix,
            access_key_id=ACCESS_KEY,
            **fields,
        )
        volume.secret = SECRET
        volume.full_clean()
        volume.save()
        return volume

    def keys(self, volume: Volume) -> list[str]:
        """All that lies in the bucket."""
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=volume.bucket).get("Contents", ())]

    def uploads(self, volume: Volume) -> list[str]:
        """Uploads in parts that nobody finished."""
        found = self.client.list_multipart_uploads(Bucket=volume.bucket)
        return [each["Key"] for each in found.get("Uploads", ())]

    def content(self, volume: Volume, path: str) -> bytes:
        """An object as it lies in the bucket."""
        body: bytes = self.client.get_object(Bucket=volume.bucket, Key=volume.prefix + path)["Body"].read()
        return body

    def break_with(self, *rules: dict[str, Any]) -> None:
        """Faults from now on, each `times` times (once); none: the line is sound. Forgets what was seen."""
        self._control(json.dumps(rules).encode())

    def seen(self) -> list[dict[str, Any]]:
        """The requests since the faults were set."""
        seen: list[dict[str, Any]] = self._control(None)["seen"]
        return seen

    def _control(self, body: bytes | None) -> Any:
        with urllib.request.urlopen(f"{self.url}/-/faults", body, timeout=20) as answer:
            return json.load(answer)

    @staticmethod
    def _start(*arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def down() -> dict[str, Any]:
    """The store is gone: every connection ends at once."""
    return {"fault": "cut-up", "times": ALWAYS}
