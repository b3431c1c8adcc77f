"""Which stations a scheduled step is for: what a modality's query by AE title and station name is matched with."""

from dataclasses import dataclass, field

from radiology.services.rows import Sought
from worklist.models import Device, Room

_ROOM = f'(SELECT {{}} FROM "{Room._meta.db_table}" AS room WHERE room.id = "{Device._meta.db_table}".room_id)'
# Those in use, in a room that is in use.
_DEVICES = Sought(
    Device,
    f"is_active AND {_ROOM.format('is_active')} AND site_id = %s AND modality = %s"
    f" ORDER BY {_ROOM.format('position')}, name, id",
    fields=["room", "station_ae_title", "station_name"],
)


@dataclass(frozen=True)
class Stations:
    """Scheduled Station AE Title (0040,0001), of several values, and Scheduled Station Name (0040,0010)."""

    titles: list[str] = field(default_factory=list)
    name: str = ""


def stations_of(*, site_id: int | None, modality: str, room: Room | None, device: Device | None) -> Stations:
    """Those of the device, else of the room's devices of the modality, else of the site's."""
    if device is not None:
        return Stations([device.station_ae_title], device.station_name)
    devices = _DEVICES(site_id, modality)
    here = [each for each in devices if room is not None and each.room_id == room.pk] or devices
    return Stations([each.station_ae_title for each in here], here[0].station_name if len(here) == 1 else "")
