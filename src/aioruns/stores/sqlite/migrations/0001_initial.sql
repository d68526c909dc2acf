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

-- AUTOINCREMENT: the id of a pruned run is never given to another. In what is checked for every row, alternatives are
-- joined by OR: for `IN (…)` SQLite builds an index each time, which made up a third of what a run cost in here. What
-- may be large comes last: SQLite reads a row from its beginning, as far as it is asked for.
CREATE TABLE runs (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    job                  TEXT    NOT NULL,
    status               TEXT    NOT NULL,
    key                  TEXT,
    held_key             TEXT,
    idempotency_key      TEXT,
    shared               INTEGER NOT NULL CHECK (shared = 0 OR shared = 1),
    manager_id           TEXT    NOT NULL,
    token                INTEGER NOT NULL,
    attempt              INTEGER NOT NULL,
    timeout              REAL,
    triggered_by         TEXT,
    retry_of             INTEGER,
    created_at           INTEGER NOT NULL,
    started_at           INTEGER,
    finished_at          INTEGER,
    cancel_requested_at  INTEGER,
    cancel_reason        TEXT,
    tags                 TEXT    NOT NULL,
    progress             TEXT,
    error                TEXT,
    traceback            TEXT,
    arguments            TEXT,
    result               TEXT,

    CHECK (finished_at IS NOT NULL OR status = 'pending' OR status = 'running' OR status = 'cancelling'),
    CHECK (finished_at IS NULL
        OR status = 'completed' OR status = 'failed' OR status = 'cancelled' OR status = 'interrupted'),
    CHECK (held_key IS NULL OR held_key IS key),
    CHECK (held_key IS NULL OR finished_at IS NULL),
    CHECK (held_key IS key OR (status <> 'running' AND status <> 'cancelling')),
    CHECK (error IS NULL OR finished_at IS NOT NULL),
    CHECK (result IS NULL OR status = 'completed')
) STRICT;

-- A key is exclusive, and a start is made once. Runs without one cost nothing here.
CREATE UNIQUE INDEX runs_held ON runs (held_key) WHERE held_key IS NOT NULL;
CREATE UNIQUE INDEX runs_started_once ON runs (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- For every filter of a list the ids that satisfy it, in order: see queries/list_runs.sql.
CREATE INDEX runs_by_job ON runs (job);
CREATE INDEX runs_by_status ON runs (status);
CREATE INDEX runs_by_key ON runs (key) WHERE key IS NOT NULL;
CREATE INDEX runs_by_trigger ON runs (triggered_by) WHERE triggered_by IS NOT NULL;

-- Active runs by owner, for rescue and for cancel requests of other processes. And an insert that is repeated finds its
-- row, also if somebody has ended that meanwhile: nobody but its owner ends a run that has begun.
CREATE UNIQUE INDEX runs_owned ON runs (manager_id, token) WHERE finished_at IS NULL OR started_at IS NULL;

-- In the order of arrival, and not clustered by run: many runs that speak at once write few pages then.
CREATE TABLE events (
    run_id   INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    attempt  INTEGER NOT NULL,
    ordinal  INTEGER,
    data     TEXT    NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT;

CREATE TABLE run_tags (
    tag     TEXT    NOT NULL,
    run_id  INTEGER NOT NULL,
    PRIMARY KEY (tag, run_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER runs_tagged AFTER INSERT ON runs
WHEN NEW.tags <> '[]'
BEGIN
    INSERT OR IGNORE INTO run_tags (tag, run_id) SELECT value, NEW.id FROM json_each(NEW.tags);
END;

CREATE TRIGGER runs_untagged AFTER DELETE ON runs
WHEN OLD.tags <> '[]'
BEGIN
    DELETE FROM run_tags WHERE run_id = OLD.id AND tag IN (SELECT value FROM json_each(OLD.tags));
END;

-- When the runs of a thousand ids were created: where to look for a time. Ids are nearly in the order of time, but not
-- quite: clocks are set, and starts overtake each other. The last span is open. It costs less than an index on
-- created_at, and serves pages that are in the order of ids.
CREATE TABLE run_spans (
    first_id  INTEGER PRIMARY KEY,
    last_id   INTEGER NOT NULL DEFAULT 9223372036854775807,
    earliest  INTEGER NOT NULL DEFAULT 0,
    latest    INTEGER NOT NULL DEFAULT 9223372036854775807
) STRICT;

INSERT INTO run_spans (first_id) VALUES (1);

CREATE TRIGGER runs_spanned AFTER INSERT ON runs
WHEN NEW.id >= 1000 + (SELECT max(first_id) FROM run_spans)
BEGIN
    UPDATE run_spans SET
        last_id = NEW.id - 1,
        earliest = coalesce((SELECT min(created_at) FROM runs WHERE id BETWEEN first_id AND NEW.id - 1), 0),
        latest = coalesce((SELECT max(created_at) FROM runs WHERE id BETWEEN first_id AND NEW.id - 1), 0)
    WHERE first_id = (SELECT max(first_id) FROM run_spans);
    INSERT INTO run_spans (first_id) VALUES (NEW.id);
END;

-- The table of aioruns._values.status, guarded where no code can pass it by.
CREATE TRIGGER runs_terminal BEFORE UPDATE ON runs
WHEN OLD.finished_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a run that has ended never changes');
END;

CREATE TRIGGER runs_transition BEFORE UPDATE OF status ON runs
WHEN NEW.status IS NOT OLD.status AND NOT (
    NEW.status = 'failed' OR NEW.status = 'interrupted'
    OR OLD.status = 'pending' AND (NEW.status = 'running' OR NEW.status = 'cancelled')
    OR OLD.status = 'running' AND (NEW.status = 'completed' OR NEW.status = 'cancelling' OR NEW.status = 'pending')
    OR OLD.status = 'cancelling' AND (NEW.status = 'cancelled' OR NEW.status = 'completed'))
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
