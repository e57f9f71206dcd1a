-- How the clock ran: src/clock_record.rs says what each value means. Lengths of
-- time are microseconds.
CREATE TABLE clock (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    line   INTEGER NOT NULL,
    now    INTEGER NOT NULL,
    uptime INTEGER NOT NULL
) STRICT;

-- The stretches of that, the oldest first. The last one is the present one.
CREATE TABLE clock_stretches (
    sequence     INTEGER PRIMARY KEY,
    begun        INTEGER NOT NULL,
    ended        INTEGER NOT NULL,
    behind       INTEGER NOT NULL,
    of_this_boot INTEGER NOT NULL
) STRICT;
