"""The index of critical results by the day they were raised on, made beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("radiology", "0026_figures_scope")]

    operations = [
        AddIndexConcurrently(
            model_name="criticalresult",
            index=models.Index(fields=["site", "raised_at"], name="critical_by_day"),
        ),
    ]
