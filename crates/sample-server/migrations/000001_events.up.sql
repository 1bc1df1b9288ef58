CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE sources (
    name      text PRIMARY KEY,
    synced_at timestamptz NOT NULL
);

CREATE TABLE events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    description text,
    starts_at   timestamptz NOT NULL,
    longitude   double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180),
    latitude    double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    source      text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX events_starts_at ON events (starts_at, id);

-- Something to look at on a fresh node. That two evenings share a name is as it should be.
INSERT INTO events (name, description, starts_at, longitude, latitude, source) VALUES
    ('Open mic', 'Every Thursday', '2026-06-04 23:00:00Z', -79.4322, 43.6393, 'sample'),
    ('Open mic', 'Every Thursday', '2026-06-11 23:00:00Z', -79.4322, 43.6393, 'sample'),
    ('Repair café', NULL, '2026-06-13 14:00:00Z', -79.3371, 43.6629, 'sample');
