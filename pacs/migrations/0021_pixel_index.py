from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("pacs", "0020_compression"),
    ]

    operations = [
        migrations.AddField(
            model_name="location",
            name="pixels",
            field=models.BinaryField(editable=False, null=True, verbose_name="index of the pixels"),
        ),
        # Not compressed, so that the places of some frames are read without those of ten thousand others.
        migrations.RunSQL(
            "ALTER TABLE pacs_location ALTER COLUMN pixels SET STORAGE EXTERNAL",
            "ALTER TABLE pacs_location ALTER COLUMN pixels SET STORAGE EXTENDED",
        ),
    ]
