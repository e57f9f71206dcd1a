-- From the first schema to the second. What triggers did the program does, since not every engine
-- has the same triggers. The first version was noted in a table of a library: an older program that
-- finds version 2 there says that a newer one made the database.

CREATE TABLE schema_version (
    version     INTEGER NOT NULL,
    -- Version of the oldest program that may use the database.
    usable_from INTEGER NOT NULL
) STRICT;

CREATE TABLE writer (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    -- Transactions that changed something.
    commits INTEGER NOT NULL,
    -- Changes of the secrets. A gateway with the former ones changes nothing any more.
    secrets INTEGER NOT NULL
) STRICT;
INSERT INTO writer VALUES (1, 0, 0);

CREATE TABLE nodes (
    name    TEXT    PRIMARY KEY,
    -- Version of its program.
    version TEXT    NOT NULL,
    -- Digest of its policy.
    policy  TEXT    NOT NULL,
    -- How far its machine's clock is ahead of the database's.
    ahead   INTEGER NOT NULL,
    -- By the database's clock.
    seen_at INTEGER NOT NULL,
    -- The process that has the name, by a random number.
    process BLOB    NOT NULL CHECK (length(process) = 16),
    -- Its number there, and the machine.
    pid     INTEGER NOT NULL,
    machine TEXT    NOT NULL
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

ALTER TABLE requests ADD COLUMN node TEXT;
ALTER TABLE deliveries ADD COLUMN node TEXT;

-- The notice that a reply is late is made from the reply when it is due. The size of a reply that
-- waits already counts its notice until the reply is gone.
UPDATE deliveries SET notified = 1
WHERE reply IN (SELECT sequence FROM replies WHERE late_notice IS NULL);
ALTER TABLE replies DROP COLUMN late_notice;

-- A trouble that still is shows again at once.
DROP TABLE port_troubles;
CREATE TABLE port_troubles (
    -- The gateway beside that Postfix.
    node        TEXT    NOT NULL,
    -- Address and port.
    port        TEXT    NOT NULL,
    -- When the trouble began.
    began_at    INTEGER NOT NULL,
    -- When the last attempt began.
    tried_at    INTEGER NOT NULL,
    -- No delivery is leased until then. Afterwards one is, the trial.
    waits_until INTEGER NOT NULL,
    -- Failed attempts so far.
    failures    INTEGER NOT NULL,
    -- Whether the port answers and refuses one reply after the other. A reply that is finished
    -- after the last trial began is tried at once.
    refuses     INTEGER NOT NULL,
    -- Delivery by which the port is being tried.
    trial       INTEGER,
    -- Reason of the last failure.
    trouble     TEXT    NOT NULL,
    PRIMARY KEY (node, port)
) STRICT;

ALTER TABLE clock RENAME TO former_clock;
ALTER TABLE clock_stretches RENAME TO former_stretches;
CREATE TABLE clock (
    -- The gateway on it. In SQLite there is one, and it has no name here.
    node   TEXT    PRIMARY KEY,
    line   INTEGER NOT NULL,
    now    INTEGER NOT NULL,
    uptime INTEGER NOT NULL
) STRICT;
CREATE TABLE clock_stretches (
    node         TEXT    NOT NULL,
    place        INTEGER NOT NULL,
    begun        INTEGER NOT NULL,
    ended        INTEGER NOT NULL,
    behind       INTEGER NOT NULL,
    of_this_boot INTEGER NOT NULL,
    PRIMARY KEY (node, place)
) STRICT;
INSERT INTO clock (node, line, now, uptime) SELECT '', line, now, uptime FROM former_clock;
INSERT INTO clock_stretches (node, place, begun, ended, behind, of_this_boot)
SELECT '', sequence, begun, ended, behind, of_this_boot FROM former_stretches;
DROP TABLE former_clock;
DROP TABLE former_stretches;
