"""The first volume: the folder `archive` among the installation's data."""

from typing import Any

from django.db import migrations


def make(apps: Any, schema_editor: Any) -> None:
    volume = apps.get_model("pacs", "Volume")
    if not volume.objects.exists():
        volume.objects.create(name="archive", path="")


class Migration(migrations.Migration):
    dependencies = [("pacs", "0002_initial")]
    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
