-- Moments are microseconds since 1970 UTC. Times of STS records are their texts,
-- yyyymmddThhmmssZ, which sort as they follow each other. What is sealed is
-- nonce, ciphertext and tag.

PRAGMA application_id = 0x4B4D5347; -- "KMSG"

-- The spool: requests without their final result. A row is not due from
-- waits_since to waits_until: it is leased or put off. `attempts` counts its
-- leases and tells the last from those before. `turn` marks the oldest request
-- of its sender, the only one that may be leased.
CREATE TABLE requests (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    accepted_at  INTEGER NOT NULL,
    queue_id     TEXT    NOT NULL,
    reverse_path TEXT    NOT NULL,
    client       TEXT,
    sender       TEXT    NOT NULL,
    size         INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    waits_since  INTEGER NOT NULL,
    waits_until  INTEGER NOT NULL,
    put_off_for  TEXT,
    turn         INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX requests_of_sender ON requests (sender, sequence);
CREATE UNIQUE INDEX requests_turn ON requests (sender) WHERE turn = 1;
CREATE INDEX requests_until ON requests (waits_until) WHERE turn = 1;
CREATE INDEX requests_since ON requests (waits_since) WHERE turn = 1;

-- Apart from its row, which changes at each lease.
CREATE TABLE request_messages (
    request INTEGER PRIMARY KEY REFERENCES requests ON DELETE CASCADE,
    message BLOB NOT NULL
) STRICT;

-- Accepted messages, to be known again.
CREATE TABLE identities (
    identity    BLOB    PRIMARY KEY CHECK (length(identity) = 32),
    request_id  TEXT    NOT NULL,
    accepted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_age ON identities (accepted_at);

-- Finished replies and the targets that they still have to go to.
CREATE TABLE replies (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id   TEXT    NOT NULL,
    queue_id     TEXT    NOT NULL,
    completed_at INTEGER NOT NULL,
    reverse_path TEXT    NOT NULL,
    size         INTEGER NOT NULL,
    message      BLOB    NOT NULL
) STRICT;

CREATE TABLE deliveries (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    reply       INTEGER NOT NULL REFERENCES replies,
    target      TEXT    NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    waits_since INTEGER NOT NULL,
    waits_until INTEGER NOT NULL,
    put_off_for TEXT,
    turn        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (reply, target)
) STRICT;
CREATE INDEX deliveries_of_target ON deliveries (target, sequence);
CREATE UNIQUE INDEX deliveries_turn ON deliveries (target) WHERE turn = 1;
CREATE INDEX deliveries_until ON deliveries (waits_until) WHERE turn = 1;
CREATE INDEX deliveries_since ON deliveries (waits_since) WHERE turn = 1;

-- What the spool holds, kept by the triggers below.
CREATE TABLE spool_usage (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    requests INTEGER NOT NULL,
    replies  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT;
INSERT INTO spool_usage VALUES (1, 0, 0, 0);

CREATE TRIGGER request_added AFTER INSERT ON requests BEGIN
    UPDATE spool_usage SET requests = requests + 1, bytes = bytes + new.size;
    UPDATE requests SET turn = 1 WHERE sequence = new.sequence AND NOT EXISTS (
        SELECT 1 FROM requests WHERE sender = new.sender AND sequence < new.sequence
    );
END;

CREATE TRIGGER request_removed AFTER DELETE ON requests BEGIN
    UPDATE spool_usage SET requests = requests - 1, bytes = bytes - old.size;
    UPDATE requests SET turn = 1 WHERE sequence = (
        SELECT min(sequence) FROM requests WHERE sender = old.sender
    );
END;

CREATE TRIGGER reply_added AFTER INSERT ON replies BEGIN
    UPDATE spool_usage SET replies = replies + 1, bytes = bytes + new.size;
END;

CREATE TRIGGER reply_removed AFTER DELETE ON replies BEGIN
    UPDATE spool_usage SET replies = replies - 1, bytes = bytes - old.size;
END;

CREATE TRIGGER delivery_added AFTER INSERT ON deliveries BEGIN
    UPDATE deliveries SET turn = 1 WHERE sequence = new.sequence AND NOT EXISTS (
        SELECT 1 FROM deliveries WHERE target = new.target AND sequence < new.sequence
    );
END;

CREATE TRIGGER delivery_removed AFTER DELETE ON deliveries BEGIN
    UPDATE deliveries SET turn = 1 WHERE sequence = (
        SELECT min(sequence) FROM deliveries WHERE target = old.target
    );
    DELETE FROM replies WHERE sequence = old.reply AND NOT EXISTS (
        SELECT 1 FROM deliveries WHERE reply = old.reply
    );
END;

-- The audit log. `entry` is the canonical text that `link` covers.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    link     BLOB NOT NULL CHECK (length(link) = 32),
    entry    TEXT NOT NULL
) STRICT;

-- Where retention cut the oldest entries away.
CREATE TABLE audit_anchor (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    sequence      INTEGER NOT NULL,
    link          BLOB    NOT NULL CHECK (length(link) = 32),
    authenticator BLOB    NOT NULL CHECK (length(authenticator) = 32)
) STRICT;

-- The key management system's tables. Each change of one counts the revision.
CREATE TABLE kms_revision (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO kms_revision VALUES (1, 0);

CREATE TABLE storage_key (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    wrapped BLOB NOT NULL
) STRICT;

CREATE TABLE kmc_keys (
    kmcid              TEXT PRIMARY KEY,
    curve              TEXT NOT NULL,
    public_key         TEXT NOT NULL,
    activation         TEXT NOT NULL,
    expiry             TEXT NOT NULL,
    sealed_private_key BLOB NOT NULL
) STRICT;

CREATE TABLE modules (
    smid             TEXT PRIMARY KEY,
    hardware         TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
    sealed_dak       BLOB NOT NULL,
    replay_watermark TEXT
) STRICT;

CREATE TABLE module_sgcs (
    smid TEXT NOT NULL REFERENCES modules ON DELETE CASCADE,
    sgc  TEXT NOT NULL,
    PRIMARY KEY (smid, sgc)
) STRICT, WITHOUT ROWID;

CREATE TABLE vending_keys (
    sgc        TEXT    NOT NULL,
    krn        TEXT    NOT NULL,
    kt         TEXT    NOT NULL,
    ken        INTEGER NOT NULL,
    bdt        TEXT    NOT NULL,
    dkga       TEXT    NOT NULL,
    act        TEXT    NOT NULL,
    iut        TEXT,
    ulm        INTEGER NOT NULL,
    clm        INTEGER NOT NULL,
    expires    TEXT,
    kcv        TEXT    NOT NULL,
    sealed_key BLOB    NOT NULL,
    PRIMARY KEY (sgc, krn)
) STRICT, WITHOUT ROWID;

-- Requests that a key load file was issued for, until the module's watermark
-- has passed them.
CREATE TABLE replay_marks (
    replay_key   BLOB PRIMARY KEY CHECK (length(replay_key) = 32),
    smid         TEXT NOT NULL REFERENCES modules,
    request_time TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_marks_age ON replay_marks (request_time);

-- The key load files issued, each with its keys as SGC/KRN by comma.
CREATE TABLE klf_issues (
    sequence     INTEGER PRIMARY KEY,
    smid         TEXT    NOT NULL REFERENCES modules,
    request_id   TEXT    NOT NULL,
    request_time TEXT    NOT NULL,
    issued_at    INTEGER NOT NULL,
    keys         TEXT    NOT NULL
) STRICT;
CREATE INDEX klf_issues_of_module ON klf_issues (smid, issued_at);
