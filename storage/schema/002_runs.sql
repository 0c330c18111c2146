-- Runs, what became of them, what they measured, and the model versions they made.
-- Append-only: a run's state, handle and data hash are the newest event of that name.

CREATE TABLE run (
    run_id VARCHAR PRIMARY KEY,
    number INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    campaign_id BIGINT,
    directory VARCHAR NOT NULL,      -- relative to the data folder
    options VARCHAR NOT NULL,        -- JSON
    created TIMESTAMPTZ NOT NULL,
    created_by BIGINT
);

CREATE TABLE run_event (
    run_id VARCHAR NOT NULL,
    position INTEGER NOT NULL,       -- 0, 1, 2 … within the run
    name VARCHAR NOT NULL CHECK (name IN ('state', 'handle', 'data_hash')),
    value VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    created TIMESTAMPTZ NOT NULL
);

-- One row per line of metrics.jsonl. batch_end is the byte offset in the file after the lines taken in together.
CREATE TABLE run_metric (
    run_id VARCHAR NOT NULL,
    batch_end BIGINT NOT NULL,
    position INTEGER NOT NULL,
    line VARCHAR NOT NULL            -- JSON as the job wrote it; may hold NaN, so not of type JSON
);

-- Closed pieces of a generate run whose completions and tasks are in.
CREATE TABLE run_piece (
    run_id VARCHAR NOT NULL,
    piece VARCHAR NOT NULL,
    completions INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    created TIMESTAMPTZ NOT NULL
);

CREATE TABLE model_version (
    name VARCHAR PRIMARY KEY,
    role VARCHAR NOT NULL CHECK (role IN ('policy', 'reward')),
    path VARCHAR NOT NULL,
    parent VARCHAR,
    run_id VARCHAR,
    data_hash VARCHAR,
    metrics VARCHAR NOT NULL,        -- JSON
    created TIMESTAMPTZ NOT NULL
);
