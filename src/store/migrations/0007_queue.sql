-- What went wrong with the latest attempts at what still waits, for the
-- operator. A row that has one of its last attempt was given back; without it a
-- worker has the row, or ended with it.
CREATE TABLE request_troubles (
    request INTEGER NOT NULL REFERENCES requests ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    trouble TEXT    NOT NULL,
    PRIMARY KEY (request, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery_troubles (
    delivery INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    attempt  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    trouble  TEXT    NOT NULL,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

INSERT INTO request_troubles
    SELECT sequence, attempts, waits_since, put_off_for FROM requests
    WHERE put_off_for IS NOT NULL;
INSERT INTO delivery_troubles
    SELECT sequence, attempts, waits_since, put_off_for FROM deliveries
    WHERE put_off_for IS NOT NULL;

ALTER TABLE requests DROP COLUMN put_off_for;
ALTER TABLE deliveries DROP COLUMN put_off_for;
