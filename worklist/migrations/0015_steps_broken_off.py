"""The index of performed steps that were broken off, by the day, made beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Coalesce


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("worklist", "0014_peer_review")]

    operations = [
        AddIndexConcurrently(
            model_name="performedprocedurestep",
            index=models.Index(
                models.F("site"),
                Coalesce("ended_at", "created_at"),
                condition=models.Q(("performed_procedure_step_status", "DISCONTINUED")),
                name="performed_step_broken_off",
            ),
        ),
    ]
