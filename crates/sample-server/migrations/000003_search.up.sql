-- For a large table: it is built while the table is written to. It cannot run in a transaction, so
-- it is alone in its file.
CREATE INDEX CONCURRENTLY events_name_trgm ON events USING gin (name gin_trgm_ops);
