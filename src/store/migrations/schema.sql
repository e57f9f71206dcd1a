-- The schema of the store, room by room: the spool, what senders and addresses are
-- allowed, the audit log, the keys, the clock.
--
-- Moments are microseconds since 1970 UTC, and lengths of time are microseconds. Times of STS
-- records are their texts, yyyymmddThhmmssZ, which sort in order of time. Sealed values
-- are nonce, ciphertext and tag. What is true or false is 1 or 0.

CREATE TABLE schema_version (
    version     INTEGER NOT NULL,
    -- Version of the oldest program that may use the database.
    usable_from INTEGER NOT NULL
) STRICT;

-- Several gateways ------------------------------------------------------------------------------

-- In PostgreSQL whoever changes something locks this row first, so that changes come one after the
-- other. In SQLite the lock is on the file.
CREATE TABLE writer (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    -- Transactions that changed something.
    commits INTEGER NOT NULL,
    -- Changes of the secrets. A gateway with the former ones changes nothing any more.
    secrets INTEGER NOT NULL
) STRICT;
INSERT INTO writer VALUES (1, 0, 0);

-- The gateways of the database.
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

-- The spool ------------------------------------------------------------------------------------

-- Requests without their final result.
CREATE TABLE requests (
    -- Order of acceptance. A number is never used again.
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Id in the audit log and in replies.
    id           TEXT    NOT NULL UNIQUE,
    -- When the end of the message arrived.
    accepted_at  INTEGER NOT NULL,
    -- Postfix's queue id.
    queue_id     TEXT    NOT NULL,
    -- Reverse path of the envelope.
    reverse_path TEXT    NOT NULL,
    -- Address of the SMTP client, if Postfix knows it.
    client       TEXT,
    -- Key of the sender's bucket. Requests of one sender are answered in order.
    sender       TEXT    NOT NULL,
    -- Bytes of the message.
    size         INTEGER NOT NULL,
    -- Leases so far. The number distinguishes the last lease from those before.
    attempts     INTEGER NOT NULL DEFAULT 0,
    -- The row is leased or put off from waits_since to waits_until.
    waits_since  INTEGER NOT NULL,
    waits_until  INTEGER NOT NULL,
    -- Marks the oldest request of its sender. No other may be leased.
    turn         INTEGER NOT NULL DEFAULT 0,
    -- Whether the sender knows that the result comes later.
    notified     INTEGER NOT NULL DEFAULT 0,
    -- The rule by which the request waits for its turn.
    rule         TEXT,
    -- Code of the service, as the request has it.
    service      TEXT    NOT NULL,
    -- The gateway address that To names. Replies come from it.
    gateway      TEXT    NOT NULL,
    -- Addresses to answer, a line each.
    targets      TEXT    NOT NULL,
    -- The first of them in small letters.
    target       TEXT,
    -- Standing of the requester when the request was accepted: policy::Requester.
    requester    TEXT    NOT NULL,
    -- The client's network, if it says something about the sender.
    network      TEXT,
    -- The gateway that leased it last.
    node         TEXT
) STRICT;
-- The sequence is in each index by which rows are asked for in its order. Otherwise PostgreSQL reads
-- them all while its statistics are from when there were few.
CREATE INDEX requests_of_sender ON requests (sender, sequence);
CREATE INDEX requests_of_target ON requests (target, sequence) WHERE target IS NOT NULL;
CREATE UNIQUE INDEX requests_turn ON requests (sender) WHERE turn = 1;
CREATE INDEX requests_until ON requests (waits_until, sequence) WHERE turn = 1;
CREATE INDEX requests_since ON requests (waits_since, sequence) WHERE turn = 1;
CREATE INDEX requests_verified ON requests (waits_until, sequence)
    WHERE turn = 1 AND requester = 'verified';

-- Messages of requests. They stand apart, since each lease rewrites the row of the request.
CREATE TABLE request_messages (
    request INTEGER PRIMARY KEY REFERENCES requests ON DELETE CASCADE,
    message BLOB NOT NULL
) STRICT;

