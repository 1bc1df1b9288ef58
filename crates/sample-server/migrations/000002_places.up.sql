-- The database computes it, so a version of the server that knows nothing of places writes on.
ALTER TABLE events ADD COLUMN place geography(Point, 4326)
    GENERATED ALWAYS AS (ST_SetSRID(ST_MakePoint(longitude, latitude), 4326)::geography) STORED;

CREATE INDEX events_place ON events USING gist (place);
