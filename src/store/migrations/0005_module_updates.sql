-- The last update file of each key of the STSA's: its serial, and what it said.
CREATE TABLE stsa_updates (
    stsa_key TEXT    PRIMARY KEY,
    serial   INTEGER NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 48)
) STRICT, WITHOUT ROWID;
