-- An answer that was excluded can be brought back: the newest event says what the answer became.

ALTER TABLE answer_exclusion ADD COLUMN becomes VARCHAR DEFAULT 'excluded';  -- excluded, counted, surplus or check

-- As in 003, with two additions: answers that were brought back, and who or which rule decided about them last.
CREATE OR REPLACE MACRO answer_at(watermark) AS TABLE
SELECT a.* EXCLUDE (status, reason),
    CASE
        WHEN a.status = 'excluded' AND coalesce(x.becomes, 'excluded') = 'excluded' THEN 'excluded'
        WHEN a.revision < r.newest THEN 'superseded'
        ELSE coalesce(x.becomes, a.status)
    END AS status,
    coalesce(x.reason, a.reason) AS reason,
    x.excluded_by
FROM answer a
LEFT JOIN (
    SELECT task_id, person_id, purpose = 'repeat' AS again, max(revision) AS newest FROM answer
    WHERE revision > 1 AND seq <= watermark GROUP BY ALL
) r ON r.task_id = a.task_id AND r.person_id = a.person_id AND r.again = (a.purpose = 'repeat')
LEFT JOIN (
    SELECT submission_id, arg_max(reason, seq) AS reason, arg_max_null(excluded_by, seq) AS excluded_by,
        arg_max(becomes, seq) AS becomes
    FROM answer_exclusion WHERE seq <= watermark GROUP BY submission_id
) x ON x.submission_id = a.submission_id
WHERE a.seq <= watermark;

CREATE OR REPLACE VIEW answer_now AS SELECT * FROM answer_at(9223372036854775807);
