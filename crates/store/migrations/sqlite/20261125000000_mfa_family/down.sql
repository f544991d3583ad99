-- Removed devices come back without their seed, so with one that no key opens; records without
-- a user are dropped, and so is the knowledge of how an attempt went.
ALTER TABLE keys DROP COLUMN retired_at;
DROP TABLE outbox;
DROP TABLE memberships;

CREATE TABLE old_audit (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             INTEGER NOT NULL,
    event          TEXT    NOT NULL,
    user_id        INTEGER NOT NULL,
    session_id     INTEGER,
    device_id      INTEGER,
    generation     INTEGER,
    remote_address TEXT,
    user_agent     TEXT,
    request_id     TEXT
) STRICT;
INSERT INTO old_audit
SELECT id, at, event, user_id, session_id, device_id, generation, remote_address, user_agent, request_id
FROM audit WHERE event = 'mfa.backup_codes.regenerated' AND outcome = 'success';
DROP TABLE audit;
ALTER TABLE old_audit RENAME TO audit;
CREATE INDEX audit_user_id ON audit (user_id);
CREATE INDEX audit_device_id ON audit (device_id);

CREATE TABLE old_devices (
    id              INTEGER PRIMARY KEY CHECK (id > 0),
    user_id         INTEGER NOT NULL REFERENCES users (id),
    name            TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    device_type     TEXT    NOT NULL CHECK (device_type = 'totp'),
    seed_key_id     TEXT    NOT NULL CHECK (length(seed_key_id) = 16),
    seed            BLOB    NOT NULL CHECK (length(seed) = 48),
    confirmed_at    INTEGER,
    last_used_at    INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    removed_at      INTEGER,
    code_key_id     TEXT    CHECK (length(code_key_id) = 16),
    code_macs       BLOB    CHECK (length(code_macs) = 320),
    code_used       INTEGER NOT NULL DEFAULT 0 CHECK (code_used BETWEEN 0 AND 1023),
    code_generation INTEGER NOT NULL DEFAULT 0 CHECK (code_generation >= 0),
    CHECK ((code_key_id IS NULL) = (code_macs IS NULL)),
    CHECK ((code_macs IS NULL) = (code_generation = 0))
) STRICT;
-- An older program cannot read sets that have a key each: they are dropped.
INSERT INTO old_devices
SELECT
    id, user_id, name, device_type, coalesce(seed_key_id, '0000000000000000'),
    coalesce(seed, zeroblob(48)), confirmed_at, last_used_at, created_at, updated_at, removed_at,
    iif(code_mac_key IS NULL, code_key_id, NULL), iif(code_mac_key IS NULL, code_macs, NULL), code_used,
    iif(code_mac_key IS NULL AND code_macs IS NOT NULL, code_generation, 0)
FROM devices;
DROP TABLE devices;
ALTER TABLE old_devices RENAME TO devices;
CREATE INDEX devices_user_id ON devices (user_id);

ALTER TABLE users DROP COLUMN mfa_locked_until;
ALTER TABLE users DROP COLUMN mfa_failures;
