"""Bytes on their way into a bucket: in one request or in parts, each with a checksum that the store compares."""

import base64
import contextlib
import io
import os
import random
import time
import zlib
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pacs.storage.s3_client import DAMAGED, code_of

BLOCK = 1024 * 1024
# Larger objects go in parts of at least this size; a store takes 10,000 parts (S3 limits).
PART = 16 * 1024 * 1024
MOST_PARTS = 9000
# One request copies 5 GiB at most; in parts it is quicker long before.
COPY_PART = 256 * 1024 * 1024
ATTEMPTS = 3
FIRST_WAIT = 0.2


class Portion(io.RawIOBase):
    """Some bytes of a file that others use at the same time: read without moving its position."""

    def __init__(self, file: int, start: int, size: int) -> None:
        self._file, self._start, self._size = file, start, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._position))
        count = os.preadv(self._file, [memoryview(buffer)[:wanted]], self._start + self._position) if wanted else 0
        self._position += count
        return count

    def checksum(self) -> str:
        """CRC-32 as the header x-amz-checksum-crc32 has it."""
        value, position = 0, 0
        while position < self._size:
            block = os.pread(self._file, min(BLOCK, self._size - position), self._start + position)
            if not block:
                break
            value = zlib.crc32(block, value)
            position += len(block)
        return base64.b64encode(value.to_bytes(4, "big")).decode("ascii")


def upload(client: Any, *, bucket: str, key: str, file: int, size: int) -> None:
    """Put the first `size` bytes of `file` under `key`. Raises botocore's errors; parts are then taken back."""
    if size <= PART:
        body = Portion(file, 0, size)
        checksum = body.checksum()

        def put() -> Any:
            body.seek(0)
            return client.put_object(
                Bucket=bucket, Key=key, Body=body, ContentType="application/dicom", ChecksumCRC32=checksum
            )

        _again_when_damaged(put, checksum)
        return
    size_of_part = max(PART, -(-size // MOST_PARTS))

    def send(upload_id: str, number: int, start: int) -> dict[str, Any]:
        body = Portion(file, start, min(size_of_part, size - start))
        checksum = body.checksum()

        def put() -> Any:
            body.seek(0)
            return client.upload_part(
                Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body, ChecksumCRC32=checksum
            )

        answer = _again_when_damaged(put, checksum)
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}

    _in_parts(client, bucket, key, size, size_of_part, send, {"ChecksumAlgorithm": "CRC32"})


def copy(client: Any, *, source: dict[str, str], bucket: str, key: str, size: int) -> None:
    """Have the store copy an object of `size` bytes. Raises botocore's errors."""
    if size <= COPY_PART:
        client.copy_object(Bucket=bucket, Key=key, CopySource=source)
        return

    def send(upload_id: str, number: int, start: int) -> dict[str, Any]:
        end = min(start + COPY_PART, size) - 1
        answer = client.upload_part_copy(
            Bucket=bucket,
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            CopySource=source,
            CopySourceRange=f"bytes={start}-{end}",
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    _in_parts(client, bucket, key, size, COPY_PART, send, {})


def abort_uploads(client: Any, *, bucket: str, key: str) -> None:
    """Take back uploads in parts of `key` that nobody finished."""
    for each in client.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", ()):
        if each["Key"] == key:
            with contextlib.suppress(client.exceptions.NoSuchUpload):
                client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=each["UploadId"])


def _in_parts(
    client: Any,
    bucket: str,
    key: str,
    size: int,
    size_of_part: int,
    send: Callable[[str, int, int], dict[str, Any]],
    options: dict[str, str],
) -> None:
    begun = client.create_multipart_upload(Bucket=bucket, Key=key, ContentType="application/dicom", **options)
    upload_id = begun["UploadId"]
    try:
        parts = [send(upload_id, number, start) for number, start in enumerate(range(0, size, size_of_part), 1)]
        _complete(client, bucket, key, upload_id, parts, size)
    except BaseException:
        with contextlib.suppress(ClientError, BotoCoreError):
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        raise


def _complete(client: Any, bucket: str, key: str, upload_id: str, parts: list[dict[str, Any]], size: int) -> None:
    try:
        client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts})
    except client.exceptions.NoSuchUpload:
        # The answer to an earlier attempt was lost on the way: the object is there.
        if int(client.head_object(Bucket=bucket, Key=key)["ContentLength"]) != size:
            raise


def _again_when_damaged(put: Callable[[], Any], checksum: str) -> Any:
    """botocore repeats what was cut or refused for a moment; what arrived damaged is for us to repeat."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = put()
        except ClientError as error:
            if code_of(error) not in DAMAGED or attempt == ATTEMPTS:
                raise
        else:
            if answer.get("ChecksumCRC32", checksum) == checksum:
                return answer
            if attempt == ATTEMPTS:
                raise BotoCoreError
        time.sleep(FIRST_WAIT * 2**attempt * random.uniform(0.5, 1))  # noqa: S311
    raise AssertionError("unreachable")
