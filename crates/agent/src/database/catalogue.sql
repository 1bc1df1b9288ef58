-- What the database is made of, a row an object: kind, name, shape, wording.
--
-- The shape of an object is the same to the letter in a restored copy. Its wording need not be:
-- PostgreSQL stores expressions as trees and may print the tree of a copy differently (an IN list over
-- varchar is the best-known case), so only one and the same database may be compared by it.
--
-- What belongs to an extension is the extension's business, and the bookkeeping of migrations is not
-- part of the schema. The search path must be empty but for pg_catalog, so that names come qualified.
WITH spaces AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), members AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relations AS (
    SELECT c.*, s.nspname || '.' || c.relname AS name
    FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S')
      AND c.relname <> 'schema_migrations'
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
)
SELECT 'schema' AS kind, s.nspname::text AS name, '' AS shape, '' AS wording
FROM spaces s
WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = s.oid)

UNION ALL
SELECT 'extension', extname, '', extversion FROM pg_extension

UNION ALL
SELECT CASE r.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'composite type'
            ELSE 'sequence' END,
       r.name,
       concat_ws(' ', r.relpersistence, r.relrowsecurity, r.relforcerowsecurity, r.relispartition,
                 (SELECT 'of ' || string_agg(i.inhparent::regclass::text || CASE WHEN i.inhdetachpending THEN ' (detaching)' ELSE '' END, ', ' ORDER BY i.inhseqno)
                  FROM pg_inherits i WHERE i.inhrelid = r.oid),
                 (SELECT concat_ws(' ', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcycle)
                  FROM pg_sequence q WHERE q.seqrelid = r.oid)),
       concat_ws(' ', CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END,
                 pg_get_expr(r.relpartbound, r.oid), pg_get_partkeydef(r.oid), r.reloptions::text)
FROM relations r

UNION ALL
SELECT 'column', r.name || '.' || a.attname,
       -- A column that was added to a parent comes after a child's own ones, but before them in a copy.
       concat_ws(' ', CASE WHEN a.attinhcount = 0 OR r.relispartition
                      THEN row_number() OVER (PARTITION BY r.oid, a.attinhcount = 0 OR r.relispartition ORDER BY a.attnum) END,
                 format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                 (SELECT c.collname FROM pg_collation c WHERE c.oid = a.attcollation)),
       coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM relations r
JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.relkind <> 'S'

UNION ALL
SELECT CASE WHEN i.indisvalid THEN 'index' ELSE 'invalid index' END, r.name || '.' || c.relname,
       concat_ws(' ', am.amname, i.indisunique, i.indisprimary, i.indisready, i.indnkeyatts,
                 (SELECT string_agg(coalesce(a.attname, '(expression)'), ', ' ORDER BY k.place)
                  FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0),
                 (SELECT string_agg(o.opcname, ', ' ORDER BY k.place)
                  FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS k (class, place)
                  JOIN pg_opclass o ON o.oid = k.class)),
       pg_get_indexdef(i.indexrelid)
FROM relations r
JOIN pg_index i ON i.indrelid = r.oid
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam

UNION ALL
SELECT 'constraint', coalesce(r.name, s.nspname || '.' || t.typname) || '.' || k.conname,
       concat_ws(' ', k.contype, k.convalidated, k.condeferrable, k.condeferred,
                 nullif(k.confrelid, 0)::regclass::text,
                 (SELECT string_agg(a.attname, ', ' ORDER BY c.place)
                  FROM unnest(k.conkey) WITH ORDINALITY AS c (attnum, place)
                  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.attnum)),
       pg_get_constraintdef(k.oid)
FROM pg_constraint k
LEFT JOIN relations r ON r.oid = k.conrelid
LEFT JOIN pg_type t ON t.oid = k.contypid AND t.typnamespace IN (SELECT oid FROM spaces)
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
LEFT JOIN spaces s ON s.oid = t.typnamespace
-- Newer versions hold NOT NULL as constraints as well; it is told with the column and the domain.
-- The keys of partitions that come with those of their tables are numbered as they were made, so a
-- copy names them otherwise.
WHERE (r.oid IS NOT NULL OR t.oid IS NOT NULL) AND k.contype <> 'n'
      AND (k.contype <> 'f' OR k.conparentid = 0)

UNION ALL
SELECT 'trigger', r.name || '.' || g.tgname,
       concat_ws(' ', g.tgenabled, g.tgtype, g.tgfoid::regproc),
       pg_get_triggerdef(g.oid)
FROM relations r JOIN pg_trigger g ON g.tgrelid = r.oid AND NOT g.tgisinternal

UNION ALL
SELECT 'rule', r.name || '.' || w.rulename, concat_ws(' ', w.ev_type, w.ev_enabled), pg_get_ruledef(w.oid)
FROM relations r JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'

UNION ALL
SELECT 'policy', r.name || '.' || p.polname,
       concat_ws(' ', p.polcmd, p.polpermissive),
       concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), p.polroles::regrole[]::text)
FROM relations r JOIN pg_policy p ON p.polrelid = r.oid

UNION ALL
SELECT 'statistics', s.nspname || '.' || x.stxname, x.stxkind::text, pg_get_statisticsobjdef(x.oid)
FROM pg_statistic_ext x JOIN spaces s ON s.oid = x.stxnamespace

UNION ALL
SELECT 'function', s.nspname || '.' || f.proname || '(' || pg_get_function_identity_arguments(f.oid) || ')',
       concat_ws(' ', f.prokind, l.lanname, f.provolatile, f.proisstrict, f.prosecdef, f.proparallel,
                 pg_get_function_result(f.oid), f.proconfig::text, md5(f.prosrc)),
       CASE WHEN f.prokind IN ('f', 'p') THEN md5(pg_get_functiondef(f.oid)) ELSE '' END
FROM pg_proc f
JOIN spaces s ON s.oid = f.pronamespace
JOIN pg_language l ON l.oid = f.prolang
WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_proc'::regclass AND m.objid = f.oid)

UNION ALL
SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'range' END,
       s.nspname || '.' || t.typname,
       concat_ws(' ', t.typnotnull, CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
                 (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                  FROM pg_enum e WHERE e.enumtypid = t.oid)),
       coalesce(t.typdefault, '')
FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r')
  AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)

UNION ALL
SELECT 'event trigger', e.evtname, concat_ws(' ', e.evtevent, e.evtenabled, e.evtfoid::regproc), e.evttags::text
FROM pg_event_trigger e
WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_event_trigger'::regclass AND m.objid = e.oid)