-- Failed attempts at a request, the latest few. A row whose last attempt is here was given back.
-- Without it a worker has the row, or died with it.
CREATE TABLE request_troubles (
    request INTEGER NOT NULL REFERENCES requests ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    trouble TEXT    NOT NULL,
    PRIMARY KEY (request, attempt)
) STRICT, WITHOUT ROWID;

-- Identities of accepted messages, by which a copy is recognised.
CREATE TABLE identities (
    identity    BLOB    PRIMARY KEY CHECK (length(identity) = 32),
    request_id  TEXT    NOT NULL,
    accepted_at INTEGER NOT NULL,
    -- Whether something vouched for the sender. A stranger's copy must not keep the sender's own
    -- message from its answer.
    vouched     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_age ON identities (accepted_at);

-- Finished replies and notices, until each is delivered to all targets.
CREATE TABLE replies (
    -- Order of completion.
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Id of the request.
    request_id   TEXT    NOT NULL,
    -- Postfix's queue id of the request.
    queue_id     TEXT    NOT NULL,
    -- When the request was accepted.
    accepted_at  INTEGER NOT NULL,
    -- When the reply was finished.
    completed_at INTEGER NOT NULL,
    -- Reverse path of the reply's envelope, empty for null.
    reverse_path TEXT    NOT NULL,
    -- Bytes of the message.
    size         INTEGER NOT NULL,
    -- The whole message.
    message      BLOB    NOT NULL,
    -- Requester and network of the request.
    requester    TEXT    NOT NULL,
    network      TEXT,
    -- Result, or a notice that the result comes later.
    kind         TEXT    NOT NULL CHECK (kind IN ('success', 'error', 'notice')),
    -- Sender, reverse path and client of the request. A notice that precedes its request has none.
    sender       TEXT,
    sender_path  TEXT,
    client       TEXT
) STRICT;
CREATE INDEX replies_age ON replies (accepted_at);

-- One reply on its way to one target.
CREATE TABLE deliveries (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    reply       INTEGER NOT NULL REFERENCES replies,
    -- The address it goes to.
    target      TEXT    NOT NULL,
    -- As in requests.
    attempts    INTEGER NOT NULL DEFAULT 0,
    waits_since INTEGER NOT NULL,
    waits_until INTEGER NOT NULL,
    -- Marks the first delivery to its target.
    turn        INTEGER NOT NULL DEFAULT 0,
    -- Whether the target knows that the reply is late, or there is nothing to send first.
    notified    INTEGER NOT NULL DEFAULT 0,
    -- Order of the target's deliveries, with room before each for its notice.
    place       INTEGER NOT NULL DEFAULT 0,
    -- Whether Postfix refused the last attempt for a reason other than the address.
    refused     INTEGER NOT NULL DEFAULT 0,
    -- The gateway that leased it last.
    node        TEXT,
    UNIQUE (reply, target)
) STRICT;
CREATE INDEX deliveries_of_target ON deliveries (target, place);
CREATE UNIQUE INDEX deliveries_turn ON deliveries (target) WHERE turn = 1;
CREATE INDEX deliveries_until ON deliveries (waits_until, sequence) WHERE turn = 1;
CREATE INDEX deliveries_since ON deliveries (waits_since, sequence) WHERE turn = 1;
CREATE INDEX deliveries_refused ON deliveries (waits_since) WHERE refused = 1;
CREATE INDEX deliveries_unnotified ON deliveries (reply) WHERE notified = 0;

-- Failed attempts at a delivery, as request_troubles has them.
CREATE TABLE delivery_troubles (
    delivery INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    attempt  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    trouble  TEXT    NOT NULL,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

-- Postfix's reply port while it takes no replies.
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

-- Counts of the whole spool.
CREATE TABLE spool_usage (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    requests INTEGER NOT NULL,
    replies  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT;
INSERT INTO spool_usage VALUES (1, 0, 0, 0);

-- Counts of strangers' requests and the replies to them.
CREATE TABLE spool_shares (
    -- All strangers ('strangers'), those whose address was never answered ('newcomers'), or a
    -- client network.
    share    TEXT    PRIMARY KEY,
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Allowances -----------------------------------------------------------------------------------

-- Buckets of policy::throttle, one for each sender that asked lately.
CREATE TABLE throttle (
    -- Each write gives the highest sequence, so that the lowest have been idle longest.
    sequence    INTEGER PRIMARY KEY,
    -- policy::ThrottleKey.
    key         TEXT    NOT NULL UNIQUE,
    -- The moment from which the lengths below count.
    seen        INTEGER NOT NULL,
    backlog     INTEGER NOT NULL,
    deferring   INTEGER NOT NULL,
    blocked_for INTEGER
) STRICT;

-- Addresses that were answered.
CREATE TABLE reply_targets (
    -- As in throttle.
    sequence      INTEGER PRIMARY KEY,
    -- The address in small letters.
    target        TEXT    NOT NULL UNIQUE,
    -- Client network of the latest verified request that was answered there, empty if unknown.
    verified_from TEXT
) STRICT;

-- The audit log --------------------------------------------------------------------------------

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    -- Link of the chain: covers this entry and all before.
    link     BLOB NOT NULL CHECK (length(link) = 32),
    -- Canonical JSON of the entry.
    entry    TEXT NOT NULL
) STRICT;

-- Last of the entries that retention cut off.
CREATE TABLE audit_anchor (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    sequence      INTEGER NOT NULL,
    link          BLOB    NOT NULL CHECK (length(link) = 32),
    authenticator BLOB    NOT NULL CHECK (length(authenticator) = 32)
) STRICT;

-- Places in the chain from which the key of another master secret counts.
CREATE TABLE audit_hand_overs (
    -- First entry under the new key.
    sequence   INTEGER PRIMARY KEY,
    -- The former key, sealed under the new one.
    sealed_key BLOB NOT NULL
) STRICT;

-- Kinds of audit entries that came within the last minute.
CREATE TABLE audit_counts (
    kind    TEXT    PRIMARY KEY,
    -- Begin of the minute.
    since   INTEGER NOT NULL,
    -- Entries that were not appended since then.
    counted INTEGER NOT NULL,
    -- The last of them.
    entry   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- The keys -------------------------------------------------------------------------------------

-- Counts each change of storage key, KMC keys, modules and vending keys.
CREATE TABLE kms_revision (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO kms_revision VALUES (1, 0);

-- The key that seals the rows below, wrapped under the master secret.
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
    -- Requests made at or before this time count as replayed.
    replay_watermark TEXT
) STRICT;

-- Supply groups of modules.
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

-- Requests that a key load file was issued for, until the module's watermark passes them.
CREATE TABLE replay_marks (
    replay_key   BLOB PRIMARY KEY CHECK (length(replay_key) = 32),
    smid         TEXT NOT NULL REFERENCES modules,
    request_time TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_marks_age ON replay_marks (request_time);

-- The key load files that were issued.
CREATE TABLE klf_issues (
    sequence     INTEGER PRIMARY KEY,
    smid         TEXT    NOT NULL REFERENCES modules,
    request_id   TEXT    NOT NULL,
    request_time TEXT    NOT NULL,
    issued_at    INTEGER NOT NULL,
    -- Vending keys in the file: SGC/KRN, separated by commas.
    keys         TEXT    NOT NULL
) STRICT;
CREATE INDEX klf_issues_of_module ON klf_issues (smid, issued_at);

-- Serial and digest of the last update file under each key of the STSA.
CREATE TABLE stsa_updates (
    stsa_key TEXT    PRIMARY KEY,
    serial   INTEGER NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 48)
) STRICT, WITHOUT ROWID;

-- The clock ------------------------------------------------------------------------------------

-- How the clock of each machine ran: src/time/record.rs explains each value.
CREATE TABLE clock (
    -- The gateway on it. In SQLite there is one, and it has no name here.
    node   TEXT    PRIMARY KEY,
    line   INTEGER NOT NULL,
    now    INTEGER NOT NULL,
    uptime INTEGER NOT NULL
) STRICT;

-- Its stretches, the oldest first. The last one is the present one.
CREATE TABLE clock_stretches (
    node         TEXT    NOT NULL,
    place        INTEGER NOT NULL,
    begun        INTEGER NOT NULL,
    ended        INTEGER NOT NULL,
    behind       INTEGER NOT NULL,
    of_this_boot INTEGER NOT NULL,
    PRIMARY KEY (node, place)
) STRICT;
