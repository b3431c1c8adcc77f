"""A hospital. Refuses to start with a missing or default secret, an embedded default, or open hosts."""

from django.core.exceptions import ImproperlyConfigured

from radiology.settings.base import *  # noqa: F403
from radiology.settings.base import (
    ALLOWED_HOSTS,
    CELERY_BROKER_URL,
    SECRET_KEY,
    SINAR_BEHIND_PROXY,
    SINAR_STUDY_TOKEN_KEY,
    env,
)

if len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 16:
    raise ImproperlyConfigured(
        "SINAR_SECRET_KEY must be a random text of at least 50 characters: "
        "python -c 'import secrets; print(secrets.token_urlsafe(50))' makes one."
    )
if SINAR_STUDY_TOKEN_KEY and (len(SINAR_STUDY_TOKEN_KEY) < 50 or len(set(SINAR_STUDY_TOKEN_KEY)) < 16):
    raise ImproperlyConfigured("SINAR_STUDY_TOKEN_KEY must be a random text of at least 50 characters, or left out.")
if not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured("SINAR_ALLOWED_HOSTS must list the host names that users type, without *.")
if not env.str("DATABASE_URL", default=""):
    raise ImproperlyConfigured("DATABASE_URL must name the PostgreSQL database: postgres://user:password@host/name.")
if CELERY_BROKER_URL.startswith("filesystem"):
    raise ImproperlyConfigured("CELERY_BROKER_URL must name a Redis or RabbitMQ: redis://host:6379/0.")

SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_SSL_REDIRECT = env.bool("SINAR_SSL_REDIRECT", default=True)
SECURE_HSTS_SECONDS = env.int("SINAR_HSTS_SECONDS", default=3600)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SINAR_BEHIND_PROXY else None
