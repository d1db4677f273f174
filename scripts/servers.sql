-- SPDX-License-Identifier: MIT
-- Queries whose answers are always the same, for scripts/servers.sh: they are asked of a server with
-- the preload shim and of one without it, and what psql prints is compared. Buffers, locks, processes
-- that help one another, transactions and errors: what goes through shared memory.
\set VERBOSITY terse
\set ON_ERROR_STOP off
SET client_min_messages = warning;

-- Tables larger than a part of the buffers, read and written in many ways.
CREATE TABLE items (id int PRIMARY KEY, kind int NOT NULL, name text, at timestamptz, price numeric);
INSERT INTO items SELECT i, i % 17, md5(i::text), timestamptz '2020-01-01 00:00:00+00' + i * interval '1 minute', i * 1.5
	FROM generate_series(1, 20000) i;
CREATE INDEX items_kind ON items (kind, price);
CREATE INDEX items_name ON items USING hash (name);
ANALYZE items;
SELECT count(*), sum(price), min(name), max(name) FROM items;
SELECT kind, count(*), avg(price)::numeric(12, 3) FROM items GROUP BY kind ORDER BY kind;
SELECT id, name FROM items WHERE name = md5('12345');
SELECT id, price FROM items WHERE kind = 3 ORDER BY price DESC LIMIT 10;
UPDATE items SET price = price + 1 WHERE id % 3 = 0;
DELETE FROM items WHERE id % 10 = 7;
VACUUM (ANALYZE) items;
SELECT count(*), sum(price) FROM items;
CLUSTER items USING items_kind;
REINDEX TABLE items;
SELECT count(*), sum(price), sum(hashtext(name)) FROM items;
CHECKPOINT;

-- Workers that help.
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), sum(price), max(at) FROM items;
SELECT a.kind, count(*) FROM items a JOIN items b ON a.id = b.id + 1 WHERE a.price > b.price GROUP BY a.kind ORDER BY 1;
SELECT percentile_disc(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY price) FROM items;
SET enable_hashjoin = off;
SELECT count(*) FROM items a JOIN items b USING (name);
CREATE INDEX items_at ON items (at);
SELECT count(*) FROM items WHERE at < timestamptz '2020-01-05 00:00:00+00';
RESET ALL;
SET client_min_messages = warning;

-- Transactions, savepoints, locks.
BEGIN;
UPDATE items SET kind = 99 WHERE id < 100;
SAVEPOINT one;
DELETE FROM items;
SELECT count(*) FROM items;
ROLLBACK TO one;
SELECT count(*) FROM items WHERE kind = 99;
ROLLBACK;
SELECT count(*) FROM items WHERE kind = 99;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT sum(price) FROM items WHERE kind = 1;
INSERT INTO items VALUES (100001, 1, 'new', NULL, 0);
COMMIT;
BEGIN;
INSERT INTO items VALUES (100002, 2, 'prepared', NULL, 0);
PREPARE TRANSACTION 'later';
SELECT count(*) FROM items WHERE id > 100000;
SELECT gid, database FROM pg_prepared_xacts;
COMMIT PREPARED 'later';
SELECT count(*) FROM items WHERE id > 100000;
SELECT pg_advisory_lock(42), pg_try_advisory_lock(42), pg_advisory_unlock(42), pg_advisory_unlock(42), pg_advisory_unlock(42);
SELECT locktype, mode, granted FROM pg_locks WHERE locktype = 'advisory';
BEGIN;
LOCK TABLE items IN ACCESS EXCLUSIVE MODE;
SELECT count(*) FROM pg_locks l JOIN pg_class c ON l.relation = c.oid WHERE c.relname = 'items' AND mode = 'AccessExclusiveLock';
COMMIT;
LISTEN news;
NOTIFY news;
SELECT pg_notification_queue_usage();
UNLISTEN *;

-- Errors are answers, too.
INSERT INTO items VALUES (1, 1, 'there already', NULL, 0);
SELECT 1 / 0;
SELECT * FROM no_such_table;
INSERT INTO items (id) VALUES (200000);
SELECT 'x'::int;
BEGIN;
SELECT nothing;
SELECT 1;
ROLLBACK;

