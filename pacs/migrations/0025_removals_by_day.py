"""The index of removals by their day, made beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("pacs", "0024_htj2k")]

    operations = [
        AddIndexConcurrently(
            model_name="removal",
            index=models.Index(fields=["site", "created_at"], name="removal_by_day"),
        ),
    ]
