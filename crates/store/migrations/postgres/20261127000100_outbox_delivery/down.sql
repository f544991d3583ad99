DROP INDEX outbox_waiting_user;
DROP INDEX outbox_waiting;
ALTER TABLE outbox DROP COLUMN last_error;
ALTER TABLE outbox DROP COLUMN failed_at;
ALTER TABLE outbox DROP COLUMN due_at;
ALTER TABLE outbox DROP COLUMN attempts;
CREATE INDEX outbox_undelivered ON outbox (id) WHERE delivered_at IS NULL;
