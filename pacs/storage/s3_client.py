"""How an object store is spoken to: one client a volume, time-outs, retries, and what its errors mean.

Retries are botocore's (mode "standard"): cut connections, time-outs, throttling and 5xx, with
exponential back-off and jitter.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError, SSLError
from django.conf import settings

from pacs.models import Volume
from radiology.errors import OutOfResources

ATTEMPTS = 5
CONNECT_SECONDS = 5
CONNECTIONS = 64
NOT_THERE = {"404", "NoSuchKey", "NotFound"}
CREDENTIALS = {
    "403": "may be wrong, or lack a right",
    "AccessDenied": "lack a right: reading, writing, deleting and listing are needed",
    "InvalidAccessKeyId": "name an access key that it does not know",
    "SignatureDoesNotMatch": "hold a secret key that does not fit the access key",
    "ExpiredToken": "have expired",
}
DAMAGED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest", "IncompleteBody"}


def make_client(volume: Volume, *, attempts: int = ATTEMPTS, seconds: float | None = None) -> Any:
    """A client of the volume's store, to be used by any number of threads."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=volume.endpoint_url or None,
        region_name=volume.region or "us-east-1",
        aws_access_key_id=volume.access_key_id or None,
        aws_secret_access_key=volume.secret or None,
        verify=volume.verify_tls,
        config=Config(
            signature_version="s3v4",
            connect_timeout=min(CONNECT_SECONDS, seconds or CONNECT_SECONDS),
            read_timeout=seconds or settings.SINAR_S3_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=CONNECTIONS,
            # Checksums are our own: those that botocore adds come in a form that older stores refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if volume.endpoint_url else "auto"},
        ),
    )


def status_of(error: ClientError) -> int:
    """The HTTP status that the store answered with."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """The store's own name of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_passing(error: Exception) -> bool:
    """Whether the same question may be answered in a moment."""
    if isinstance(error, ClientError):
        return status_of(error) >= 500 or status_of(error) == 429 or code_of(error) in DAMAGED
    return isinstance(error, BotoCoreError)


def sentence(error: Exception, *, volume: str) -> str:
    """What went wrong and what to do, for people; never a key or an address with one."""
    begin = f"The object store of the volume {volume}"
    if isinstance(error, ClientError):
        code = code_of(error)
        if code == "NoSuchBucket":
            return f"{begin} has no such bucket: make it, or correct its name."
        if code in CREDENTIALS:
            return f"{begin} refuses the request: its credentials {CREDENTIALS[code]} ({code})."
        if code == "RequestTimeTooSkewed":
            return f"{begin} refuses the request: the clocks of both machines differ. Set ours."
        if code in DAMAGED:
            return f"{begin} says that bytes were damaged on the way ({code})."
        return f"{begin} answers with an error: {status_of(error)} {code}."
    if isinstance(error, SSLError):
        return f"{begin} shows a certificate that cannot be trusted."
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
        return f"{begin} cannot be reached: check its address, and whether it runs."
    return f"{begin} does not answer as it should ({type(error).__name__})."


@contextlib.contextmanager
def told(volume: str) -> Iterator[None]:
    """Turn the store's errors into ours: FileNotFoundError or OutOfResources."""
    try:
        yield
    except ClientError as error:
        if code_of(error) in NOT_THERE:
            raise FileNotFoundError(error.operation_name) from None
        raise OutOfResources(sentence(error, volume=volume), passing=is_passing(error)) from error
    except BotoCoreError as error:
        raise OutOfResources(sentence(error, volume=volume), passing=is_passing(error)) from error
