-- Who asked lately, and how much: a bucket of policy::throttle each. Lengths of
-- time are microseconds, counted from `seen`. Whenever a row is written it gets
-- the highest sequence, so that the lowest are those idle longest.
CREATE TABLE throttle (
    sequence    INTEGER PRIMARY KEY,
    key         TEXT    NOT NULL UNIQUE,
    seen        INTEGER NOT NULL,
    backlog     INTEGER NOT NULL,
    deferring   INTEGER NOT NULL,
    blocked_for INTEGER
) STRICT;

-- Addresses that a reply went or will go to, and from when on. Sequences as
-- above.
CREATE TABLE reply_targets (
    sequence      INTEGER PRIMARY KEY,
    target        TEXT    NOT NULL UNIQUE,
    answered_from INTEGER NOT NULL
) STRICT;
