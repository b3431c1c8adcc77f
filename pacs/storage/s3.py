"""Objects in a bucket that is spoken to by S3.

    SINAR_DATA/staging/<volume>/incoming/<key>.part     being written on this machine, its writer holds a lock
    <prefix>2026/11/23/15/52/<key>.dcm                  in the bucket

An object is written to the staging folder as on a disk volume, uploaded under its lasting key when it
is complete, and its draft goes once the row is committed. So whatever a crash leaves has a draft,
whose key says what to look for in the bucket.
"""

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from pacs.models import Volume
from pacs.storage import s3_upload
from pacs.storage.disk import Disk, Draft, path_of
from pacs.storage.object_cache import ObjectCache
from pacs.storage.places import Expected, Published
from pacs.storage.protocol import Backend
from pacs.storage.s3_client import make_client, sentence, status_of, told
from pacs.storage.s3_stream import BLOCK, open_stream
from radiology.errors import OutOfResources

log = structlog.get_logger(__name__)

# After a failure it is asked whether the store answers, before anything more is taken in.
DOUBTED_SECONDS = 60
ASKED_SECONDS = 3.0
LISTED = 1000


class S3Draft(Draft):
    """A file that is staged on this machine and uploaded when it is sealed.

    Raises OutOfResources when the store does not take it.
    """

    may_be_acknowledged = False

    def __init__(self, store: "S3", *, head_size: int) -> None:
        super().__init__(store.staging, head_size=head_size)
        self._store = store
        self._may_be_there = False
        self._published = False

    def seal(self, head: bytes, *, note: str = "") -> None:
        """Write the head in front and upload: the bytes survive the loss of this machine from here on."""
        self._put_head(head)
        self._may_be_there = True
        self._store.upload(path_of(self.key), self._file, self.head_size + self.size)

    def copy_from(self, source: Backend, path: str) -> bool:
        """Have the store copy from another bucket or prefix, when it holds both."""
        if not isinstance(source, S3) or not self._store.reaches(source):
            return False
        self._may_be_there = True
        return self._store.copy(source, path, path_of(self.key))

    def publish(self) -> str:
        """The lasting path: the object is there already."""
        self._published = True
        return path_of(self.key)

    def retract(self) -> None:
        """The row was not written: the object goes with the draft."""
        self._published = False

    def discard(self) -> None:
        """Remove the draft, and the object unless it was published. Safe to call twice."""
        if self._file >= 0 and self._may_be_there and not self._published:
            try:
                self._store.forget(self.key)
            except OutOfResources:
                log.warning("left to the collector", draft=self.key.hex)
                self.abandon()
                return
        super().discard()

    def abandon(self) -> None:
        """Close and leave all to the collector; of the staged bytes only the name is needed."""
        if self._file >= 0 and self._may_be_there:
            os.ftruncate(self._file, 0)
        super().abandon()


