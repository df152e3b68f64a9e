"""Dead batches, and those that ended long ago, are found by an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("feeds", "0007_outbox_audience")]

    operations = [
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(
                fields=["state", "closed_at"],
                condition=models.Q(("state", "open"), _negated=True),
                name="batch_ended",
            ),
        ),
    ]
