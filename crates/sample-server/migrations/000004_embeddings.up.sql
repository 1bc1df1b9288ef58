ALTER TABLE events ADD COLUMN embedding vector(384);

CREATE INDEX events_embedding ON events USING hnsw (embedding vector_cosine_ops);
