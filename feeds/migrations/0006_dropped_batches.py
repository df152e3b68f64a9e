"""A dead batch can be dropped."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("feeds", "0005_outbox_indexes")]

    operations = [
        migrations.AddField(model_name="batch", name="dropped_at", field=models.DateTimeField(null=True)),
    ]
