-- The extensions stay: they may have been there before.
DROP TABLE events;
DROP TABLE sources;