-- Sequences, cursors, functions, triggers, temporary tables.
CREATE SEQUENCE numbers CACHE 10;
SELECT nextval('numbers'), nextval('numbers'), setval('numbers', 100), nextval('numbers');
BEGIN;
DECLARE walk CURSOR FOR SELECT id, kind FROM items ORDER BY id;
FETCH 3 FROM walk;
MOVE 1000 IN walk;
FETCH 2 FROM walk;
CLOSE walk;
COMMIT;
CREATE FUNCTION collatz(n bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE steps int := 0;
BEGIN
	WHILE n > 1 LOOP
		n := CASE WHEN n % 2 = 0 THEN n / 2 ELSE 3 * n + 1 END;
		steps := steps + 1;
	END LOOP;
	RETURN steps;
END $$;
SELECT i, collatz(i) FROM generate_series(1, 30) i;
CREATE TABLE history (what text, id int);
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO history VALUES (TG_OP, coalesce(NEW.id, OLD.id));
	RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER remember BEFORE INSERT OR UPDATE OR DELETE ON items FOR EACH ROW EXECUTE FUNCTION remember();
UPDATE items SET name = name || '!' WHERE id IN (1, 2, 3);
DELETE FROM items WHERE id = 4;
SELECT * FROM history ORDER BY id;
CREATE TEMP TABLE scratch AS SELECT id, price FROM items WHERE kind < 5;
SELECT count(*), sum(price) FROM scratch;
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 1000) SELECT sum(n) FROM t;
SELECT kind, id, rank() OVER (PARTITION BY kind ORDER BY price) FROM items WHERE id < 60 ORDER BY 1, 3, 2;

-- What Debian ships with it: other kinds of index, extensions.
CREATE TABLE documents (id int, body jsonb, words tsvector, area box);
INSERT INTO documents SELECT i, jsonb_build_object('n', i, 'even', i % 2 = 0, 'tags', ARRAY['t' || i % 5, 't' || i % 7]),
	to_tsvector('simple', 'word' || i % 11 || ' word' || i % 13), box(point(i % 50, i / 50), point(i % 50 + 2, i / 50 + 2))
	FROM generate_series(1, 3000) i;
CREATE INDEX ON documents USING gin (body);
CREATE INDEX ON documents USING gin (words);
CREATE INDEX ON documents USING gist (area);
CREATE INDEX ON documents USING brin (id);
SET enable_seqscan = off;
SELECT count(*) FROM documents WHERE body @> '{"tags": ["t3"], "even": true}';
SELECT count(*) FROM documents WHERE words @@ 'word3 & word4'::tsquery;
SELECT count(*) FROM documents WHERE area && box(point(10, 10), point(12, 12));
SELECT sum(id) FROM documents WHERE id BETWEEN 100 AND 200;
RESET enable_seqscan;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION hstore;
CREATE EXTENSION btree_gist;
CREATE EXTENSION pgcrypto;
CREATE EXTENSION tablefunc;
CREATE EXTENSION amcheck;
SELECT similarity('page table', 'page tables'), 'a=>1, b=>2'::hstore -> 'b', encode(digest('mshare', 'sha256'), 'hex');
SELECT * FROM crosstab('SELECT kind, id % 3, count(*) FROM items WHERE kind < 4 GROUP BY 1, 2 ORDER BY 1, 2') AS c(kind int, a bigint, b bigint, c bigint);
SELECT c.relname, bt_index_check(c.oid) FROM pg_class c JOIN pg_am m ON c.relam = m.oid
	WHERE m.amname = 'btree' AND c.relname LIKE 'items%' ORDER BY 1;
SELECT count(*) FROM verify_heapam('items');
\copy (SELECT id, kind, name FROM items WHERE id < 20 ORDER BY id) TO STDOUT
DROP TABLE items, history, documents CASCADE;
SELECT relname FROM pg_class WHERE relname LIKE 'items%';
