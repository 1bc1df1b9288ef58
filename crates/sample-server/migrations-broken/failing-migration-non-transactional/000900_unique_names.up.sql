-- Broken on purpose: two events share a name since the first migration. It runs outside a
-- transaction, so it leaves an invalid index behind.
CREATE UNIQUE INDEX CONCURRENTLY events_name_unique ON events (name);
