-- Turns the follows into 16 partitions by followee, and the posts into one for each year, for PostgreSQL 18:
--
--     psql DATABASE_URL --set=ON_ERROR_STOP=1 -f docs/partitions.sql
--
-- Each of the two transactions is undone as a whole when something goes wrong, or when it has to wait for a lock for longer
-- than ten seconds. docs/operations.md says what stands still meanwhile, and what is different afterwards.

SET lock_timeout = '10s';
SET statement_timeout = 0;
SET maintenance_work_mem = '1GB';

-- Follows. They are copied: meanwhile they can be read, and who follows or unfollows waits.

BEGIN;
LOCK TABLE followers_follow IN SHARE MODE;
CREATE TABLE followers_follow_parted (LIKE followers_follow INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING IDENTITY)
    PARTITION BY HASH (followee_id);
DO $$ BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format('CREATE TABLE followers_follow_p%s PARTITION OF followers_follow_parted
            FOR VALUES WITH (MODULUS 16, REMAINDER %s)', n, n);
    END LOOP;
END $$;
INSERT INTO followers_follow_parted SELECT * FROM followers_follow;
SELECT setval(pg_get_serial_sequence('followers_follow_parted', 'id'),
    nextval(pg_get_serial_sequence('followers_follow', 'id')));
-- The key of a partitioned table holds what it is partitioned by.
ALTER TABLE followers_follow_parted ADD CONSTRAINT followers_follow_parted_pkey PRIMARY KEY (id, followee_id);
CREATE TEMP TABLE follow_indexes ON COMMIT DROP AS
    SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS made_by, pg_get_constraintdef(k.oid) AS constrained_by
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid
    WHERE i.indrelid = 'followers_follow'::regclass AND NOT i.indisprimary;
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT * FROM follow_indexes LOOP
        EXECUTE coalesce(
            format('ALTER TABLE followers_follow_parted ADD CONSTRAINT %I ', one.name || '_parted') || one.constrained_by,
            regexp_replace(one.made_by, 'INDEX \S+ ON \S+', format('INDEX %I ON followers_follow_parted', one.name || '_parted')));
    END LOOP;
END $$;
DROP TABLE followers_follow;
ALTER TABLE followers_follow_parted RENAME TO followers_follow;
ALTER SEQUENCE followers_follow_parted_id_seq RENAME TO followers_follow_id_seq;
ALTER INDEX followers_follow_parted_pkey RENAME TO followers_follow_pkey;
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT * FROM follow_indexes LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', one.name || '_parted', one.name);
    END LOOP;
END $$;
COMMIT;
ANALYZE followers_follow;

-- Posts. Nothing is copied: those that are there become the first partition, up to the end of this year. It has to be known
-- beforehand that none is newer, and what an index of all partitions needs: for that nobody waits.

SELECT (extract(epoch FROM date_trunc('year', now(), 'UTC') + interval '1 year') * 1000)::bigint << 16 AS until \gset
ALTER TABLE feeds_post ADD CONSTRAINT feeds_post_until CHECK (id < :until) NOT VALID;
ALTER TABLE feeds_post VALIDATE CONSTRAINT feeds_post_until;
CREATE INDEX CONCURRENTLY reblog_of_author ON feeds_post (author_id, reblog_of_id)
    WHERE deleted_at IS NULL AND reblog_of_id IS NOT NULL; -- as reblog_once, which can't be for all partitions

BEGIN;
LOCK TABLE feeds_post IN ACCESS EXCLUSIVE MODE;
CREATE TEMP TABLE post_references ON COMMIT DROP AS
    SELECT conrelid::regclass AS source, confrelid::regclass AS target, conname AS name, pg_get_constraintdef(oid) AS made_by
    FROM pg_constraint WHERE contype = 'f' AND 'feeds_post'::regclass IN (conrelid, confrelid);
CREATE TEMP TABLE post_indexes ON COMMIT DROP AS
    SELECT c.relname AS name, regexp_replace(pg_get_indexdef(i.indexrelid), ' ON \S+', ' ON feeds_post') AS made_by,
        i.indisunique AS is_unique
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'feeds_post'::regclass;
DO $$ DECLARE one record; BEGIN
    IF EXISTS (SELECT 1 FROM post_indexes WHERE is_unique AND name NOT IN ('feeds_post_pkey', 'reblog_once')) THEN
        RAISE EXCEPTION 'an index of feeds_post is unique without its id: this script is older than the table';
    END IF;
    FOR one IN SELECT * FROM post_references WHERE target::text = 'feeds_post' LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', one.source, one.name);
    END LOOP;
    FOR one IN SELECT * FROM post_indexes LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', one.name, one.name || '_first');
    END LOOP;
END $$;
ALTER TABLE feeds_post RENAME TO feeds_post_first;
CREATE TABLE feeds_post (LIKE feeds_post_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id);
ALTER TABLE feeds_post DROP CONSTRAINT feeds_post_until;
ALTER TABLE feeds_post ATTACH PARTITION feeds_post_first FOR VALUES FROM (MINVALUE) TO (:until);
ALTER TABLE feeds_post_first DROP CONSTRAINT feeds_post_until;
-- The first partition has these indexes already. But what is unique without the id can't be said of all partitions at once.
ALTER TABLE feeds_post ADD CONSTRAINT feeds_post_pkey PRIMARY KEY (id);
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT * FROM post_indexes WHERE NOT is_unique LOOP
        EXECUTE one.made_by;
    END LOOP;
    FOR one IN SELECT * FROM post_references LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', CASE one.source::text WHEN 'feeds_post_first'
            THEN 'feeds_post' ELSE one.source::text END, one.name, replace(one.made_by, ' NOT VALID', ''));
    END LOOP;
