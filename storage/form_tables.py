"""What the answer forms gathered, with the texts, as streams of Arrow batches: for trainers and spreadsheets.

Whole tables are in raw_tables.py. Names give way to pseudonyms where a campaign asks for it.
"""

from collections.abc import Callable

import pyarrow as pa

from storage.database import Database
from storage.pseudonyms import hidden_people
from storage.raw_tables import BATCH_ROWS, annotator_name

OF_CAMPAIGN = "($campaign IS NULL OR a.campaign_id = $campaign)"
QUERIES = {
    "thumbs": f"""SELECT p.prompt_id, p.messages, p.split, c.completion_id, c.text,
            sum(v.value::INTEGER)::BIGINT AS balance
        FROM answer_now a JOIN task t USING (task_id) JOIN prompt p USING (prompt_id),
            json_each(a.detail -> '$.thumbs') v JOIN completion c ON c.completion_id = v.key::BIGINT
        WHERE {OF_CAMPAIGN} AND a.status = 'counted' AND a.detail <> '{{}}'
        GROUP BY ALL ORDER BY c.completion_id""",
    "demonstrations": f"""SELECT p.prompt_id, p.messages, p.split, a.text, a.source
        FROM demonstration_now a JOIN prompt p USING (prompt_id)
        WHERE {OF_CAMPAIGN} ORDER BY a.created, a.demonstration_id""",
    "answers": f"""SELECT a.submission_id, a.created, g.name AS campaign, a.task_id, t.prompt_id,
            (p.messages ->> '$[*].content')[-1] AS prompt, {annotator_name("a.person_id", "w.name")} AS annotator,
            a.purpose, a.kind, t.completion_ids, a.ranks, a.shown, (a.detail ->> '$.grade')::INTEGER AS grade,
            coalesce((a.detail ->> '$.both_good')::BOOLEAN, false) AS both_good,
            array_to_string(coalesce(a.detail ->> '$.reasons[*]', []), '; ') AS reasons,
            a.detail ->> '$.rationale' AS rationale, (a.detail ->> '$.edited')::BIGINT AS edited,
            a.detail ->> '$.edit' AS edit, a.seconds, a.guidelines_version, a.status, a.reason, a.revision
        FROM answer_now a JOIN task t USING (task_id) JOIN prompt p USING (prompt_id)
        JOIN person w ON w.person_id = a.person_id JOIN campaign_now g ON g.campaign_id = a.campaign_id
        WHERE {OF_CAMPAIGN} ORDER BY a.seq""",
}


def stream_form(
    database: Database, name: str, campaign_id: int | None, write: Callable[[pa.RecordBatchReader], int]
) -> int:
    """Give the rows of `name` (thumbs, demonstrations or answers) to `write` while the read is open; its result.

    thumbs: one row per completion with a thumb in a counted answer; balance is ups minus downs. messages are JSON.
    """
    query, given = QUERIES[name], {"campaign": campaign_id}
    if "$hidden" in query:
        hidden = hidden_people(database, campaign_id)
        given |= {"hidden": list(hidden), "numbers": list(hidden.values())}
    with database.read() as cursor:
        return write(cursor.sql(query, params=given).to_arrow_reader(BATCH_ROWS))
