ALTER TABLE events DROP COLUMN embedding;
