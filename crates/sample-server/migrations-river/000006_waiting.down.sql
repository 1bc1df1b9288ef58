DROP INDEX river_job_waiting;
