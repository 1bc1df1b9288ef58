CREATE TYPE river_job_state AS ENUM ('available', 'running', 'completed', 'discarded');

CREATE TABLE river_job (
    id         bigserial PRIMARY KEY,
    kind       text NOT NULL,
    args       jsonb,
    state      river_job_state NOT NULL DEFAULT 'available',
    created_at timestamptz NOT NULL DEFAULT now()
);
