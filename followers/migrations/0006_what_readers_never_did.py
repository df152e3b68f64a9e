"""Account.ever_hid and ever_kept, seen to by triggers: no row may be written, by whomever, that a page would not ask for."""

from django.db import migrations, models

# Of the trigger's arguments the first is the account's column, the second the column of the new row that has its id.
FUNCTION = """
    CREATE FUNCTION followers_remember() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format('UPDATE followers_account SET %1$I = true WHERE id = $1 AND NOT %1$I', TG_ARGV[0])
            USING (to_jsonb(NEW) ->> TG_ARGV[1])::bigint;
        RETURN NULL;
    END $$
"""
TRIGGERS = """
    CREATE TRIGGER remember_blocker AFTER INSERT ON followers_block
        FOR EACH ROW EXECUTE FUNCTION followers_remember('ever_hid', 'blocker_id');
    CREATE TRIGGER remember_blocked AFTER INSERT ON followers_block
        FOR EACH ROW EXECUTE FUNCTION followers_remember('ever_hid', 'blocked_id');
    CREATE TRIGGER remember_mute AFTER INSERT ON followers_mute
        FOR EACH ROW EXECUTE FUNCTION followers_remember('ever_hid', 'account_id');
    CREATE TRIGGER remember_list AFTER INSERT OR UPDATE ON followers_list
        FOR EACH ROW WHEN (NEW.exclusive) EXECUTE FUNCTION followers_remember('ever_hid', 'owner_id')
"""
NO_TRIGGERS = """
    DROP TRIGGER remember_blocker ON followers_block; DROP TRIGGER remember_blocked ON followers_block;
    DROP TRIGGER remember_mute ON followers_mute; DROP TRIGGER remember_list ON followers_list
"""
# After the triggers, which wait for those who are writing: whoever comes later is seen by them.
THOSE_OF_BEFORE = """
    UPDATE followers_account SET ever_hid = true WHERE id IN (
        SELECT blocker_id FROM followers_block UNION SELECT blocked_id FROM followers_block
        UNION SELECT account_id FROM followers_mute UNION SELECT owner_id FROM followers_list WHERE exclusive)
"""


class Migration(migrations.Migration):
    dependencies = [("followers", "0005_profiles_and_requests")]

    operations = [
        migrations.AddField("account", "ever_hid", models.BooleanField(db_default=False, editable=False)),
        migrations.AddField("account", "ever_kept", models.BooleanField(db_default=False, editable=False)),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION followers_remember"),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
        migrations.RunSQL(THOSE_OF_BEFORE, migrations.RunSQL.noop),
    ]
