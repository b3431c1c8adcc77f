"""What every deployment shares. Facts of the deployment come from the environment.

`SINAR_DATA/environment` (written once by the set-up, mode 0600) supplies the variables that the
environment does not, so that a command typed by hand acts on the same installation as the daemons.
"""

from pathlib import Path

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from radiology.settings.admin import UNFOLD  # noqa: F401
from radiology.settings.api import SPECTACULAR_SETTINGS  # noqa: F401

BASE_DIR = Path(__file__).resolve().parent.parent.parent

env = environ.Env()
SINAR_DATA = Path(env.str("SINAR_DATA", default=str(BASE_DIR / "var"))).expanduser().resolve()
if (SINAR_DATA / "environment").is_file():
    environ.Env.read_env(SINAR_DATA / "environment", overwrite=False)

DEBUG = False
SECRET_KEY = env.str("SINAR_SECRET_KEY", default="")
ALLOWED_HOSTS = env.list("SINAR_ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("SINAR_TRUSTED_ORIGINS", default=[])

# A front server stands before this one: it says who calls (the last of X-Forwarded-For) and whether by TLS.
SINAR_BEHIND_PROXY = env.bool("SINAR_BEHIND_PROXY", default=False)
SINAR_BIND = env.str("SINAR_BIND", default="127.0.0.1")
SINAR_HTTP_PORT = env.int("SINAR_HTTP_PORT", default=8000)
SINAR_DICOM_PORTS = env.list("SINAR_DICOM_PORT", cast=int, default=[11112])
SINAR_HL7_PORTS = env.list("SINAR_HL7_PORT", cast=int, default=[2575])
SINAR_HL7_TLS_PORTS = env.list("SINAR_HL7_TLS_PORT", cast=int, default=[])
# Where the Orthanc-shaped REST stands at the root, as Orthanc's own does; 0 for nowhere.
SINAR_ORTHANC_PORT = env.int("SINAR_ORTHANC_PORT", default=8042)

DIMSE = {
    "AE_TITLE": env.str("SINAR_AE_TITLE", default="MINIPACS"),
    "EXTRA_AE_TITLES": [env.str("SINAR_MWL_AE_TITLE", default="MINIPACS_MWL")],
    # Any application whose calling title is no registered node: refused unless a deployment says so.
    "ACCEPT_UNKNOWN_CALLING_AE": False,
    # dcmtk's own default called title; other titles than ours are refused.
    "ACCEPT_ANY_SCP": False,
    "WORKERS": env.int("SINAR_DIMSE_WORKERS", default=2),
    # Of one worker. A PDU must be complete so many seconds after its first byte; an association may
    # be silent for so long, if a registered node or anybody else holds it.
    "MAX_ASSOCIATIONS": env.int("SINAR_DIMSE_MAX_ASSOCIATIONS", default=100),
    "PDU_SECONDS": env.float("SINAR_DIMSE_PDU_SECONDS", default=60.0),
    "IDLE_SECONDS": (
        env.float("SINAR_DIMSE_IDLE_SECONDS", default=600.0),
        env.float("SINAR_DIMSE_IDLE_SECONDS_UNKNOWN", default=120.0),
    ),
    # For nodes with TLS: whom we trust (PEM; empty: the system's list), and our own certificate with its key (PEM).
    "TLS_CA": env.str("SINAR_DICOM_TLS_CA", default=""),
    "TLS_CERTIFICATE": env.str("SINAR_DICOM_TLS_CERTIFICATE", default=""),
    # Modules that export SERVICES, composed here so that pacs imports nothing to its right.
    "SERVICES": [
        "pacs.dimse.verification",
        "pacs.dimse.storage",
        "pacs.dimse.query_retrieve",
        "pacs.dimse.storage_commitment",
        "worklist.dimse.mpps",
        "worklist.dimse.modality_worklist",
    ],
}
# HL7 v2 over MLLP.
HL7 = {
    "PROCESSES": env.int("SINAR_HL7_PROCESSES", default=2),
    # Of one process: messages that are worked on at once. Each takes a database connection, and three more are needed.
    "WORKERS": env.int("SINAR_HL7_WORKERS", default=4),
    "MAX_CONNECTIONS": env.int("SINAR_HL7_MAX_CONNECTIONS", default=4000),
    "LARGEST": env.int("SINAR_HL7_MAX_MESSAGE_SIZE", default=16 * 1024**2),
    # A message must be complete so many seconds after its first byte, and a connection send its first one; later
    # it may be silent for longer.
    "MESSAGE_SECONDS": env.float("SINAR_HL7_MESSAGE_SECONDS", default=60.0),
    "IDLE_SECONDS": env.float("SINAR_HL7_IDLE_SECONDS", default=3600.0),
    # For SINAR_HL7_TLS_PORT: our certificate with its key (PEM), and who signs those of senders (PEM; empty: they
    # need none).
    "TLS_CERTIFICATE": env.str("SINAR_HL7_TLS_CERTIFICATE", default=""),
    "TLS_CA": env.str("SINAR_HL7_TLS_CA", default=""),
    # Where we send: whom we trust (PEM; empty: the system's list), our own certificate with its key (PEM), and how
    # long a connection and an answer may take.
    "SENDER_TLS_CA": env.str("SINAR_HL7_SENDER_TLS_CA", default=""),
    "SENDER_TLS_CERTIFICATE": env.str("SINAR_HL7_SENDER_TLS_CERTIFICATE", default=""),
    "CONNECT_SECONDS": env.float("SINAR_HL7_CONNECT_SECONDS", default=5.0),
    "ANSWER_SECONDS": env.float("SINAR_HL7_ANSWER_SECONDS", default=15.0),
}
# What tokens of studies are derived from, which must not stand in the database; empty: SINAR_SECRET_KEY. Another
# key makes every token that was handed out worthless.
SINAR_STUDY_TOKEN_KEY = env.str("SINAR_STUDY_TOKEN_KEY", default="")
# One object may not be larger than this many bytes, whichever door it comes through.
SINAR_MAX_OBJECT_SIZE = env.int("SINAR_MAX_OBJECT_SIZE", default=4 * 1024**3)
# Large downloads that one caller may have at once of each process of the web server; 0 for any number.
SINAR_WEB_DOWNLOADS = env.int("SINAR_WEB_DOWNLOADS", default=8)
# An `internal` location of nginx in front of us, which sends files by itself; their path is added. Empty: we do.
SINAR_ACCEL_REDIRECT = env.str("SINAR_ACCEL_REDIRECT", default="")
# The folders of this server that the pages may import from, and nothing outside of them.
SINAR_IMPORT_ROOTS = env.list("SINAR_IMPORT_ROOTS", default=[str(SINAR_DATA / "import")])
# An object store has so many seconds for each answer; so many bytes of its objects are kept in local files.
SINAR_S3_TIMEOUT = env.float("SINAR_S3_TIMEOUT", default=20.0)
SINAR_OBJECT_CACHE_SIZE = env.int("SINAR_OBJECT_CACHE_SIZE", default=10 * 1024**3)
# So many bytes of pictures that were drawn (rendered frames, thumbnails) are kept in local files; 0 for none.
SINAR_RENDERED_CACHE_SIZE = env.int("SINAR_RENDERED_CACHE_SIZE", default=2 * 1024**3)

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # the default one would put its own admin site in the place of ours
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "radiology",
    "pacs",
    "worklist",
    "integrations",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "radiology.apps.AdminConfig",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
    "csp",
]

