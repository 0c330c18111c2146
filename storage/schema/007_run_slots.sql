-- The device set that a run got; one row each time it started.
CREATE TABLE run_slot (
    run_id VARCHAR NOT NULL,
    slot VARCHAR NOT NULL,
    created TIMESTAMPTZ NOT NULL
);