class S3:
    """One bucket, or what lies under one prefix of it."""

    def __init__(self, volume: Volume) -> None:
        self.name = volume.name
        self.volume = volume
        self.bucket = volume.bucket
        self.prefix = volume.prefix
        self.staging = Disk(settings.SINAR_DATA / "staging" / str(volume.pk), reserve=volume.reserve)
        self.client = make_client(volume)
        self._cache = ObjectCache(
            settings.SINAR_DATA / "cache" / "objects",
            limit=settings.SINAR_OBJECT_CACHE_SIZE,
            reserve=volume.reserve,
        )
        self._doubted_at = 0.0
        self._lock = threading.Lock()

    def draft(self, *, head_size: int) -> S3Draft:
        """Begin a new file."""
        self._require_answer()
        return S3Draft(self, head_size=head_size)

    def open(self, path: str) -> BinaryIO:
        """A published object as a stream. Raises FileNotFoundError."""
        if self._is_staged(path):
            return self.staging.open(path)
        return open_stream(self.client, bucket=self.bucket, key=self.key_of(path), volume=self.name)

    def open_mapped(self, path: str, *, expected: Expected | None = None) -> BinaryIO:
        """A local copy, compared with `expected` when it was fetched. Raises FileNotFoundError."""
        if self._is_staged(path):
            return self.staging.open(path)
        return self._cache.open(
            f"{self.volume.pk}/{self.bucket}/{self.prefix}{path}",
            size=expected.end if expected else None,
            fetch=lambda file: self._fetch(path, file, expected),
        )

    def _fetch(self, path: str, file: BinaryIO, expected: Expected | None) -> None:
        for _ in range(2):
            file.seek(0)
            file.truncate()
            digest, position = hashlib.sha256(), 0
            with self.open(path) as source:
                while block := source.read(BLOCK):
                    if expected is not None:
                        begin, end = max(0, expected.offset - position), max(0, expected.end - position)
                        digest.update(memoryview(block)[begin:end])
                    file.write(block)
                    position += len(block)
            if expected is None or (
                position >= expected.end and (not expected.sha256 or digest.digest() == bytes(expected.sha256))
            ):
                return
        log.error("object in the store is damaged", volume=self.volume.pk, path=path)
        raise OutOfResources("The object's file in the archive is damaged: it is not what was stored.")

    def size(self, path: str) -> int | None:
        """How long an object is; None when there is none."""
        try:
            with told(self.name):
                answer = self.client.head_object(Bucket=self.bucket, Key=self.key_of(path))
        except FileNotFoundError:
            return None
        return int(answer["ContentLength"])

    def sync(self, paths: list[str]) -> None:
        """Nothing is left to do: the store answered that it keeps them."""

    def remove(self, path: str) -> None:
        """Delete an object."""
        with told(self.name):
            self.client.delete_object(Bucket=self.bucket, Key=self.key_of(path))

    def require_space(self, size: int) -> None:
        """Raise OutOfResources when the staging folder has no room for `size` bytes."""
        self.staging.require_space(size)

    def walk(self, *, after: str = "") -> Iterator[Published]:
        """All objects under the prefix, in the order of their keys."""
        token: dict[str, str] = {"StartAfter": self.key_of(after)} if after else {}
        while True:
            with told(self.name):
                page = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=LISTED, **token)
            for each in page.get("Contents", ()):
                path = each["Key"].removeprefix(self.prefix)
                if path and not path.startswith("."):
                    yield Published(path, int(each["Size"]), each["LastModified"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def drafts(self) -> set[uuid.UUID]:
        """Keys of the drafts that this machine stages."""
        return self.staging.drafts()

    def abandoned(self) -> list[uuid.UUID]:
        """Drafts of this machine whose writer is gone."""
        return self.staging.abandoned()

    def clear(self, key: uuid.UUID, *, published: bool) -> None:
        """Remove an abandoned draft, uploads that it began, and the object unless a row points there."""
        if not published:
            self.forget(key)
        (self.staging.incoming / f"{key.hex}.part").unlink(missing_ok=True)

    def forget(self, key: uuid.UUID) -> None:
        """Remove what an unpublished draft may have left in the bucket."""
        path = path_of(key)
        with told(self.name):
            s3_upload.abort_uploads(self.client, bucket=self.bucket, key=self.key_of(path))
        self.remove(path)

    def upload(self, path: str, file: int, size: int) -> None:
        """Bring the first `size` bytes of a file into the bucket; when this returns they are there."""
        try:
            with told(self.name):
                s3_upload.upload(self.client, bucket=self.bucket, key=self.key_of(path), file=file, size=size)
        except FileNotFoundError as error:  # an upload in parts that the store has lost
            raise OutOfResources(f"The object store of the volume {self.name} lost an upload.") from error
        except OutOfResources as error:
            if error.facts.get("passing"):
                self._doubted_at = time.monotonic()
            raise

    def reaches(self, other: "S3") -> bool:
        """Whether the store can copy from the other volume by itself: one store, one account."""
        ours, theirs = self.volume, other.volume
        return (ours.endpoint_url, ours.region, ours.access_key_id) == (
            theirs.endpoint_url,
            theirs.region,
            theirs.access_key_id,
        )

    def copy(self, source: "S3", path: str, to: str) -> bool:
        """Copy within the store; whether it did. Raises FileNotFoundError when there is nothing to copy."""
        size = source.size(path)
        if size is None:
            raise FileNotFoundError(path)
        try:
            s3_upload.copy(
                self.client,
                source={"Bucket": source.bucket, "Key": source.key_of(path)},
                bucket=self.bucket,
                key=self.key_of(to),
                size=size,
            )
        except (ClientError, BotoCoreError) as error:
            # Not every store copies: then the bytes go through this machine.
            log.info("the store does not copy", volume=self.volume.pk, reason=sentence(error, volume=self.name))
            return False
        return True

    def key_of(self, path: str) -> str:
        """The key of a published path."""
        return self.prefix + path

    @staticmethod
    def _is_staged(path: str) -> bool:
        return path.startswith("incoming/")

    def _require_answer(self) -> None:
        """After a failure: raise at once while the store is gone, instead of after many attempts."""
        if not self._doubted_at or time.monotonic() - self._doubted_at > DOUBTED_SECONDS:
            return
        with self._lock:
            if not self._doubted_at:
                return
            client: Any = make_client(self.volume, attempts=1, seconds=ASKED_SECONDS)
            try:
                client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if status_of(error) >= 500:
                    raise OutOfResources(sentence(error, volume=self.name)) from error
            except BotoCoreError as error:
                raise OutOfResources(sentence(error, volume=self.name)) from error
            finally:
                client.close()
            self._doubted_at = 0.0
