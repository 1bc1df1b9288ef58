-- Images that were fetched ahead of a deployment: none of them is tidied away before then, or before
-- the rollout that they were fetched for has ended.
CREATE TABLE kept_image (
    reference TEXT PRIMARY KEY,
    release   TEXT NOT NULL,
    json      TEXT NOT NULL,
    until     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
