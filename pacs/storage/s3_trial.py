"""Whether a bucket does what is asked of it."""

import os
import uuid
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.utils.translation import gettext as _

from pacs.models import Volume
from pacs.storage.s3_client import make_client, sentence
from radiology.errors import OutOfResources

SIZE = 4096
ANSWER_SECONDS = 8.0


def problem_of_bucket(volume: Volume) -> str:
    """PUT, GET, LIST and DELETE of one small object, each tried once; what is wrong, or nothing."""
    key = f"{volume.prefix}.try-{uuid.uuid4().hex}"
    content = os.urandom(SIZE)
    try:
        client: Any = make_client(volume, attempts=1, seconds=ANSWER_SECONDS)
    except OutOfResources as error:
        return error.message
    except (BotoCoreError, ValueError) as error:
        return sentence(error, volume=volume.name)
    step = _("Writing failed: %(reason)s")
    try:
        client.put_object(Bucket=volume.bucket, Key=key, Body=content)
        step = _("Reading failed: %(reason)s")
        if client.get_object(Bucket=volume.bucket, Key=key)["Body"].read() != content:
            return _("What was written into the bucket came back as other bytes.")
        step = _("Listing failed: %(reason)s")
        if not client.list_objects_v2(Bucket=volume.bucket, Prefix=key).get("Contents"):
            return _("What was written into the bucket does not stand in its list.")
        client.list_multipart_uploads(Bucket=volume.bucket, Prefix=key)
        step = _("Deleting failed: %(reason)s")
        client.delete_object(Bucket=volume.bucket, Key=key)
    except (ClientError, BotoCoreError) as error:
        return step % {"reason": sentence(error, volume=volume.name)}
    finally:
        client.close()
    return ""
