// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// The tables of kept jobs.
enum Schema {
    /// Marks the file as ours: "kvmj".
    static let application: Int64 = 0x6B76_6D6A

    /// One step from each version of the tables to the next, the first from an empty file. A release adds steps and changes none.
    static let steps = [first]

    /// The version of the tables that this release writes.
    static var version: Int64 { Int64(steps.count) }

    /// Users are their number, -1 where the kernel cannot name them; times are seconds since 1970; states and outcomes are those of
    /// the wire. What a user's jobs take is counted by triggers, so that no change can forget it.
    private static let first = """
        CREATE TABLE worker (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            highest_id INTEGER NOT NULL,  -- the largest number that a job ever had
            starts INTEGER NOT NULL       -- how often the database was opened
        ) STRICT;
        INSERT INTO worker VALUES (1, 0, 0);

        CREATE TABLE tenant (
            user INTEGER PRIMARY KEY,
            jobs INTEGER NOT NULL DEFAULT 0,
            waiting INTEGER NOT NULL DEFAULT 0,
            unfinished INTEGER NOT NULL DEFAULT 0,  -- those waiting and those running
            bytes INTEGER NOT NULL DEFAULT 0,       -- of jobs and blobs
            ended_bytes INTEGER NOT NULL DEFAULT 0  -- of these, what forgetting ended jobs gives back
        ) STRICT;

        CREATE TABLE job (
            id INTEGER PRIMARY KEY,
            user INTEGER NOT NULL,
            state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
            priority INTEGER NOT NULL,
            run INTEGER NOT NULL DEFAULT 0,
            cuts INTEGER NOT NULL DEFAULT 0,  -- runs that the worker's end cut short
            title TEXT NOT NULL,
            key TEXT,
            submission_digest BLOB NOT NULL,
            accepted_at INTEGER NOT NULL,
            ended_at INTEGER,
            outcome INTEGER,
            output_bytes INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL  -- of its content and output
        ) STRICT;
        CREATE UNIQUE INDEX job_by_key ON job (user, key) WHERE key IS NOT NULL;
        CREATE INDEX job_by_user ON job (user, id);
        CREATE INDEX waiting_job ON job (user, priority DESC, id) WHERE state = 1;
        CREATE INDEX running_job ON job (id) WHERE state = 2;
        CREATE INDEX ended_job ON job (user, ended_at, id) WHERE state = 3;
        CREATE INDEX ended_job_of_all ON job (ended_at) WHERE state = 3;

        -- What is large, apart from what is listed. An ended job has only its result.
        CREATE TABLE content (
            job INTEGER PRIMARY KEY REFERENCES job ON DELETE CASCADE,
            submission BLOB NOT NULL,
            input BLOB NOT NULL,
            result BLOB NOT NULL
        ) STRICT;

        -- Images and layers, once for each user who has a job to run with them.
        CREATE TABLE blob (
            id INTEGER PRIMARY KEY,
            user INTEGER NOT NULL,
            digest BLOB NOT NULL,
            size INTEGER NOT NULL,
            bytes BLOB NOT NULL,
            UNIQUE (user, digest)
        ) STRICT;
        CREATE TABLE job_blob (
            job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
            position INTEGER NOT NULL,
            blob INTEGER NOT NULL REFERENCES blob,
            PRIMARY KEY (job, position)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX job_blob_by_blob ON job_blob (blob);

        CREATE TABLE output (
            job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
            sequence INTEGER NOT NULL,
            channel INTEGER NOT NULL,
            start INTEGER NOT NULL,  -- bytes of the channel before it
            bytes BLOB NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX output_of_job ON output (job, sequence);

        CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
            INSERT INTO tenant (user) VALUES (NEW.user) ON CONFLICT DO NOTHING;
            UPDATE tenant SET jobs = jobs + 1, waiting = waiting + 1, unfinished = unfinished + 1, bytes = bytes + NEW.bytes
                WHERE user = NEW.user;
        END;
        CREATE TRIGGER job_changed AFTER UPDATE OF state, bytes ON job BEGIN
            UPDATE tenant SET
                waiting = waiting + (NEW.state = 1) - (OLD.state = 1),
                unfinished = unfinished + (NEW.state < 3) - (OLD.state < 3),
                bytes = bytes + NEW.bytes - OLD.bytes,
                ended_bytes = ended_bytes + (NEW.state = 3) * NEW.bytes - (OLD.state = 3) * OLD.bytes
                WHERE user = NEW.user;
        END;
        CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN
            UPDATE tenant SET
                jobs = jobs - 1,
                waiting = waiting - (OLD.state = 1),
                unfinished = unfinished - (OLD.state < 3),
                bytes = bytes - OLD.bytes,
                ended_bytes = ended_bytes - (OLD.state = 3) * OLD.bytes
                WHERE user = OLD.user;
        END;
        CREATE TRIGGER blob_added AFTER INSERT ON blob BEGIN
            INSERT INTO tenant (user) VALUES (NEW.user) ON CONFLICT DO NOTHING;
            UPDATE tenant SET bytes = bytes + NEW.size WHERE user = NEW.user;
        END;
        CREATE TRIGGER blob_removed AFTER DELETE ON blob BEGIN
            UPDATE tenant SET bytes = bytes - OLD.size WHERE user = OLD.user;
        END;
        CREATE TRIGGER blob_let_go AFTER DELETE ON job_blob BEGIN
            DELETE FROM blob WHERE id = OLD.blob AND NOT EXISTS (SELECT 1 FROM job_blob WHERE blob = OLD.blob);
        END;
        """
}
