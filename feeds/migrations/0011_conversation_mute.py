"""Conversations can be muted: each answer knows the post that its conversation began with."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

BEGINNINGS = """
    WITH RECURSIVE answers (id, beginning) AS (
        SELECT id, id FROM feeds_post WHERE in_reply_to_id IS NULL
        UNION ALL SELECT p.id, answers.beginning FROM answers JOIN feeds_post p ON p.in_reply_to_id = answers.id)
    UPDATE feeds_post p SET conversation_id = beginning FROM answers
    WHERE p.id = answers.id AND p.in_reply_to_id IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        ("feeds", "0010_more_notifications"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            "post",
            "conversation",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="feeds.post",
            ),
        ),
        migrations.RunSQL(BEGINNINGS, migrations.RunSQL.noop),
        migrations.CreateModel(
            name="ConversationMute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="feeds.post",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("account", "conversation"), name="conversation_mute_once")
                ]
            },
        ),
    ]
