"""The tables of the ledger in PostgreSQL, for all studies of a database. They are only ever added to: triggers refuse the rest."""

from __future__ import annotations

VERSION = 1
"""Raise it when the tables change; an older Bakeoff then refuses the database, with the reason."""

CREATE = f"""
CREATE SCHEMA IF NOT EXISTS bakeoff;

CREATE TABLE bakeoff.format (version integer NOT NULL);
INSERT INTO bakeoff.format VALUES ({VERSION});

CREATE TABLE bakeoff.studies (
    study   text PRIMARY KEY,
    last    bigint NOT NULL DEFAULT 0,   -- number of the newest record; the row is locked while one is added: no gaps
    created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE bakeoff.records (
    study  text NOT NULL REFERENCES bakeoff.studies,
    number bigint NOT NULL,              -- order of appending within the study, from 1
    digest bytea NOT NULL,               -- BLAKE2b over number, head, text and blob
    head   bytea NOT NULL,               -- JSON: type, name or key, data fingerprint
    text   bytea NOT NULL,               -- JSON: the step's result or the document
    blob   bytea NOT NULL,               -- arrays, NumPy's npz
    token  bytea NOT NULL,               -- of one call of append: the same call never adds twice
    added  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (study, number),
    UNIQUE (study, token)
);
ALTER TABLE bakeoff.records ALTER COLUMN blob SET STORAGE EXTERNAL;  -- npz is compressed already

CREATE UNLOGGED TABLE bakeoff.running (  -- marks of steps at work: no evidence, need not survive anything
    study   text NOT NULL,
    key     text NOT NULL,
    session bigint NOT NULL,             -- an advisory lock that the owner's connection holds: gone with it
    host    text NOT NULL,
    pid     bigint NOT NULL,
    started double precision NOT NULL,
    PRIMARY KEY (study, key)
);

CREATE FUNCTION bakeoff.only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the evidence ledger is only added to';
END $$;
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE ON bakeoff.records
    FOR EACH ROW EXECUTE FUNCTION bakeoff.only_added_to();
CREATE TRIGGER not_emptied BEFORE TRUNCATE ON bakeoff.records
    FOR EACH STATEMENT EXECUTE FUNCTION bakeoff.only_added_to();

CREATE FUNCTION bakeoff.readable(text bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN  -- numbers that JSON does not have are written as such; null here
    RETURN regexp_replace(convert_from(text, 'UTF8'), '([:,\\[]\\s*)(NaN|-?Infinity)', '\\1null', 'g')::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;
CREATE VIEW bakeoff.steps AS SELECT
    study, number, head->>'key' AS key, j->>'candidate' AS candidate, j->>'name' AS name, j->>'purpose' AS purpose,
    j->>'status' AS status, j->'failure'->>'reason' AS reason, (j->>'wall_seconds')::double precision AS wall_seconds,
    j->'measurements' AS measurements, j->>'created' AS created
FROM (SELECT study, number, bakeoff.readable(head) AS head, bakeoff.readable(text) AS j FROM bakeoff.records) AS r
WHERE head->>'type' = 'step';
"""  # noqa: S608 - a constant

CREATING = 0x62616B656F6666
"""Advisory lock under which the tables are made, so that two machines may start at once."""

VERSION_OF = "SELECT version FROM bakeoff.format"
THERE = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'format' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'bakeoff'))"
"""Reads the catalogue itself: ``to_regclass`` answers from a cache that may not know yet what another session has just made."""
STUDY = "SELECT last FROM bakeoff.studies WHERE study = %s"
STUDIES = "SELECT study, last FROM bakeoff.studies ORDER BY study"
WENT_BACK = (
    "SELECT coalesce((SELECT last FROM bakeoff.studies WHERE study = %s), 0), "
    "(SELECT digest FROM bakeoff.records WHERE study = %s AND number = %s)"
)
"""The newest number, and the digest of the record that was the newest when somebody last looked."""
BEGIN_STUDY = "INSERT INTO bakeoff.studies (study) VALUES (%s) ON CONFLICT DO NOTHING"

NEXT = "UPDATE bakeoff.studies SET last = last + %s WHERE study = %s RETURNING last"
ADDED = "SELECT number FROM bakeoff.records WHERE study = %s AND token = %b"
ADD = "INSERT INTO bakeoff.records (study, number, digest, head, text, blob, token) VALUES (%s, %s, %b, %b, %b, %b, %b)"
SINCE = "SELECT number, digest, head, text, blob FROM bakeoff.records WHERE study = %s AND number > %s ORDER BY number"

MARK = (
    "INSERT INTO bakeoff.running (study, key, session, host, pid, started) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (study, key) DO UPDATE SET session = EXCLUDED.session, host = EXCLUDED.host, pid = EXCLUDED.pid, "
    "started = EXCLUDED.started"
)
UNMARK = "DELETE FROM bakeoff.running WHERE study = %s AND key = %s"
_HELD = (
    "locktype = 'advisory' AND granted AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND ((classid::bigint << 32) | objid::bigint)"
)
_ALIVE = f"EXISTS (SELECT FROM pg_locks WHERE {_HELD} = running.session)"
MARKS = f"SELECT key, pid, started, host FROM bakeoff.running WHERE study = %s AND {_ALIVE} ORDER BY key"  # noqa: S608 - constants, here and below
SWEEP = f"DELETE FROM bakeoff.running WHERE study = %s AND NOT {_ALIVE}"  # noqa: S608

TRY_HOLD = "SELECT pg_try_advisory_lock(%s)"
LET_GO = "SELECT pg_advisory_unlock(%s)"
HOLDER = f"SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE {_HELD} = %s"  # noqa: S608
END_GHOST = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND application_name = %s AND usename = current_user"
