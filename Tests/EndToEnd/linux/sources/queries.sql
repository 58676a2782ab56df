-- SPDX-License-Identifier: Apache-2.0
-- SPDX-FileCopyrightText: The kvmjob authors
.mode column
.headers on
CREATE TABLE numbers (n INTEGER PRIMARY KEY, square INTEGER, word TEXT);
WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 5000)
INSERT INTO numbers SELECT n, n * n, printf('word-%04d', n * 7919 % 5000) FROM count;
CREATE INDEX by_word ON numbers (word);
SELECT count(*), sum(square), min(word), max(word), avg(n) FROM numbers;
SELECT * FROM numbers WHERE word BETWEEN 'word-0100' AND 'word-0103' ORDER BY word;
BEGIN;
DELETE FROM numbers WHERE n % 2;
SELECT count(*) FROM numbers;
ROLLBACK;
SELECT n % 10 AS digit, count(*) FROM numbers GROUP BY digit HAVING digit > 6;
SELECT json_extract('{"a": [1, 2, {"b": "deep"}]}', '$.a[2].b') AS found, hex(zeroblob(4)), round(2.0 / 3, 4);
SELECT datetime(1000000000, 'unixepoch'), upper('text'), substr('abcdef', 2, 3), 'a' || 'b';
SELECT n, sum(n) OVER (ORDER BY n ROWS 2 PRECEDING) AS running FROM numbers LIMIT 4;
EXPLAIN QUERY PLAN SELECT * FROM numbers WHERE word = 'x';
SELECT * FROM missing;
.quit
