-- A stand-in for the tables of River, the Togather server's job queue: the names that a server looks
-- for, and what makes its migrations special, in an own and much smaller form.
CREATE TABLE river_migration (
    id         bigserial PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    version    bigint NOT NULL UNIQUE
);