MIDDLEWARE = [
    "radiology.middleware.RequestLogMiddleware",
    "radiology.middleware.CallerMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "radiology.web_policy.PolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "radiology.middleware.SiteMiddleware",
    "radiology.downloads.DownloadsMiddleware",
]

ROOT_URLCONF = "radiology.urls"
WSGI_APPLICATION = "radiology.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    },
]

DATABASES = {"default": env.db_url("DATABASE_URL", default="postgres://localhost/sinar")}
DATABASES["default"]["ENGINE"] = "radiology.postgresql"
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# What is prepared finds few rows by an index: one plan does for all values. All else is planned each time.
DATABASES["default"].setdefault("OPTIONS", {})["prepare_threshold"] = 0
DATABASES["default"]["OPTIONS"]["options"] = " ".join(
    filter(None, [DATABASES["default"]["OPTIONS"].get("options"), "-c plan_cache_mode=force_generic_plan"])
)
# Threads of one process share its connections; docs/operations.md adds them up.
DATABASES["default"]["OPTIONS"]["pool"] = {
    "min_size": 1,
    "max_size": env.int("SINAR_DB_POOL", default=8),
    "timeout": 10,
}
CACHES = {
    # Shared by every process: sign-in limits and the like live here. Nothing hot does.
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "radiology_cache",
        # Enough that nobody pushes out the counters of wrong passwords by inventing names.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "radiology.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "radiology.accounts.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = None
USERSESSIONS_TRACK_ACTIVITY = False
# Where mail goes out: smtp://name:password@host:25, smtp+tls:// (STARTTLS) or smtp+ssl://; not set: none goes out.
_mail = env.email_url("SINAR_EMAIL_URL", default="dummymail://")
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"] or "localhost", _mail["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"] or "", _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env.str("SINAR_EMAIL_FROM", default="Sinar <sinar@localhost>")
# How people reach this server, for links in mails and the QR codes of letters: https://pacs.hospital.com. Empty: mails
# have none, and letters those that are made for somebody's browser.
SINAR_PUBLIC_URL = env.str("SINAR_PUBLIC_URL", default="")
SESSION_ENGINE = "radiology.sessions"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "SAMEORIGIN"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [SELF],
    }
}

