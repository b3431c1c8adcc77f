"""What drf-spectacular puts around the operations of the API."""

from typing import Any

DESCRIPTION = """
The interface for hospital systems (SIMRS, EMR, HIS) and scripts.

**Authentication.** `Authorization: Bearer TOKEN` with a token of the administration (*API tokens*), HTTP Basic with a
person's name and password (or any name and a token as password), or the session of who is signed in here; requests of
a session that change something carry `X-CSRFToken`. A token sees the patients and studies of its client's site. Its
scopes: `studies.read` to search and fetch, `studies.write` to store and correct, `studies.delete` to delete and
restore, `studies.share` to hand out tokens and links that open studies without signing in, `patients.write` and
`patients.merge` to register, change and merge patients, `orders.write` to place and change orders, `schedule.write` to
schedule examinations, `steps.write` to report their arrival, start and end, `reports.write` to attach
reports that were written elsewhere, `webhooks.write` to be told of events,
`figures.read` to read the figures of the department.

**Names.** `GET /studies` has the names that hospital systems were promised; everywhere else attributes are DICOM
keywords in snake_case. Addresses end without a slash. Identifiers are text: `001234` is not `1234`.

**Parameters.** An empty parameter is the same as none. One that is unknown, malformed or given twice is refused with
400: without it the answer would be about other patients. `_` is ignored.

**Lists.** `limit` (default 100, at most 1000; more counts as 1000) and, in the answer and its `Link` header, the
addresses of the `next` and `previous` page. Pages stay right while studies arrive.

**Errors** are `application/problem+json` (RFC 9457): `detail` says what went wrong and what to do, `field` which
parameter, header or field it is about. What belongs to another site is 404, as if it were not there.

**Limits.** A client may be bound to addresses (403 elsewhere), and makes at most so many requests a minute (429 with
`Retry-After`); what is left stands in the headers `RateLimit` and `RateLimit-Policy` of every answer to a token.

**Caching.** `ETag` and `If-None-Match` on what can be read; nothing is for shared caches.
"""

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Sinar REST API",
    "DESCRIPTION": DESCRIPTION.strip(),
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVERS": [{"url": "/api/v1"}],
    "TAGS": [
        {"name": "Schedule", "description": "Rooms, devices, free times, and examinations on the calendar."},
        {"name": "Performed steps", "description": "What the modalities report of what they do (MPPS), with dose."},
        {"name": "Studies", "description": "Find studies, and look at one."},
        {"name": "Patients", "description": "Patients who have studies here."},
        {"name": "Orders", "description": "What can be ordered, and orders: find, place, change, call off."},
        {"name": "Reports", "description": "What was reported: find, read, write, sign, attach."},
        {"name": "Results", "description": "What came of what a person ordered, and whether they have seen it."},
        {"name": "Reading", "description": "What is to be read, and who is at it."},
        {"name": "Series and instances", "description": "What a study consists of."},
        {"name": "Uploads", "description": "Objects come in."},
        {"name": "Downloads", "description": "Many objects at once."},
        {"name": "Worklist", "description": "What is scheduled, as devices are told."},
        {"name": "Webhooks", "description": "Be told of events instead of asking."},
        {"name": "Sharing", "description": "Tokens and links that open studies to whoever has them."},
        {"name": "Changes", "description": "Correct, delete, restore."},
    ],
    "COMPONENT_SPLIT_REQUEST": False,
    "SORT_OPERATION_PARAMETERS": False,
    "SERVE_INCLUDE_SCHEMA": False,
    "DISABLE_ERRORS_AND_WARNINGS": False,
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
}
