"""The relay takes the oldest rows of each task, so that a backlog of one task delays no other."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("feeds", "0003_admin_lists")]

    operations = [
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(fields=["task", "id"], condition=models.Q(("sent_at", None)), name="outbox_to_send"),
        ),
        migrations.RemoveIndex(model_name="outbox", name="outbox_unsent"),
    ]
