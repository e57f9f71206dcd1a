-- Kinds of audit entries that came within the last minute: how many were not
-- appended since then, and the last of them.
CREATE TABLE audit_counts (
    kind    TEXT    PRIMARY KEY,
    since   INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    entry   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
