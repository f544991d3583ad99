-- Ids are random positive 63-bit integers. Times are microseconds since the Unix epoch, UTC:
-- integers compare the same on every database.

CREATE TABLE users (
    id           INTEGER PRIMARY KEY CHECK (id > 0),
    name         TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    email        TEXT    NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    -- Lower case. Folded by the program: SQLite's lower() knows ASCII only.
    email_folded TEXT    NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    disabled_at  INTEGER
) STRICT;

CREATE TABLE sessions (
    id            INTEGER PRIMARY KEY CHECK (id > 0),
    user_id       INTEGER NOT NULL REFERENCES users (id),
    -- SHA-256 of the token; the token itself is nowhere.
    token_hash    BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    -- Until when the second factor shown in this session counts; NULL if none was.
    mfa_not_after INTEGER,
    revoked_at    INTEGER
) STRICT;
CREATE INDEX sessions_user_id ON sessions (user_id);

CREATE TABLE devices (
    id              INTEGER PRIMARY KEY CHECK (id > 0),
    user_id         INTEGER NOT NULL REFERENCES users (id),
    name            TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    device_type     TEXT    NOT NULL CHECK (device_type = 'totp'),
    -- Nonce (12), AES-256-GCM ciphertext (20) and tag (16).
    seed_key_id     TEXT    NOT NULL CHECK (length(seed_key_id) = 16),
    seed            BLOB    NOT NULL CHECK (length(seed) = 48),
    confirmed_at    INTEGER,
    last_used_at    INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    removed_at      INTEGER,
    -- The set of backup codes is one value, so that replacing it is one statement: ten MACs of 32
    -- bytes, bit n of code_used once code n is used up, and how often the set was replaced.
    code_key_id     TEXT    CHECK (length(code_key_id) = 16),
    code_macs       BLOB    CHECK (length(code_macs) = 320),
    code_used       INTEGER NOT NULL DEFAULT 0 CHECK (code_used BETWEEN 0 AND 1023),
    code_generation INTEGER NOT NULL DEFAULT 0 CHECK (code_generation >= 0),
    CHECK ((code_key_id IS NULL) = (code_macs IS NULL)),
    CHECK ((code_macs IS NULL) = (code_generation = 0))
) STRICT;
CREATE INDEX devices_user_id ON devices (user_id);

-- No foreign keys: a record outlives what it speaks of.
CREATE TABLE audit (
    -- AUTOINCREMENT: a number is never given again, so a gap stays visible.
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
CREATE INDEX audit_user_id ON audit (user_id);
CREATE INDEX audit_device_id ON audit (device_id);

-- Which root keys this database was written with: an id, and a value derived from the key that
-- shows whether a key file holds the same key. Never a key.
CREATE TABLE keys (
    id            TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    check_value   BLOB    NOT NULL CHECK (length(check_value) = 32),
    first_used_at INTEGER NOT NULL
) STRICT;
