from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("pacs", "0017_import_orthanc"),
    ]

    operations = [
        migrations.AlterField(
            model_name="removal",
            name="code",
            field=models.CharField(
                choices=[
                    ("deleted", "Deleted"),
                    ("images", "Images deleted"),
                    ("113001", "Rejected for quality reasons"),
                    ("113037", "Rejected for patient safety reasons"),
                    ("113038", "Incorrect modality worklist entry"),
                    ("113039", "Data retention policy expired"),
                ],
                max_length=16,
                verbose_name="why",
            ),
        ),
    ]
