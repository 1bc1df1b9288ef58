ALTER TABLE river_migration DROP CONSTRAINT river_migration_pkey;
ALTER TABLE river_migration DROP COLUMN line;
ALTER TABLE river_migration ADD UNIQUE (version);
ALTER TABLE river_migration ADD COLUMN id bigserial PRIMARY KEY;
