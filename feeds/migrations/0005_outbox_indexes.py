"""The relay finds what is due, and what is in flight, and looks at no other row."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("feeds", "0004_small_posts")]

    operations = [
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(fields=["task", "due_at"], condition=models.Q(("sent_at", None)), name="outbox_due"),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                fields=["task", "sent_at"],
                condition=models.Q(("done_at", None), ("sent_at__isnull", False)),
                name="outbox_in_flight",
            ),
        ),
        migrations.RemoveIndex(model_name="outbox", name="outbox_to_send"),
        migrations.RemoveIndex(model_name="outbox", name="outbox_undone"),
    ]
