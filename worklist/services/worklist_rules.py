"""What a station may see at all, whatever it asks for: rules that narrow rows in SQL and are asked again of each."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from django.db.models import Q
from django.utils import timezone

from pacs.models import ApplicationEntity
from radiology.models import OrderStatus, Site
from worklist.models import OPEN, Device, ScheduledProcedureStep, WorklistReach

NOT_ORDERED = (OrderStatus.DRAFT, OrderStatus.ON_HOLD, OrderStatus.REVOKED, OrderStatus.ENTERED_IN_ERROR)
ORDER = "requested_procedure_ref__order_ref"


class RuleName(StrEnum):
    IN_USE = "in use"
    STATUS = "status"
    ORDER = "order"
    TIME = "time"
    IDENTITY = "identity"
    REACH = "reach"
    DAYS = "days"


@dataclass(frozen=True)
class Rule:
    """`condition` lets through what `accepts` does, or more."""

    name: RuleName
    condition: Q
    accepts: Callable[[ScheduledProcedureStep], bool]


@dataclass(frozen=True)
class Station:
    """Who asks: by which AE title, at which site, and which device that is, if any that we know."""

    site: Site
    title: str
    device: Device | None = None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.site.time_zone)

    def days(self, now: datetime) -> tuple[date, date] | None:
        """The first and the last day that its worklist shows; None when it shows all."""
        if self.device is None:
            return None
        today = now.astimezone(self.zone).date()
        back, ahead = self.device.worklist_days_back, self.device.worklist_days_ahead
        return today - timedelta(days=back), today + timedelta(days=ahead)

    def rules(self, now: datetime | None = None) -> list[Rule]:
        """An unknown station has only those that hold for everybody: it sees its site's open steps."""
        found = [
            Rule(RuleName.STATUS, Q(status__in=OPEN), lambda step: step.status in OPEN),
            Rule(
                RuleName.ORDER,
                ~Q(**{f"{ORDER}__status__in": NOT_ORDERED}),
                lambda step: step.requested_procedure_ref.order_ref.status not in NOT_ORDERED,
            ),
            Rule(RuleName.TIME, Q(scheduled_start__isnull=False), lambda step: step.scheduled_start is not None),
            Rule(RuleName.IDENTITY, Q(), _is_identified),
        ]
        if self.device is not None:
            found += [_in_use(self.device), _reach(self.device), self._window(now or timezone.now())]
        return found

    def _window(self, now: datetime) -> Rule:
        days = self.days(now)
        assert days is not None
        start = datetime.combine(days[0], time.min, tzinfo=self.zone)
        end = datetime.combine(days[1] + timedelta(days=1), time.min, tzinfo=self.zone)

        def accepts(step: ScheduledProcedureStep) -> bool:
            return step.scheduled_start is None or start <= step.scheduled_start < end

        return Rule(RuleName.DAYS, Q(scheduled_start__gte=start, scheduled_start__lt=end), accepts)


def station_of(*, node: ApplicationEntity, title: str) -> Station:
    """The station that calls: the device of that title, else the only one that has this node."""
    known = Q(station_ae_title=title)
    if node.pk is not None:
        known |= Q(node=node)
    devices = list(Device.objects.filter(known, site=node.site).select_related("room").order_by("pk"))
    named = [device for device in devices if device.station_ae_title == title]
    device = named[0] if named else devices[0] if len(devices) == 1 else None
    return Station(site=node.site, title=title, device=device)


def _is_identified(step: ScheduledProcedureStep) -> bool:
    """Patient ID and name are type 1 in Table K.6-1."""
    patient = step.requested_procedure_ref.order_ref.patient_ref
    return bool(patient.patient_id.strip() and patient.patient_name.strip("^= "))


def _in_use(device: Device) -> Rule:
    return Rule(RuleName.IN_USE, Q() if device.is_active else Q(pk__in=[]), lambda step: device.is_active)


def _reach(device: Device) -> Rule:
    reach = device.worklist_reach
    if reach == WorklistReach.STATION:
        title = device.station_ae_title
        condition = Q(device=device) | Q(scheduled_station_ae_titles__contains=[title])
        return Rule(
            RuleName.REACH,
            condition,
            lambda step: step.device_id == device.pk or title in step.scheduled_station_ae_titles,
        )
    if reach == WorklistReach.ROOM:
        return Rule(RuleName.REACH, Q(room=device.room_id), lambda step: step.room_id == device.room_id)
    if reach == WorklistReach.MODALITY:
        return Rule(RuleName.REACH, Q(modality=device.modality), lambda step: step.modality == device.modality)
    return Rule(RuleName.REACH, Q(), lambda step: True)
