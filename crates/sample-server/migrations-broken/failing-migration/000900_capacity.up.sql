-- Broken on purpose: the second statement names a table that is not there. Both run in one
-- transaction, so the first leaves nothing behind.
ALTER TABLE events ADD COLUMN capacity integer;
ALTER TABLE event ADD CONSTRAINT capacity_is_positive CHECK (capacity > 0);
