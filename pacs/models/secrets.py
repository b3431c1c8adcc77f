"""Secrets that the database keeps and that must be read again: encrypted with a key that is not in it.

The key follows from `SECRET_KEY`; `SECRET_KEY_FALLBACKS` are tried too, so that it can be changed.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from radiology.errors import OutOfResources


def _fernet(secret_key: str) -> Fernet:
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"sinar stored secrets").derive(
        secret_key.encode()
    )
    return Fernet(base64.urlsafe_b64encode(key))


def _ring() -> MultiFernet:
    return MultiFernet([_fernet(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def encrypt(text: str) -> str:
    """What to keep in a row; empty for an empty secret."""
    return _ring().encrypt(text.encode()).decode("ascii") if text else ""


def decrypt(kept: str) -> str:
    """The secret. Raises OutOfResources when it was encrypted under another `SECRET_KEY`."""
    if not kept:
        return ""
    try:
        return _ring().decrypt(kept.encode()).decode()
    except InvalidToken:
        raise OutOfResources(
            "A stored secret cannot be read, because SINAR_SECRET_KEY is another one than when it was "
            "entered: enter the secret again, in the administration."
        ) from None
