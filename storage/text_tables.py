"""Prompts, completions and demonstrations as Arrow tables, straight from the database: what a snapshot writes.

Rows never become Python objects on the way. Single records are read in `storage.campaigns`.
"""

from collections.abc import Iterable

import pyarrow as pa

from storage.database import Database


def prompt_table(database: Database, campaign_id: int) -> pa.Table:
    """The campaign's prompts: prompt_id string, messages string (JSON list of {role, content}), split string, tags
    string (JSON list)."""
    query = """SELECT p.prompt_id, p.messages, p.split, to_json(p.tags)::VARCHAR AS tags
               FROM campaign_prompt c JOIN prompt p USING (prompt_id)
               WHERE c.campaign_id = ? ORDER BY c.position"""
    with database.read() as cursor:
        return cursor.sql(query, params=[campaign_id]).to_arrow_table()


def completion_table(database: Database, ids: Iterable[int]) -> pa.Table:
    """These completions: completion_id int64, prompt_id string, model string, text string."""
    query = """SELECT completion_id, prompt_id, model, text FROM completion
               WHERE completion_id IN (SELECT unnest($ids::BIGINT[])) ORDER BY completion_id"""
    wanted = {"ids": [int(completion_id) for completion_id in ids]}
    with database.read() as cursor:
        return cursor.sql(query, params=wanted).to_arrow_table()


def campaign_completions(database: Database, campaign_id: int) -> pa.Table:
    """All completions of the campaign's prompts, with the columns of `completion_table`."""
    query = """SELECT completion_id, prompt_id, model, text FROM completion
               WHERE prompt_id IN (SELECT prompt_id FROM campaign_prompt WHERE campaign_id = ?)
               ORDER BY completion_id"""
    with database.read() as cursor:
        return cursor.sql(query, params=[campaign_id]).to_arrow_table()


def demonstration_table(database: Database, campaign_id: int) -> pa.Table:
    """The campaign's demonstrations, edited answers among them: demonstration_id int64, prompt_id string, text string.

    The id of an edited answer is negative.
    """
    query = """SELECT demonstration_id, prompt_id, text FROM demonstration_now WHERE campaign_id = ?
               ORDER BY prompt_id, demonstration_id"""
    with database.read() as cursor:
        return cursor.sql(query, params=[campaign_id]).to_arrow_table()
