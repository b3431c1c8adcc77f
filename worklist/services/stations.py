"""Which stations a scheduled step is for: what a modality's query by AE title and station name is matched with."""

from dataclasses import dataclass, field

from worklist.models import Device, Room


@dataclass(frozen=True)
class Stations:
    """Scheduled Station AE Title (0040,0001), of several values, and Scheduled Station Name (0040,0010)."""

    titles: list[str] = field(default_factory=list)
    name: str = ""


def stations_of(*, site_id: int | None, modality: str, room: Room | None, device: Device | None) -> Stations:
    """Those of the device, else of the room's devices of the modality, else of the site's."""
    if device is not None:
        return Stations([device.station_ae_title], device.station_name)
    devices = (
        Device.objects.active().filter(site__in=[site_id], modality=modality).order_by("room__position", "name", "id")
    )
    rows = list(devices.values_list("room_id", "station_ae_title", "station_name"))
    here = [row for row in rows if room is not None and row[0] == room.pk] or rows
    return Stations([title for _, title, _ in here], here[0][2] if len(here) == 1 else "")
