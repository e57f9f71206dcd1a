-- Who asked, and who is answered, as it was judged when the request was taken.
-- `targets` are the addresses, a line each; none in a row of an older version.
-- `target` is the first of them in small letters.
ALTER TABLE requests ADD COLUMN targets TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN target TEXT;
ALTER TABLE requests ADD COLUMN requester TEXT NOT NULL DEFAULT 'own';
ALTER TABLE requests ADD COLUMN network TEXT;
CREATE INDEX requests_of_target ON requests (target) WHERE target IS NOT NULL;
CREATE INDEX requests_verified ON requests (waits_until) WHERE turn = 1 AND requester = 'verified';

-- The same of the request that a reply is for.
ALTER TABLE replies ADD COLUMN requester TEXT NOT NULL DEFAULT 'own';
ALTER TABLE replies ADD COLUMN network TEXT;
ALTER TABLE replies ADD COLUMN kind TEXT NOT NULL DEFAULT 'notice'
    CHECK (kind IN ('success', 'error', 'notice'));

-- What strangers' requests and their replies hold of the spool, kept by the
-- triggers below: all together ('strangers'), those whose address was never
-- answered ('newcomers'), and those of each client network.
CREATE TABLE spool_shares (
    share    TEXT    PRIMARY KEY,
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER request_takes_share AFTER INSERT ON requests
WHEN new.requester IN ('known', 'answered', 'newcomer') BEGIN
    INSERT INTO spool_shares (share, messages, bytes)
    SELECT column1, 1, new.size FROM (
        VALUES ('strangers'), (iif(new.requester = 'newcomer', 'newcomers', NULL)), (new.network)
    ) WHERE column1 IS NOT NULL
    ON CONFLICT (share) DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER request_gives_share_back AFTER DELETE ON requests
WHEN old.requester IN ('known', 'answered', 'newcomer') BEGIN
    UPDATE spool_shares SET messages = messages - 1, bytes = bytes - old.size
    WHERE share IN ('strangers', iif(old.requester = 'newcomer', 'newcomers', NULL), old.network);
    DELETE FROM spool_shares WHERE share = old.network AND messages <= 0;
END;

CREATE TRIGGER reply_takes_share AFTER INSERT ON replies
WHEN new.requester IN ('known', 'answered', 'newcomer') BEGIN
    INSERT INTO spool_shares (share, messages, bytes)
    SELECT column1, 1, new.size FROM (
        VALUES ('strangers'), (iif(new.requester = 'newcomer', 'newcomers', NULL)), (new.network)
    ) WHERE column1 IS NOT NULL
    ON CONFLICT (share) DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER reply_gives_share_back AFTER DELETE ON replies
WHEN old.requester IN ('known', 'answered', 'newcomer') BEGIN
    UPDATE spool_shares SET messages = messages - 1, bytes = bytes - old.size
    WHERE share IN ('strangers', iif(old.requester = 'newcomer', 'newcomers', NULL), old.network);
    DELETE FROM spool_shares WHERE share = old.network AND messages <= 0;
END;

-- Addresses are remembered from when they were answered on, and no longer from
-- when they asked. `verified_from` is the client network, or nothing where that
-- is not known, of the latest verified request that was answered there.
ALTER TABLE reply_targets ADD COLUMN verified_from TEXT;
ALTER TABLE reply_targets DROP COLUMN answered_from;
