"""The relay takes the fan-outs of small audiences first, and finds them by an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("feeds", "0006_dropped_batches")]

    operations = [
        migrations.AddField(
            model_name="outbox",
            name="audience",
            field=models.SmallIntegerField(db_default=0),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                fields=["task", "audience", "due_at"], condition=models.Q(("sent_at", None)), name="outbox_waiting"
            ),
        ),
        migrations.RemoveIndex(model_name="outbox", name="outbox_due"),
    ]
