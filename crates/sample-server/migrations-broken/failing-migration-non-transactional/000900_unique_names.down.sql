DROP INDEX CONCURRENTLY events_name_unique;
