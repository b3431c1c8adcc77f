"""Rooms and devices as configuration: tables, the configuration file, the admin's buttons, the demonstration."""

import re
from datetime import time
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from radiology.errors import InvalidValue, NotAllowed
from radiology.models import AuditEvent, Order, Site
from radiology.services import configuration
from tests.factories import make_device, make_node, make_patient, make_room, make_site, make_user
from tests.radiology.admin_client import administrator, signed_in, superuser
from worklist.demo import arrange_day
from worklist.models import Device, OpeningHours, Room, ScheduledProcedureStep, StepStatus
from worklist.services.room_tables import DEVICES, ROOMS, export_table, import_table, plan_table

pytestmark = pytest.mark.django_db

TABLE = """code;name;location;slot_minutes;is_active;hours
CT1;CT 1;Ground floor;20;yes;mon-fri 08:00-16:00 | sat 08:00-12:00
US1;Ultrasound;;;;fri 22:00-06:00
"""


@pytest.fixture
def site() -> Site:
    return Site.objects.default()


def test_rooms_and_devices_are_read_in_and_out_again(site: Site) -> None:
    assert [each.is_new for each in plan_table(table=ROOMS, site=site, text=TABLE)] == [True, True]
    assert not Room.objects.exists(), "a plan changes nothing"
    import_table(table=ROOMS, site=site, text=TABLE, who=superuser())
    room = Room.objects.get(code="CT1")
    assert (room.location, room.slot_minutes, room.opening_hours.count()) == ("Ground floor", 20, 6)
    assert Room.objects.get(code="US1").slot_minutes == 15
    devices = "station_ae_title,name,modality,room,sends_mpps\nCT_A,Scanner A,CT,CT1,yes\n"
    assert [each.name for each in import_table(table=DEVICES, site=site, text=devices)] == ["Scanner A"]
    assert Device.objects.get().sends_mpps
    for table in (ROOMS, DEVICES):
        assert plan_table(table=table, site=site, text=export_table(table=table, site=site)) == []
    (change,) = import_table(table=ROOMS, site=site, text="code,name,hours\nCT1,CT 1,mon 07:00-15:00\n")
    assert change.values["hours"][1] == "mon 07:00-15:00"
    assert room.opening_hours.get().opens == time(7)
    assert AuditEvent.objects.filter(event="rooms.imported").count() == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("code,colour\nCT1,red\n", "Line 1, column colour: there is no such column"),
        ("code\nCT1\n", "Line 1, column name: this column is missing"),
        ("code,name,name\nCT1,a,b\n", "Line 1, column name: this column stands there twice"),
        ("code,name\nCT1,A\nCT1,B\n", "Line 3, column code: it stands in line 2 already"),
        ("code,name\nCT1,\n", "Line 2, column name"),
        ("code,name,slot_minutes\nCT1,A,often\n", "Line 2, column slot_minutes"),
        ("code,name,is_active\nCT1,A,perhaps\n", "Line 2, column is_active: write yes or no"),
        ("code,name,hours\nCT1,A,always\n", "Line 2, column hours: write them as"),
        ("code,name,hours\nCT1,A,mon 08:00-25:00\n", "Line 2, column hours"),
        ("code,name,hours\nCT1,A,mon 08:00-09:00 | mon 08:00-10:00\n", "an opening stands there twice"),
        ('code,name\n"CT1,A\n', "Line 2"),
        ("code,name\nCT1,\x00\n", "NUL"),
    ],
)
def test_one_mistake_keeps_the_whole_table_out(site: Site, text: str, told: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(told)):
        import_table(table=ROOMS, site=site, text=text)
    assert not Room.objects.exists()


def test_a_device_needs_a_room_of_its_site_and_a_reader_may_not_import(site: Site) -> None:
    make_room("FAR", site=make_site())
    table = "station_ae_title,name,modality,room\nCT1,A,CT,FAR\n"
    with pytest.raises(InvalidValue, match="column room: there is no room of this code"):
        import_table(table=DEVICES, site=site, text=table)
    with pytest.raises(NotAllowed):
        import_table(table=ROOMS, site=site, text=TABLE, who=make_user(role="desk"))


def test_a_cell_never_becomes_a_formula(site: Site) -> None:
    make_room("A", name="=1+1"), make_room("B", name="'lama'"), make_room("C", name="'=1")
    text = export_table(table=ROOMS, site=site)
    assert "'=1+1" in text and "''=1" in text and plan_table(table=ROOMS, site=site, text=text) == []


def test_rooms_hours_and_devices_stand_in_the_configuration_file() -> None:
    device = make_device("CT1", node=make_node("CT1"))
    OpeningHours.objects.create(room=device.room, weekday=0, opens=time(22), closes=time(6))
    text = configuration.export(who=None)
    assert configuration.plan(text=text) == []
    Device.objects.all().delete()
    Room.objects.all().delete()
    changes = configuration.apply(who=superuser(), text=text)
    assert [each.is_new for each in changes] == [True, True, True]
    again = Device.objects.get()
    assert (again.room.code, again.node, again.room.opening_hours.get().closes) == (
        device.room.code, device.node, time(6),
    )  # fmt: skip
    with pytest.raises(InvalidValue, match="there is no room"):
        configuration.plan(text=text.replace(f'"{device.room.code}"\n', '"NONE"\n'))


def test_the_admin_compares_a_table_and_reads_it_in(site: Site) -> None:
    client = signed_in(administrator("admin", site))
    address = "/admin/worklist/room/table/"
    compared = client.post(address, {"file": SimpleUploadedFile("rooms.csv", TABLE.encode())})
    assert b"Ultrasound" in compared.content and not Room.objects.exists()
    wrong = client.post(address, {"file": SimpleUploadedFile("rooms.csv", b"code\nX\n")})
    assert wrong.status_code == 400 and b"this column is missing" in wrong.content
    client.post(address, {"text": TABLE})
    assert Room.objects.count() == 2
    download = client.get(f"{address}?download")
    assert download["Content-Type"].startswith("text/csv") and b"CT 1" in download.content
    assert client.get("/admin/worklist/device/table/").status_code == 200


def test_a_devices_page_asks_its_node(site: Site, free_port: Any) -> None:
    device = make_device("CT1", node=make_node("CT1", port=free_port()))
    client: Client = signed_in(administrator("admin", site))
    told = client.get(f"/admin/worklist/device/{device.pk}/echo", follow=True)
    assert [message.level_tag for message in told.context["messages"]] == ["error"]
    bare = make_device("CT2")
    told = client.get(f"/admin/worklist/device/{bare.pk}/echo", follow=True)
    assert "CT2 has no DICOM node." in [str(message) for message in told.context["messages"]]


def test_the_demonstration_is_a_hospital_day_once(site: Site) -> None:
    for number in range(5):
        make_patient(f"D{number}")
    made = arrange_day(site=site)
    steps = ScheduledProcedureStep.objects.all()
    assert made == steps.count() == Order.objects.count()
    assert steps.waiting().count() == 4
    assert all(each.scheduled_station_ae_titles for each in steps.exclude(room=None))
    assert set(steps.values_list("status", flat=True)) <= set(StepStatus.values)
    assert arrange_day(site=site) == 0
    assert Room.objects.count() == Device.objects.count() == 4
