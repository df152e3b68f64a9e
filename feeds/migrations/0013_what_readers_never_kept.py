"""What Account.ever_kept goes by: the triggers of followers' migration 0006, on tables of posts."""

from django.db import migrations

TABLES = ("feeds_bookmark", "feeds_conversationmute", "feeds_tagfollow")
TRIGGER = """CREATE TRIGGER remember AFTER INSERT ON {table}
    FOR EACH ROW EXECUTE FUNCTION followers_remember('ever_kept', 'account_id')"""
THOSE_OF_BEFORE = f"""
    UPDATE followers_account SET ever_kept = true
    WHERE id IN ({" UNION ".join(f"SELECT account_id FROM {table}" for table in TABLES)})
"""


class Migration(migrations.Migration):
    dependencies = [("feeds", "0012_hot_indexes"), ("followers", "0006_what_readers_never_did")]

    operations = [
        *(migrations.RunSQL(TRIGGER.format(table=table), f"DROP TRIGGER remember ON {table}") for table in TABLES),
        migrations.RunSQL(THOSE_OF_BEFORE, migrations.RunSQL.noop),
    ]
