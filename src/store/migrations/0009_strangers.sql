-- Whether something showed whose request it was. A stranger's copy must not keep
-- the sender's own message from its answer.
ALTER TABLE identities ADD COLUMN vouched INTEGER NOT NULL DEFAULT 1;
