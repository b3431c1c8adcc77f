from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [
        ("pacs", "0008_volumes_and_verification"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                F("site"),
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(deleted_at=None),
                name="study_arrived",
            ),
        ),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(deleted_at=None),
                name="study_arrived_everywhere",
            ),
        ),
    ]
