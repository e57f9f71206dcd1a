-- Postfix's reply port, by its address, while it takes no replies. No delivery is
-- leased until waits_until; then one is, the trial. A port that `refuses` answers,
-- and refuses one reply after the other: a reply that was finished after the last
-- trial began is tried at once.
CREATE TABLE port_troubles (
    port        TEXT    PRIMARY KEY,
    began_at    INTEGER NOT NULL,
    tried_at    INTEGER NOT NULL,
    waits_until INTEGER NOT NULL,
    failures    INTEGER NOT NULL,
    refuses     INTEGER NOT NULL,
    trial       INTEGER,
    trouble     TEXT    NOT NULL
) STRICT;

-- Whether Postfix refused a reply at its last attempt, and not for its address.
ALTER TABLE deliveries ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_refused ON deliveries (waits_since) WHERE refused = 1;

-- Replies that have waited for long are looked for while the port is in trouble.
-- `told` of a delivery now says too that there is nothing to tell.
CREATE INDEX replies_age ON replies (accepted_at);
CREATE INDEX deliveries_untold ON deliveries (reply) WHERE told = 0;
