CREATE INDEX river_job_waiting ON river_job (created_at) WHERE state IN ('available', 'pending');
