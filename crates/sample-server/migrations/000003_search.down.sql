DROP INDEX CONCURRENTLY events_name_trgm;
