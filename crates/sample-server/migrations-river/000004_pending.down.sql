-- A value of an enum cannot be taken away again; nobody minds it.
DROP TABLE river_queue;
