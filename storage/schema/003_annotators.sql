-- What an answer holds beside its ranks, how a campaign is set up, who may work on it, and tasks with a known answer.

-- `answer` is made anew rather than altered: DuckDB 2.0 cannot replay an ALTER of a table with this CHECK from
-- its write-ahead log, and a process killed before the next checkpoint would leave a file that does not open.
CREATE TABLE answer_of_001 AS SELECT * FROM answer;
DROP TABLE answer;
CREATE TABLE answer (
    submission_id VARCHAR PRIMARY KEY,
    seq BIGINT NOT NULL,                    -- the training watermark; shared with answer_exclusion
    task_id BIGINT NOT NULL,
    campaign_id INTEGER NOT NULL,
    person_id INTEGER NOT NULL,
    assignment_id VARCHAR,
    kind VARCHAR NOT NULL,                  -- ranking, ratings, thumbs, all_bad, cannot_judge, skip
    ranks TINYINT[] CHECK (ranks IS NULL OR (len(ranks) >= 2 AND list_min(ranks) = 1)),
    shown BIGINT[] NOT NULL,
    seconds DOUBLE NOT NULL,
    guidelines_version INTEGER NOT NULL,
    status VARCHAR NOT NULL,                -- as it was stored: counted, surplus, excluded or check; see answer_at
    reason VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    created TIMESTAMPTZ NOT NULL,
    purpose VARCHAR NOT NULL DEFAULT 'work', -- work, gold, training, test, repeat
    detail VARCHAR NOT NULL DEFAULT '{}'    -- JSON: storage/details.py
);
INSERT INTO answer SELECT *, 'work', '{}' FROM answer_of_001;
DROP TABLE answer_of_001;
ALTER TABLE assignment_event ADD COLUMN purpose VARCHAR DEFAULT 'work';

CREATE TABLE campaign_setup (               -- one row per edit; without one the defaults of storage/setups.py hold
    campaign_id INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    setup VARCHAR NOT NULL,                 -- JSON
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE campaign_member (              -- a member may work where the campaign is for members only
    campaign_id INTEGER NOT NULL,
    person_id INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    member BOOLEAN NOT NULL,
    changed_by VARCHAR,
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE annotator_state (              -- active, or paused by a rule or a lead
    campaign_id INTEGER NOT NULL,
    person_id INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    changed_by VARCHAR,
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE task_assignee (                -- the people a task is for; without any it is open to all
    task_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    people INTEGER[] NOT NULL,
    created TIMESTAMPTZ NOT NULL
);
CREATE TABLE task_check (                   -- the known answer to a gold, training or test task
    task_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    ranks TINYINT[],                        -- aligned with the task's completion_ids; null: all are bad
    explanation VARCHAR NOT NULL,
    active BOOLEAN NOT NULL,
    created TIMESTAMPTZ NOT NULL
);

-- As in 001, with one addition: a repeat stands beside the first answer and never supersedes it.
CREATE OR REPLACE MACRO answer_at(watermark) AS TABLE
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
    SELECT task_id, person_id, purpose = 'repeat' AS again, max(revision) AS newest FROM answer
    WHERE revision > 1 AND seq <= watermark GROUP BY ALL
) r ON r.task_id = a.task_id AND r.person_id = a.person_id AND r.again = (a.purpose = 'repeat')
LEFT JOIN (
    SELECT submission_id, arg_max(reason, seq) AS reason FROM answer_exclusion WHERE seq <= watermark GROUP BY ALL
) x ON x.submission_id = a.submission_id
WHERE a.seq <= watermark;

CREATE OR REPLACE VIEW answer_now AS SELECT * FROM answer_at(9223372036854775807);

CREATE VIEW member_now AS
SELECT campaign_id, person_id FROM campaign_member GROUP BY ALL HAVING arg_max(member, seq);

CREATE VIEW annotator_state_now AS
SELECT campaign_id, person_id, arg_max(state, seq) AS state, arg_max(reason, seq) AS reason,
    arg_max(changed_by, seq) AS changed_by, max(created) AS created
FROM annotator_state GROUP BY campaign_id, person_id;

CREATE VIEW setup_now AS
SELECT campaign_id, arg_max(setup, seq) AS setup FROM campaign_setup GROUP BY campaign_id;

CREATE VIEW task_assignee_now AS
SELECT task_id, arg_max(people, seq) AS people FROM task_assignee GROUP BY task_id;

CREATE VIEW task_check_now AS
SELECT * EXCLUDE (seq) FROM task_check QUALIFY row_number() OVER (PARTITION BY task_id ORDER BY seq DESC) = 1;

-- Demonstrations that were imported or written, and the edited answers of annotators, which stay answers.
CREATE VIEW demonstration_now AS
SELECT demonstration_id, campaign_id, prompt_id, text, source, created, NULL::INTEGER AS person_id,
    NULL::BIGINT AS completion_id
FROM demonstration
UNION ALL
SELECT -a.seq, a.campaign_id, t.prompt_id, a.detail ->> '$.edit', 'edited', a.created, a.person_id,
    (a.detail ->> '$.edited')::BIGINT
FROM answer_now a JOIN task t USING (task_id)
WHERE a.detail <> '{}' AND a.status IN ('counted', 'surplus') AND coalesce(a.detail ->> '$.edit', '') <> '';
