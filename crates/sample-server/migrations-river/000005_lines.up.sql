-- The bookkeeping in its second layout, with what was kept in the first.
ALTER TABLE river_migration DROP COLUMN id;
ALTER TABLE river_migration DROP CONSTRAINT river_migration_version_key;
ALTER TABLE river_migration ADD COLUMN line text NOT NULL DEFAULT 'main';
ALTER TABLE river_migration ALTER COLUMN line DROP DEFAULT;
ALTER TABLE river_migration ADD PRIMARY KEY (line, version);
