-- From the first schema to the second. What triggers did the program does, since not every engine
-- has the same triggers. The first version was noted in a table of a library: an older program that
-- finds version 2 there says that a newer one made the database.

CREATE TABLE schema_version (
    version INTEGER NOT NULL
) STRICT;
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
VALUES (2, 'two engines', TRUE, x'', 0);

DROP TRIGGER request_added;
DROP TRIGGER request_removed;
DROP TRIGGER request_takes_share;
DROP TRIGGER request_gives_share_back;
DROP TRIGGER reply_added;
DROP TRIGGER reply_removed;
DROP TRIGGER reply_takes_share;
DROP TRIGGER reply_gives_share_back;
DROP TRIGGER delivery_added;
DROP TRIGGER delivery_removed;
