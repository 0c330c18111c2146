-- What people say of a run beside its states: a note, tags, a place in the queue, and that its files are gone.

CREATE TABLE run_mark (
    run_id VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    name VARCHAR NOT NULL,                  -- note, tags (JSON list), priority, deleted (the reason)
    value VARCHAR NOT NULL,
    marked_by VARCHAR,
    created TIMESTAMPTZ NOT NULL
);

CREATE VIEW run_mark_now AS
SELECT run_id, arg_max(value, seq) FILTER (name = 'note') AS note, arg_max(value, seq) FILTER (name = 'tags') AS tags,
    (arg_max(value, seq) FILTER (name = 'priority'))::DOUBLE AS priority,
    arg_max(value, seq) FILTER (name = 'deleted') AS deleted
FROM run_mark GROUP BY run_id;
