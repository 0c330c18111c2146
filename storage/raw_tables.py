"""Whole tables as streams of Arrow batches: what exports are made of. Never a password, key or invitation.

Where a campaign has pseudonyms, they stand in the place of names, and their numbers, negated, of people's ids.
It selects and joins; nothing is pooled or judged here, and answers keep their status and reason.
"""

from collections.abc import Callable, Iterable

import pyarrow as pa

from storage.database import Database
from storage.pseudonyms import hidden_people

BATCH_ROWS = 50_000


def _number(person_id: str) -> str:
    """SQL: the number of the person's pseudonym, null where nothing hides them."""
    return f"map($hidden::INTEGER[], $numbers::INTEGER[])[{person_id}]"


def _id(person_id: str) -> str:
    return f"coalesce(-{_number(person_id)}, {person_id}) AS person_id"


def annotator_name(person_id: str, name: str) -> str:
    """SQL: the name, or the pseudonym where one hides it; $hidden and $numbers are bound as `stream` does."""
    return f"coalesce(format('annotator-{{:04x}}', {_number(person_id)}), {name})"


OF_CAMPAIGN = "($campaign IS NULL OR campaign_id = $campaign)"
_OF_ANSWER = f"""a.submission_id, a.task_id, a.campaign_id, t.prompt_id, {_id("a.person_id")},
            a.status, a.purpose, a.created"""
_JUDGED = f"{OF_CAMPAIGN.replace('campaign_id', 'a.campaign_id')} AND a.status <> 'superseded' AND a.detail <> '{{}}'"
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
    "answers": f"""SELECT a.submission_id, a.seq, a.task_id, a.campaign_id, t.prompt_id, {_id("a.person_id")},
            a.assignment_id, a.kind, t.completion_ids, a.ranks, a.shown, a.seconds, a.guidelines_version, a.status,
            a.reason, a.revision, a.created, a.purpose, a.detail
        FROM answer_now a JOIN task t USING (task_id) WHERE {OF_CAMPAIGN.replace("campaign_id", "a.campaign_id")}
        ORDER BY a.seq""",
    "people": f"""SELECT {_id("person_id")},
            {annotator_name("person_id", "name")} AS name,
            role, kind, if({_number("person_id")} IS NULL, created, NULL) AS created
        FROM person_now
        WHERE person_id IN (SELECT answer.person_id FROM answer WHERE {OF_CAMPAIGN}) ORDER BY 1""",
    "demonstrations": f"""SELECT demonstration_id, campaign_id, prompt_id, text, source, created,
            {_id("person_id")}, completion_id
        FROM demonstration_now WHERE {OF_CAMPAIGN} ORDER BY created, demonstration_id""",
    "ratings": f"""SELECT {_OF_ANSWER}, c.key::BIGINT AS completion_id, s.key AS scale, s.value::INTEGER AS value
        FROM answer_now a JOIN task t USING (task_id), json_each(a.detail -> '$.ratings') c, json_each(c.value) s
        WHERE {_JUDGED} ORDER BY a.seq, completion_id, scale""",
    "flags": f"""SELECT {_OF_ANSWER}, c.key::BIGINT AS completion_id, f.value ->> '$' AS flag,
            if(f.value ->> '$' = 'other', json_extract_string(a.detail, '$.flag_notes."' || c.key || '"'), NULL) AS note
        FROM answer_now a JOIN task t USING (task_id), json_each(a.detail -> '$.flags') c, json_each(c.value) f
        WHERE {_JUDGED} ORDER BY a.seq, completion_id, flag""",
    "thumbs": f"""SELECT {_OF_ANSWER}, c.key::BIGINT AS completion_id, c.value::INTEGER AS thumb
        FROM answer_now a JOIN task t USING (task_id), json_each(a.detail -> '$.thumbs') c
        WHERE {_JUDGED} ORDER BY a.seq, completion_id""",
}


def stream(database: Database, name: str, campaign_id: int | None, write: Callable[[pa.RecordBatchReader], int]) -> int:
    """Give the rows of the table `name`, of one campaign or of all, to `write` while the read is open; its result.

    people are those who answered; created is null for those under a pseudonym. messages, metadata and settings are
    JSON texts.
    Raises KeyError for a name that is not in QUERIES.
    """
    query, given = QUERIES[name], {"campaign": campaign_id}
    if "$hidden" in query:
        hidden = hidden_people(database, campaign_id)
        given |= {"hidden": list(hidden), "numbers": list(hidden.values())}
    with database.read() as cursor:
        return write(cursor.sql(query, params=given).to_arrow_reader(BATCH_ROWS))


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
