"""An object of a store as a file: read as a stream, gone on with where a connection was cut."""

import io
import random
import time
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError

from pacs.storage.s3_client import sentence, told
from radiology.errors import OutOfResources

BLOCK = 1024 * 1024
# A seek forward as short as this is read over, longer ones ask anew.
READ_OVER = 256 * 1024
RESUMES = 5
FIRST_WAIT = 0.1


class ObjectReader(io.RawIOBase):
    """Reads an object whose size and ETag are known from the first answer; what follows must be the same object.

    Raises FileNotFoundError when there is none, OutOfResources when the store does not answer or ends
    before the object does.
    """

    def __init__(self, client: Any, *, bucket: str, key: str, volume: str) -> None:
        self._client = client
        self._address = {"Bucket": bucket, "Key": key}
        self._volume = volume
        self._position = 0
        self._begun_at = 0
        self._etag = ""
        self.size = 0
        with told(volume):
            self._body = self._ask(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self.size)[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.size - self._position)
        if wanted <= 0:
            return 0
        failures = 0
        while True:
            try:
                block = self._next(wanted)
                break
            except (BotoCoreError, ClientError) as error:
                # An answer that does not come was asked for several times already.
                cut = self._body is not None
                self._drop()
                failures += 1
                if not cut or failures > RESUMES:
                    raise OutOfResources(sentence(error, volume=self._volume)) from error
                time.sleep(FIRST_WAIT * 2**failures * random.uniform(0.5, 1))  # noqa: S311
        buffer[: len(block)] = block
        self._position += len(block)
        self._begun_at = self._position
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._drop()
        super().close()

    def _next(self, wanted: int) -> bytes:
        skipped = self._position - self._begun_at
        if self._body is not None and 0 < skipped <= READ_OVER:
            while skipped:
                skipped -= len(self._read(skipped))
            self._begun_at = self._position
        if self._body is None or self._begun_at != self._position:
            self._drop()
            self._body = self._ask(self._position)
        return self._read(wanted)

    def _read(self, wanted: int) -> bytes:
        block: bytes = self._body.read(wanted)
        if not block:
            raise BotoCoreError
        return block

    def _ask(self, position: int) -> Any:
        """GET from `position` on (RFC 9110 14.2), of the very object that the first answer was about."""
        if not position:
            answer = self._client.get_object(**self._address, **({"IfMatch": self._etag} if self._etag else {}))
            self.size, self._etag = int(answer["ContentLength"]), str(answer.get("ETag", ""))
        else:
            answer = self._client.get_object(**self._address, Range=f"bytes={position}-", IfMatch=self._etag)
            begin, _, length = str(answer.get("ContentRange", "")).removeprefix("bytes ").partition("/")
            if not begin.startswith(f"{position}-") or length != str(self.size):
                answer["Body"].close()
                raise BotoCoreError
        self._begun_at = position
        return answer["Body"]

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def open_stream(client: Any, *, bucket: str, key: str, volume: str) -> BinaryIO:
    """The object at its beginning; `BLOCK` bytes of it are held in memory."""
    return cast(BinaryIO, io.BufferedReader(ObjectReader(client, bucket=bucket, key=key, volume=volume), BLOCK))
