-- Jobs on snapshots. `work` is what was ordered, so that what an interruption left can be found;
-- `swap` is written down before anything of a swap of databases is done.
CREATE TABLE job (
    id    TEXT PRIMARY KEY,
    kind  TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'ended')),
    json  TEXT NOT NULL,
    work  TEXT NOT NULL,
    swap  TEXT
) STRICT;

-- One job at a time; beside a deployment none begins, and none begins beside a restore.
CREATE UNIQUE INDEX one_job_runs ON job (state) WHERE state = 'running';

-- Up to when each job of the schedule was seen to.
CREATE TABLE schedule (
    kind    TEXT PRIMARY KEY,
    seen_to TEXT NOT NULL
) STRICT, WITHOUT ROWID;
