-- Servers with a webhook or a mail server deliver messages. `due_at` is when the next attempt may begin; a server that
-- claims a message moves it ahead, so that no other attempts the same.
ALTER TABLE outbox ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0);
ALTER TABLE outbox ADD COLUMN due_at BIGINT NOT NULL DEFAULT 0;
-- From then on it is a dead letter: not attempted again unless an operator asks for it.
ALTER TABLE outbox ADD COLUMN failed_at BIGINT;
ALTER TABLE outbox ADD COLUMN last_error TEXT;

DROP INDEX outbox_undelivered;
CREATE INDEX outbox_waiting ON outbox (id) WHERE delivered_at IS NULL AND failed_at IS NULL;
-- Whether an earlier message of the same user waits.
CREATE INDEX outbox_waiting_user ON outbox (user_id, id) WHERE delivered_at IS NULL AND failed_at IS NULL;
