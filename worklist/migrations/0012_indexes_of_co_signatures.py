"""Indexes of two views of the reading list, made beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("worklist", "0011_co_signatures")]

    operations = [
        AddIndexConcurrently(
            model_name="reading",
            index=models.Index(
                condition=models.Q(("resident__isnull", False), ("state", "preliminary")),
                fields=["site", "urgency", "due_at", "id"],
                name="reading_to_cosign",
            ),
        ),
        AddIndexConcurrently(
            model_name="reading",
            index=models.Index(
                condition=models.Q(("late_images__isnull", False)),
                fields=["site", "urgency", "due_at", "id"],
                name="reading_late_images",
            ),
        ),
    ]
