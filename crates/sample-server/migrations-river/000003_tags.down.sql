ALTER TABLE river_job DROP COLUMN tags;
