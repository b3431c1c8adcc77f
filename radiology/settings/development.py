"""A workstation, and what `make run` starts: local addresses, demo data, unknown modalities welcome."""

from radiology.settings.base import *  # noqa: F403
from radiology.settings.base import ALLOWED_HOSTS, DIMSE, SECRET_KEY, SINAR_BIND

SECRET_KEY = SECRET_KEY or "development-only-" + "0" * 40
ALLOWED_HOSTS = ALLOWED_HOSTS or ["localhost", "127.0.0.1", "[::1]", SINAR_BIND]
DIMSE = {**DIMSE, "ACCEPT_UNKNOWN_CALLING_AE": True, "ACCEPT_ANY_SCP": True}
