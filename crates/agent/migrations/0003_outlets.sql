-- One journal for everything that happens: deployments, jobs on snapshots, and what becomes of
-- snapshots besides. `number` is the order in which it was written.
CREATE TABLE journal (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL,
    sequence  INTEGER NOT NULL,
    name      TEXT NOT NULL,
    json      TEXT NOT NULL,
    UNIQUE (operation, sequence)
) STRICT;

INSERT INTO journal (operation, sequence, name, json)
SELECT event.operation, sequence, event.json ->> '$.event', event.json
FROM event JOIN operation ON operation.id = event.operation
ORDER BY operation.rowid, sequence;

DROP TABLE event;
ALTER TABLE journal RENAME TO event;
CREATE INDEX snapshot_events ON event (number) WHERE name GLOB 'snapshot.*';

-- How often what ended how, since this node began: what is forgotten elsewhere is still counted here.
CREATE TABLE tally (
    what   TEXT NOT NULL,
    ending TEXT NOT NULL,
    times  INTEGER NOT NULL,
    PRIMARY KEY (what, ending)
) STRICT, WITHOUT ROWID;

INSERT INTO tally (what, ending, times)
SELECT json ->> '$.kind', state, count(*) FROM operation WHERE state <> 'running' GROUP BY 1, 2;

INSERT INTO tally (what, ending, times)
SELECT kind, CASE json ->> '$.failure.kind'
    WHEN 'stuck' THEN 'stuck' WHEN 'held' THEN 'skipped' ELSE iif(json ->> '$.failure' IS NULL, 'done', 'failed')
END, count(*) FROM job WHERE state = 'ended' GROUP BY 1, 2;

-- A restore that could not be taken back, until something settles it.
ALTER TABLE job ADD COLUMN stuck INTEGER NOT NULL DEFAULT 0;

-- What was last seen in the snapshot store, and what kind of store that is.
CREATE TABLE seen (
    what TEXT PRIMARY KEY,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
