-- How many attempts a record stands for. Denials beyond the first ones of a session are counted.
ALTER TABLE audit ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1 CHECK (attempts > 0);

-- The outcome comes before the time: the limits per user and hour count successes, and read no denial.
DROP INDEX audit_user_id;
CREATE INDEX audit_user_id ON audit (user_id, event, outcome, at);