END $$;

-- That nobody reblogs a post twice: a row for each reblog that lives, kept by a trigger that no other post meets.
CREATE TABLE feeds_reblog (
    author_id bigint, reblog_of_id bigint, CONSTRAINT reblog_once PRIMARY KEY (author_id, reblog_of_id));
INSERT INTO feeds_reblog SELECT author_id, reblog_of_id FROM feeds_post WHERE deleted_at IS NULL AND reblog_of_id IS NOT NULL;
DROP INDEX reblog_once_first;
CREATE FUNCTION feeds_keep_reblog() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.deleted_at IS NULL AND (TG_OP = 'INSERT' OR OLD.deleted_at IS NOT NULL) THEN
        INSERT INTO feeds_reblog VALUES (NEW.author_id, NEW.reblog_of_id);
    ELSIF NEW.deleted_at IS NOT NULL AND TG_OP = 'UPDATE' AND OLD.deleted_at IS NULL THEN
        DELETE FROM feeds_reblog WHERE author_id = NEW.author_id AND reblog_of_id = NEW.reblog_of_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER feeds_keep_reblog AFTER INSERT OR UPDATE OF deleted_at ON feeds_post
    FOR EACH ROW WHEN (NEW.reblog_of_id IS NOT NULL) EXECUTE FUNCTION feeds_keep_reblog();

-- The years to come, as far as they are not there: to be called again, in time. Without its year no post can be written.
CREATE FUNCTION feeds_post_partitions(years int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    year timestamp := date_trunc('year', now() AT TIME ZONE 'UTC');
    name text;
    made int := 0;
BEGIN
    FOR n IN 1..years LOOP
        name := 'feeds_post_' || to_char(year + n * interval '1 year', 'YYYY');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF feeds_post FOR VALUES FROM (%s) TO (%s)', name,
                (extract(epoch FROM year + n * interval '1 year') * 1000)::bigint << 16,
                (extract(epoch FROM year + (n + 1) * interval '1 year') * 1000)::bigint << 16);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;
SELECT feeds_post_partitions(5);
COMMIT;

-- What referred to posts does again, from the commit on; that it did before is looked up while the service goes on.
SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
    WHERE contype = 'f' AND NOT convalidated AND conparentid = 0
        AND 'feeds_post'::regclass IN (conrelid, confrelid) \gexec
ANALYZE feeds_post;
