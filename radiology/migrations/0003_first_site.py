"""The first site, and the groups that are the roles."""

from typing import Any

from django.db import migrations

ROLES = ["radiographer", "radiologist", "doctor", "desk", "administrator"]


def make(apps: Any, schema_editor: Any) -> None:
    site = apps.get_model("radiology", "Site")
    if not site.objects.exists():
        site.objects.create(pk=1, code="main", name="Sinar", time_zone="Asia/Jakarta")
        schema_editor.execute("SELECT setval(pg_get_serial_sequence('radiology_site', 'id'), 1)")
    group = apps.get_model("auth", "Group")
    for role in ROLES:
        group.objects.get_or_create(name=role)


class Migration(migrations.Migration):
    dependencies = [
        ("radiology", "0002_audit_partitions"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
