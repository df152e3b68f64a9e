"""A task knows the request that asked for it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("feeds", "0008_ended_batches")]

    operations = [
        migrations.AddField(model_name="outbox", name="request_id", field=models.CharField(max_length=64, null=True)),
    ]
