DROP INDEX audit_user_id;
CREATE INDEX audit_user_id ON audit (user_id, event, at);
ALTER TABLE audit DROP COLUMN attempts;
