"""The worklist in the configuration file: rooms with their hours, devices, matching, agreed turnarounds, peer review.

Blocks of rooms pass by, and stay out.
"""

from radiology.services.configuration import Section, register
from worklist.models import Device, OpeningHours, PeerReviewPolicy, Room, Turnaround, WorklistSettings

BY_CODE = ("site__code", "code")
ROOMS = Section("rooms", Room, ("site", "code"), ("name", "location", "position", "slot_minutes", "is_active"))
HOURS = Section("opening_hours", OpeningHours, ("room", "weekday", "opens"), ("closes",), references={"room": BY_CODE})
DEVICES = Section(
    "devices",
    Device,
    ("site", "station_ae_title"),
    (
        "name",
        "modality",
        "room",
        "station_name",
        "node",
        "worklist_reach",
        "worklist_days_back",
        "worklist_days_ahead",
        "sends_mpps",
        "quiet_minutes",
        "abandoned_after_hours",
        "is_active",
    ),
    references={"room": BY_CODE, "node": ("title", "host", "port")},
)

SETTINGS = Section(
    "worklist_settings", WorklistSettings, ("site",), ("links_by_itself", "expects_orders", "claim_minutes")
)

TURNAROUNDS = Section("turnarounds", Turnaround, ("site", "priority", "modality"), ("minutes", "cosign_minutes"))
REVIEWS = Section("peer_review_policies", PeerReviewPolicy, ("site", "modality"), ("percent", "number", "reviewers"))

register(ROOMS, HOURS, DEVICES, SETTINGS, TURNAROUNDS, REVIEWS)