# Of whoever names none: a browser without a preference, systems that are answered, what daemons write down.
LANGUAGE_CODE = env.str("SINAR_LANGUAGE", default="en")
LANGUAGES = [("en", _("English")), ("id", _("Indonesian"))]
if LANGUAGE_CODE not in dict(LANGUAGES):
    raise ImproperlyConfigured(f"SINAR_LANGUAGE is en or id, not {LANGUAGE_CODE}.")
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
FORMAT_MODULE_PATH = ["radiology.formats"]
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = SINAR_DATA / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
# Holds ohif/ (the viewer's prepared files) and nothing else: see deploy/ohif.py.
WHITENOISE_ROOT = SINAR_DATA / "www"
# Names that hold a digest of the content: Django's manifest (12 digits), the viewer's bundles (16).
WHITENOISE_IMMUTABLE_FILE_TEST = r"^/static/.+\.[0-9a-f]{12}\.|^/ohif/(.+\.)?[0-9a-f]{16}\."

# Bodies are read from the stream in blocks by the views that take large ones.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "radiology.authentication.BearerAuthentication",
        "radiology.authentication.BasicAuthentication",
        "radiology.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "radiology.errors.handle_exception",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

# Settings named CELERY_* are Celery's own (namespace "CELERY").
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="filesystem://")
if CELERY_BROKER_URL.startswith("filesystem"):
    CELERY_BROKER_TRANSPORT = "radiology.broker.Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(SINAR_DATA / "broker")}
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BEAT_SCHEDULE_FILENAME = str(SINAR_DATA / "broker" / "beat")
CELERY_BEAT_SCHEDULE = {
    "run-due-jobs": {"task": "radiology.run_due_jobs", "schedule": 10.0},
    "watch-interfaces": {"task": "integrations.watch_interfaces", "schedule": 60.0},
    "enqueue-upkeep": {"task": "radiology.enqueue_upkeep", "schedule": 3600.0},
    "count-figures": {"task": "worklist.count_figures", "schedule": 30.0},
    "orthanc-identifiers": {"task": "integrations.write_down_orthanc_identifiers", "schedule": 10.0},
}

# What `manage.py demo` does when the images are there: each is called with the site.
DEMO_STEPS = ["worklist.demo.arrange_day", "worklist.demo.list_readings"]

LOGGING_CONFIG = None  # radiology.log configures logging when the app is ready
