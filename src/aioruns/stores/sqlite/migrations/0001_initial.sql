-- Runs, their events, and the managers that execute them. Times are microseconds since 1970, UTC.

CREATE TABLE aioruns_schema (
    version  INTEGER NOT NULL
) STRICT;

INSERT INTO aioruns_schema (version) VALUES (1);

CREATE TABLE managers (
    id         TEXT    PRIMARY KEY,
    pid        INTEGER NOT NULL,
    host       TEXT    NOT NULL,
    opened_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the id of a pruned run is never given to another.
CREATE TABLE runs (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    job                  TEXT    NOT NULL,
    status               TEXT    NOT NULL CHECK (status IN (
                             'pending', 'running', 'cancelling', 'completed', 'failed', 'cancelled', 'interrupted')),
    key                  TEXT,
    held_key             TEXT    UNIQUE,
    idempotency_key      TEXT    UNIQUE,
    shared               INTEGER NOT NULL CHECK (shared IN (0, 1)),
    manager_id           TEXT    NOT NULL,
    token                INTEGER NOT NULL,
    attempt              INTEGER NOT NULL,
    timeout              REAL,
    tags                 TEXT    NOT NULL,
    triggered_by         TEXT,
    arguments            TEXT,
    result               TEXT,
    error                TEXT,
    traceback            TEXT,
    created_at           INTEGER NOT NULL,
    started_at           INTEGER,
    finished_at          INTEGER,
    cancel_requested_at  INTEGER,
    cancel_reason        TEXT,
    progress             TEXT,

    CHECK ((finished_at IS NULL) = (status IN ('pending', 'running', 'cancelling'))),
    CHECK (held_key IS NULL OR held_key IS key),
    CHECK (held_key IS NULL OR finished_at IS NULL),
    CHECK (held_key IS key OR status NOT IN ('running', 'cancelling')),
    CHECK (error IS NULL OR finished_at IS NOT NULL),
    CHECK (result IS NULL OR status = 'completed')
) STRICT;

CREATE INDEX runs_by_key ON runs (key) WHERE key IS NOT NULL;

-- Active runs by owner, for rescue and for cancel requests of other processes. And an insert that is repeated finds its
-- row, also if somebody has ended that meanwhile: nobody but its owner ends a run that has begun.
CREATE UNIQUE INDEX runs_owned ON runs (manager_id, token) WHERE finished_at IS NULL OR started_at IS NULL;

CREATE TABLE events (
    run_id   INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    attempt  INTEGER NOT NULL,
    ordinal  INTEGER,
    data     TEXT    NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

-- The table of aioruns._lifecycle, guarded where no code can pass it by.
CREATE TRIGGER runs_terminal BEFORE UPDATE ON runs
WHEN OLD.finished_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a run that has ended never changes');
END;

CREATE TRIGGER runs_transition BEFORE UPDATE OF status ON runs
WHEN NEW.status IS NOT OLD.status AND NOT (
    OLD.status = 'pending' AND NEW.status IN ('running', 'cancelled', 'failed', 'interrupted')
    OR OLD.status = 'running' AND NEW.status IN ('completed', 'failed', 'cancelling', 'interrupted', 'pending')
    OR OLD.status = 'cancelling' AND NEW.status IN ('cancelled', 'completed', 'failed', 'interrupted'))
BEGIN
    SELECT RAISE(ABORT, 'this transition of a run is not allowed');
END;

-- Whoever makes a transition appends its event: the same statement does both.
CREATE TRIGGER runs_inserted AFTER INSERT ON runs
BEGIN
    INSERT INTO events (run_id, seq, at, kind, attempt, data)
    VALUES (NEW.id, 1, NEW.created_at, 'status', NEW.attempt, json_object('status', NEW.status));
END;

CREATE TRIGGER runs_changed AFTER UPDATE OF status ON runs
WHEN NEW.status IS NOT OLD.status
BEGIN
    INSERT INTO events (run_id, seq, at, kind, attempt, data)
    VALUES (
        NEW.id,
        1 + coalesce((SELECT max(seq) FROM events WHERE run_id = NEW.id), 0),
        coalesce(NEW.finished_at, NEW.cancel_requested_at, NEW.started_at, NEW.created_at),
        'status',
        NEW.attempt,
        json_patch('{}', json_object('status', NEW.status, 'reason', NEW.cancel_reason, 'error', NEW.error)));
END;

CREATE TRIGGER events_progress AFTER INSERT ON events
WHEN NEW.kind = 'progress'
BEGIN
    UPDATE runs SET progress = NEW.data WHERE id = NEW.run_id;
END;
