-- Whether something showed whose request it was. A stranger's copy must not keep
-- the sender's own message from its answer.
ALTER TABLE identities ADD COLUMN vouched INTEGER NOT NULL DEFAULT 1;

-- The rule by which a request waits for its turn.
ALTER TABLE requests ADD COLUMN rule TEXT;

-- Who asked for a reply, as the request had it. Null for a notice that came
-- before its request: that goes with it.
ALTER TABLE replies ADD COLUMN sender TEXT;
ALTER TABLE replies ADD COLUMN sender_path TEXT;
ALTER TABLE replies ADD COLUMN client TEXT;
