"""Whole tables as streams of Arrow batches: what exports are made of. Never a password, key or invitation.

It selects and joins; nothing is pooled or judged here, and answers keep their status and reason.
"""

from collections.abc import Callable, Iterable

import pyarrow as pa

from storage.database import Database

BATCH_ROWS = 50_000
OF_CAMPAIGN = "($campaign IS NULL OR campaign_id = $campaign)"
QUERIES = {
    "campaigns": f"""SELECT campaign_id, seq, name, criterion, guidelines, guidelines_version, k, overlap, state,
            created
        FROM campaign WHERE {OF_CAMPAIGN} ORDER BY campaign_id, seq""",
    "prompts": f"""SELECT prompt_id, messages, split, tags, metadata, created FROM prompt
        WHERE prompt_id IN (SELECT prompt_id FROM campaign_prompt WHERE {OF_CAMPAIGN}) ORDER BY created, prompt_id""",
    "completions": f"""SELECT completion_id, prompt_id, model, text, settings, created FROM completion
        WHERE prompt_id IN (SELECT prompt_id FROM campaign_prompt WHERE {OF_CAMPAIGN}) ORDER BY completion_id""",
    "tasks": f"""SELECT task_id, campaign_id, prompt_id, completion_ids, overlap, priority, purpose, run_id, created
        FROM task_now WHERE {OF_CAMPAIGN} ORDER BY task_id""",
    "answers": f"""SELECT a.submission_id, a.seq, a.task_id, a.campaign_id, t.prompt_id, a.person_id, a.assignment_id,
            a.kind, t.completion_ids, a.ranks, a.shown, a.seconds, a.guidelines_version, a.status, a.reason, a.revision,
            a.created, a.purpose, a.detail
        FROM answer_now a JOIN task t USING (task_id) WHERE {OF_CAMPAIGN.replace("campaign_id", "a.campaign_id")}
        ORDER BY a.seq""",
    "people": f"""SELECT person_id, name, role, kind, created FROM person_now
        WHERE person_id IN (SELECT person_id FROM answer WHERE {OF_CAMPAIGN}) ORDER BY person_id""",
    "demonstrations": f"""SELECT demonstration_id, campaign_id, prompt_id, text, source, created,
            person_id, completion_id
        FROM demonstration_now WHERE {OF_CAMPAIGN} ORDER BY created, demonstration_id""",
}


def stream(database: Database, name: str, campaign_id: int | None, write: Callable[[pa.RecordBatchReader], int]) -> int:
    """Give the rows of the table `name`, of one campaign or of all, to `write` while the read is open; its result.

    people are those who answered. messages, metadata and settings are JSON texts.
    Raises KeyError for a name that is not in QUERIES.
    """
    with database.read() as cursor:
        return write(cursor.sql(QUERIES[name], params={"campaign": campaign_id}).to_arrow_reader(BATCH_ROWS))


def messages_table(database: Database, prompt_ids: Iterable[str]) -> pa.Table:
    """These prompts: prompt_id string, messages string (JSON list of {role, content}), ordered by id."""
    query = """SELECT prompt_id, messages FROM prompt
               WHERE prompt_id IN (SELECT unnest($ids::VARCHAR[])) ORDER BY prompt_id"""
    with database.read() as cursor:
        return cursor.sql(query, params={"ids": list(prompt_ids)}).to_arrow_table()


def models_of(database: Database, campaign_id: int) -> dict[int, str]:
    """The model's name by completion id, for the completions in the campaign's tasks."""
    query = """SELECT completion_id, model FROM completion WHERE completion_id IN
               (SELECT unnest(completion_ids) FROM task WHERE campaign_id = ?)"""
    with database.read() as cursor:
        table = cursor.sql(query, params=[campaign_id]).to_arrow_table()
    return dict(zip(table["completion_id"].to_pylist(), table["model"].to_pylist(), strict=True))
