"""What a profile says, whom its owner has to ask, and who asks."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("followers", "0004_unchecked_follows")]

    operations = [
        migrations.AddField("account", "locked", models.BooleanField(db_default=False)),
        migrations.AddField("account", "bot", models.BooleanField(db_default=False)),
        migrations.AddField("account", "discoverable", models.BooleanField(db_default=True)),
        migrations.AddField(
            "account",
            "profile_fields",
            django.contrib.postgres.fields.ArrayField(
                base_field=django.contrib.postgres.fields.ArrayField(
                    base_field=models.CharField(blank=True, max_length=255), size=2
                ),
                blank=True,
                db_default=[],
                size=None,
            ),
        ),
        migrations.AddField("account", "default_visibility", models.CharField(db_default="public", max_length=8)),
        migrations.AddField("account", "default_sensitive", models.BooleanField(db_default=False)),
        migrations.AddField("account", "default_language", models.CharField(blank=True, max_length=10, null=True)),
        migrations.AddField("follow", "notify", models.BooleanField(db_default=False)),
        migrations.AddIndex(
            "follow",
            models.Index(fields=["followee", "follower"], condition=models.Q(("notify", True)), name="follow_notify"),
        ),
        migrations.CreateModel(
            name="FollowRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("reblogs", models.BooleanField(db_default=True)),
                ("notify", models.BooleanField(db_default=False)),
                (
                    "followee",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "follower",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["followee", "-id"], include=("follower",), name="follow_request_waiting")
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("follower", "followee"), name="follow_request_once"),
                    models.CheckConstraint(
                        condition=models.Q(("follower", models.F("followee")), _negated=True),
                        name="follow_request_not_oneself",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PrivateNote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("comment", models.CharField(max_length=2000)),
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
                    "target",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("account", "target"), name="private_note_once")]},
        ),
    ]
