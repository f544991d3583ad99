-- Columns and tables that enrollment, verification and removal need.

-- What a user may do in which organization. The operator of organizations fills it; empty by default.
CREATE TABLE memberships (
    user_id     INTEGER NOT NULL REFERENCES users (id),
    org_id      INTEGER NOT NULL CHECK (org_id > 0),
    -- Words with one space between two; '' for none.
    permissions TEXT    NOT NULL,
    PRIMARY KEY (user_id, org_id)
) STRICT, WITHOUT ROWID;

-- Failures in a row, of all factors together, and until when they lock the user's factors.
ALTER TABLE users ADD COLUMN mfa_failures INTEGER NOT NULL DEFAULT 0 CHECK (mfa_failures >= 0);
ALTER TABLE users ADD COLUMN mfa_locked_until INTEGER;

-- Created again, because SQLite changes no constraint of a table: a removed device has neither seed nor codes.
CREATE TABLE new_devices (
    id               INTEGER PRIMARY KEY CHECK (id > 0),
    user_id          INTEGER NOT NULL REFERENCES users (id),
    name             TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    device_type      TEXT    NOT NULL CHECK (device_type = 'totp'),
    -- Nonce (12), AES-256-GCM ciphertext (20) and tag (16).
    seed_key_id      TEXT    CHECK (length(seed_key_id) = 16),
    seed             BLOB    CHECK (length(seed) = 48),
    -- The last step (RFC 6238: T) of which a code was accepted, or which was made unusable.
    last_step        INTEGER,
    -- Since when TOTP codes of the device are refused after too many failures in a row.
    totp_locked_at   INTEGER,
    confirmed_at     INTEGER,
    last_used_at     INTEGER,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    removed_at       INTEGER,
    -- The set of backup codes is one value, so that replacing it is one statement: ten MACs of 32
    -- bytes, bit n of code_used once code n is used up, and how often the set was replaced.
    code_key_id      TEXT    CHECK (length(code_key_id) = 16),
    -- The set's own MAC key, sealed: nonce (12), ciphertext (32) and tag (16). NULL for a set made
    -- before each set had a key.
    code_mac_key     BLOB    CHECK (length(code_mac_key) = 60),
    code_macs        BLOB    CHECK (length(code_macs) = 320),
    code_used        INTEGER NOT NULL DEFAULT 0 CHECK (code_used BETWEEN 0 AND 1023),
    code_generation  INTEGER NOT NULL DEFAULT 0 CHECK (code_generation >= 0),
    -- As totp_locked_at, for backup codes.
    codes_locked_at  INTEGER,
    CHECK ((seed_key_id IS NULL) = (seed IS NULL)),
    CHECK ((seed IS NULL) = (removed_at IS NOT NULL)),
    CHECK ((code_key_id IS NULL) = (code_macs IS NULL)),
    CHECK (code_mac_key IS NULL OR code_macs IS NOT NULL),
    CHECK (code_macs IS NULL OR (code_generation > 0 AND removed_at IS NULL)),
    CHECK (code_macs IS NOT NULL OR code_generation = 0 OR removed_at IS NOT NULL)
) STRICT;
INSERT INTO new_devices (
    id, user_id, name, device_type, seed_key_id, seed, confirmed_at, last_used_at, created_at,
    updated_at, removed_at, code_key_id, code_macs, code_used, code_generation
)
SELECT
    id, user_id, name, device_type, iif(removed_at IS NULL, seed_key_id, NULL),
    iif(removed_at IS NULL, seed, NULL), confirmed_at, last_used_at, created_at, updated_at,
    removed_at, iif(removed_at IS NULL, code_key_id, NULL), iif(removed_at IS NULL, code_macs, NULL),
    code_used, code_generation
FROM devices;
DROP TABLE devices;
ALTER TABLE new_devices RENAME TO devices;
CREATE INDEX devices_user_id ON devices (user_id);
-- What a rotation looks for, and what a key may not be retired for.
CREATE INDEX devices_seed_key_id ON devices (seed_key_id) WHERE seed_key_id IS NOT NULL;
CREATE INDEX devices_code_key_id ON devices (code_key_id) WHERE code_key_id IS NOT NULL;

-- Created again: keys have no user, and a record has the outcome and the operator.
CREATE TABLE new_audit (
    -- AUTOINCREMENT: a number is never given again, so a gap stays visible.
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             INTEGER NOT NULL,
    event          TEXT    NOT NULL,
    outcome        TEXT    NOT NULL CHECK (outcome IN ('success', 'failure', 'denied')),
    -- Why not; NULL for a success.
    reason         TEXT,
    -- Who did it, if it was not the user.
    actor          TEXT,
    user_id        INTEGER,
    session_id     INTEGER,
    device_id      INTEGER,
    generation     INTEGER,
    -- How many backup codes of the set were left.
    remaining      INTEGER,
    remote_address TEXT,
    user_agent     TEXT,
    request_id     TEXT,
    CHECK ((reason IS NULL) = (outcome = 'success'))
) STRICT;
INSERT INTO new_audit (
    id, at, event, outcome, user_id, session_id, device_id, generation, remote_address, user_agent,
    request_id
)
SELECT
    id, at, event, 'success', user_id, session_id, device_id, generation, remote_address,
    user_agent, request_id
FROM audit;
DROP TABLE audit;
ALTER TABLE new_audit RENAME TO audit;
-- Also what the limits per user and hour count.
CREATE INDEX audit_user_id ON audit (user_id, event, at);
CREATE INDEX audit_device_id ON audit (device_id);
CREATE INDEX audit_at ON audit (at);

-- Messages for users, for the program that sends mail: written in the transaction of the event.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The record that says the rest.
    audit_id     INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    user_id      INTEGER NOT NULL,
    device_id    INTEGER,
    delivered_at INTEGER
) STRICT;
CREATE INDEX outbox_undelivered ON outbox (id) WHERE delivered_at IS NULL;

-- From then on nothing is protected with the key.
ALTER TABLE keys ADD COLUMN retired_at INTEGER;
