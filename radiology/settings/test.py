"""The test suite: the database that `DATABASE_URL` names, cheap password hashes, plain static files."""

from radiology.settings.base import *  # noqa: F403
from radiology.settings.base import DATABASES, DIMSE

SECRET_KEY = "test-only-" + "0" * 50
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
DATABASES["default"]["OPTIONS"].pop("pool")
DIMSE = {**DIMSE, "ACCEPT_UNKNOWN_CALLING_AE": True, "ACCEPT_ANY_SCP": True}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
CELERY_TASK_ALWAYS_EAGER = False
