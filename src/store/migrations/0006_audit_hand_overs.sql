-- Where the audit log's chain passed to the key of another master secret: the
-- first entry under it, and the key before, sealed under it.
CREATE TABLE audit_hand_overs (
    sequence   INTEGER PRIMARY KEY,
    sealed_key BLOB NOT NULL
) STRICT;
