-- What the node remembers. Times are RFC 3339 in UTC, ids are ULIDs, digests are `sha256:…`.

-- When this state came to be. Commands issued earlier are refused, so that a lost or restored
-- state file does not reopen replay; `latest_seen` shows when the clock jumps back.
CREATE TABLE identity (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    created_at  TEXT NOT NULL,
    latest_seen TEXT NOT NULL
) STRICT;

CREATE TABLE nonce (
    operator   TEXT NOT NULL,
    nonce      BLOB NOT NULL,
    keep_until TEXT NOT NULL,
    PRIMARY KEY (operator, nonce)
) STRICT, WITHOUT ROWID;

-- Each command, accepted or refused. `hash` covers the row and the hash before it.
CREATE TABLE audit (
    sequence  INTEGER PRIMARY KEY AUTOINCREMENT,
    at        TEXT NOT NULL,
    method    TEXT NOT NULL,
    operator  TEXT NOT NULL,
    payload   BLOB NOT NULL,
    signature TEXT NOT NULL,
    outcome   TEXT NOT NULL,
    hash      BLOB NOT NULL
) STRICT;

-- The most recent lease, live or not: fencing numbers only grow.
CREATE TABLE lease (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    json TEXT NOT NULL
) STRICT;

CREATE TABLE rollout (
    id         TEXT PRIMARY KEY,
    operator   TEXT NOT NULL,
    rollout    BLOB NOT NULL,
    release    BLOB NOT NULL,
    created_at TEXT NOT NULL,
    ending     TEXT NOT NULL DEFAULT ''
) STRICT;

-- Release files as they came, by their digest.
CREATE TABLE release (
    id    TEXT PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE operation (
    id      TEXT PRIMARY KEY,
    release TEXT NOT NULL REFERENCES release (id),
    rollout TEXT,
    state   TEXT NOT NULL CHECK (state IN ('running', 'done', 'undone', 'stuck')),
    json    TEXT NOT NULL,
    plan    TEXT NOT NULL
) STRICT;

-- One thing at a time touches the node.
CREATE UNIQUE INDEX one_operation_runs ON operation (state) WHERE state = 'running';

-- The journal and the event stream are one: a step is written down before it starts.
CREATE TABLE event (
    operation TEXT NOT NULL REFERENCES operation (id),
    sequence  INTEGER NOT NULL,
    json      TEXT NOT NULL,
    PRIMARY KEY (operation, sequence)
) STRICT, WITHOUT ROWID;
