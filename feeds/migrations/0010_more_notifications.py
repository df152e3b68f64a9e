"""Follow requests, posts of those one wants to be told of, and edits notify; tags are featured."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("feeds", "0009_outbox_request"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            "notification",
            "type",
            models.CharField(
                choices=[
                    ("mention", "Mention"),
                    ("follow", "Follow"),
                    ("favourite", "Favourite"),
                    ("reblog", "Reblog"),
                    ("follow_request", "Follow Request"),
                    ("status", "Status"),
                    ("update", "Update"),
                ],
                max_length=14,
            ),
        ),
        migrations.CreateModel(
            name="FeaturedTag",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="featured_tags",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tag",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="feeds.tag"),
                ),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("account", "tag"), name="featured_tag_once")]},
        ),
    ]
