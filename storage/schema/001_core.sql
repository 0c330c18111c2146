-- People, campaigns, prompts, completions, tasks, assignments and answers.
--
-- Every table is append-only: a change is a new row, and the row with the highest seq holds.
-- No foreign keys, no secondary indexes, no triggers; the one writer checks before it inserts, and the
-- primary key of `answer` is the last guard against storing a submission twice.

CREATE TABLE person (
    person_id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    name_key VARCHAR NOT NULL,              -- the name without case: what is unique
    kind VARCHAR NOT NULL,                  -- person, simulated, imported
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE person_role (person_id INTEGER NOT NULL, seq BIGINT NOT NULL, role VARCHAR NOT NULL, created TIMESTAMPTZ NOT NULL);
CREATE TABLE person_password (person_id INTEGER NOT NULL, seq BIGINT NOT NULL, hash VARCHAR NOT NULL, created TIMESTAMPTZ NOT NULL);
CREATE TABLE person_signout (person_id INTEGER NOT NULL, created TIMESTAMPTZ NOT NULL);

CREATE TABLE invitation (
    token_hash VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    campaign_id INTEGER,
    created_by INTEGER,
    uses INTEGER NOT NULL,
    expires TIMESTAMPTZ NOT NULL,
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE invitation_use (token_hash VARCHAR NOT NULL, person_id INTEGER NOT NULL, created TIMESTAMPTZ NOT NULL);

CREATE TABLE api_key (
    key_id INTEGER NOT NULL,
    person_id INTEGER NOT NULL,
    label VARCHAR NOT NULL,
    key_hash VARCHAR NOT NULL,
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE api_key_revocation (key_id INTEGER NOT NULL, created TIMESTAMPTZ NOT NULL);

CREATE TABLE campaign (                     -- one row per edit; guidelines of every version stay readable
    campaign_id INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    name VARCHAR NOT NULL,
    criterion VARCHAR NOT NULL,
    guidelines VARCHAR NOT NULL,
    guidelines_version INTEGER NOT NULL,
    k INTEGER NOT NULL,
    overlap INTEGER NOT NULL,
    state VARCHAR NOT NULL,                 -- open, paused, closed
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE policy_change (
    campaign_id INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    version_name VARCHAR NOT NULL,
    changed_by VARCHAR,
    reason VARCHAR NOT NULL,
    created TIMESTAMPTZ NOT NULL
);

CREATE TABLE prompt (
    prompt_id VARCHAR NOT NULL,
    messages VARCHAR NOT NULL,              -- JSON list of {role, content}
    messages_hash VARCHAR NOT NULL,         -- of the normalised messages: equal messages share one split
    split VARCHAR NOT NULL,
    tags VARCHAR[] NOT NULL,
    metadata VARCHAR NOT NULL,              -- JSON object
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE campaign_prompt (campaign_id INTEGER NOT NULL, prompt_id VARCHAR NOT NULL, position BIGINT NOT NULL);
CREATE TABLE completion (
    completion_id BIGINT NOT NULL,
    prompt_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    settings VARCHAR NOT NULL,              -- JSON object
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE demonstration (
    demonstration_id BIGINT NOT NULL,
    campaign_id INTEGER NOT NULL,
    prompt_id VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    created TIMESTAMPTZ NOT NULL
);

CREATE TABLE task (
    task_id BIGINT NOT NULL,
    campaign_id INTEGER NOT NULL,
    prompt_id VARCHAR NOT NULL,
    completion_ids BIGINT[] NOT NULL CHECK (len(completion_ids) BETWEEN 2 AND 9),
    overlap INTEGER NOT NULL,
    priority DOUBLE NOT NULL,
    purpose VARCHAR NOT NULL,
    run_id VARCHAR,
    content_hash VARCHAR NOT NULL,          -- of prompt id, models and texts: a journal line finds its own task by it
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE task_priority (task_id BIGINT NOT NULL, seq BIGINT NOT NULL, priority DOUBLE NOT NULL);

CREATE TABLE assignment_event (
    assignment_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,                  -- claim, renew, release
    task_id BIGINT NOT NULL,
    campaign_id INTEGER NOT NULL,
    person_id INTEGER NOT NULL,
    shown BIGINT[] NOT NULL,
    started TIMESTAMPTZ NOT NULL,
    expires TIMESTAMPTZ NOT NULL            -- of a release: the moment of the release
);

CREATE TABLE answer (
    submission_id VARCHAR PRIMARY KEY,
    seq BIGINT NOT NULL,                    -- the training watermark; shared with answer_exclusion
    task_id BIGINT NOT NULL,
    campaign_id INTEGER NOT NULL,
    person_id INTEGER NOT NULL,
    assignment_id VARCHAR,
    kind VARCHAR NOT NULL,                  -- ranking, all_bad, cannot_judge, skip
    ranks TINYINT[] CHECK (ranks IS NULL OR (len(ranks) >= 2 AND list_min(ranks) = 1)),
    shown BIGINT[] NOT NULL,
    seconds DOUBLE NOT NULL,
    guidelines_version INTEGER NOT NULL,
    status VARCHAR NOT NULL,                -- as it was stored: counted, surplus or excluded; see answer_at
    reason VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE answer_exclusion (
    submission_id VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    excluded_by VARCHAR,
    created TIMESTAMPTZ NOT NULL
);

CREATE VIEW campaign_now AS
SELECT c.*, p.version_name AS policy
FROM (SELECT * FROM campaign QUALIFY row_number() OVER (PARTITION BY campaign_id ORDER BY seq DESC) = 1) c
LEFT JOIN (SELECT campaign_id, arg_max(version_name, seq) AS version_name FROM policy_change GROUP BY ALL) p
    USING (campaign_id);

CREATE VIEW person_now AS
SELECT person_id, name, name_key, role, kind, created
FROM person JOIN (SELECT person_id, arg_max(role, seq) AS role FROM person_role GROUP BY ALL) USING (person_id);

CREATE VIEW task_now AS
SELECT task.* EXCLUDE (priority), coalesce(p.priority, task.priority) AS priority
FROM task LEFT JOIN (SELECT task_id, arg_max(priority, seq) AS priority FROM task_priority GROUP BY ALL) p USING (task_id);

-- Answers with the status they have when everything up to the watermark is known and nothing after it.
-- Revisions and exclusions are few: joining them leaves a filter on `answer` to the table's own statistics,
-- which a window over all answers would not.
CREATE MACRO answer_at(watermark) AS TABLE
SELECT a.* EXCLUDE (status, reason),
    CASE
        WHEN a.status = 'excluded' THEN 'excluded'
        WHEN a.revision < r.newest THEN 'superseded'
        WHEN x.reason IS NOT NULL THEN 'excluded'
        ELSE a.status
    END AS status,
    coalesce(x.reason, a.reason) AS reason
FROM answer a
LEFT JOIN (
    SELECT task_id, person_id, max(revision) AS newest FROM answer WHERE revision > 1 AND seq <= watermark GROUP BY ALL
) r ON r.task_id = a.task_id AND r.person_id = a.person_id
LEFT JOIN (
    SELECT submission_id, arg_max(reason, seq) AS reason FROM answer_exclusion WHERE seq <= watermark GROUP BY ALL
) x ON x.submission_id = a.submission_id
WHERE a.seq <= watermark;

CREATE VIEW answer_now AS SELECT * FROM answer_at(9223372036854775807);
