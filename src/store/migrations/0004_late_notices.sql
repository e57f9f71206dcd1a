-- Requesters are told once that a result comes later. `told` says that they
-- were, or that this has been said of their earlier requests.
ALTER TABLE requests ADD COLUMN told INTEGER NOT NULL DEFAULT 0;

-- What each target of a reply is told if the reply can't be handed over for
-- long, and from when on that is counted.
ALTER TABLE replies ADD COLUMN accepted_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replies ADD COLUMN late_notice BLOB;
ALTER TABLE deliveries ADD COLUMN told INTEGER NOT NULL DEFAULT 0;

-- The order of a target's deliveries, with room before each for its notice.
ALTER TABLE deliveries ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
UPDATE replies SET accepted_at = completed_at;
UPDATE deliveries SET place = 2 * sequence;

DROP INDEX deliveries_of_target;
CREATE INDEX deliveries_of_target ON deliveries (target, place);

DROP TRIGGER delivery_added;
CREATE TRIGGER delivery_added AFTER INSERT ON deliveries BEGIN
    UPDATE deliveries SET place = 2 * sequence WHERE sequence = new.sequence AND place = 0;
    UPDATE deliveries SET turn = 1 WHERE sequence = new.sequence AND NOT EXISTS (
        SELECT 1 FROM deliveries AS earlier
        WHERE earlier.target = new.target
            AND earlier.place < (SELECT place FROM deliveries WHERE sequence = new.sequence)
    );
END;

DROP TRIGGER delivery_removed;
CREATE TRIGGER delivery_removed AFTER DELETE ON deliveries BEGIN
    UPDATE deliveries SET turn = 1 WHERE sequence = (
        SELECT sequence FROM deliveries WHERE target = old.target ORDER BY place LIMIT 1
    );
    DELETE FROM replies WHERE sequence = old.reply AND NOT EXISTS (
        SELECT 1 FROM deliveries WHERE reply = old.reply
    );
END;
