"""Who favoured a post is found in the order of the marks; and what an author wrote is told apart by how it reaches homes.

Made beside live traffic: no writer waits for it, and it may take longer than a page's statement.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("feeds", "0011_conversation_mute")]

    operations = [
        migrations.RunSQL(
            "SET statement_timeout = 0; SET lock_timeout = 0", "RESET statement_timeout; RESET lock_timeout"
        ),
        AddIndexConcurrently(
            model_name="favourite",
            index=models.Index(fields=["post", "-id"], name="favourite_of_post"),
        ),
        AddIndexConcurrently(
            model_name="post",
            index=models.Index(
                condition=models.Q(("deleted_at", None)), fields=["author", "-id", "home_mode"], name="post_by_author"
            ),
        ),
        RemoveIndexConcurrently(model_name="post", name="post_of_author"),
        migrations.RunSQL(
            "RESET statement_timeout; RESET lock_timeout", "SET statement_timeout = 0; SET lock_timeout = 0"
        ),
    ]
