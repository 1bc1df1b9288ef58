-- The sixth uses the new value: PostgreSQL wants it committed before.
ALTER TYPE river_job_state ADD VALUE IF NOT EXISTS 'pending';

CREATE TABLE river_queue (
    name       text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);
