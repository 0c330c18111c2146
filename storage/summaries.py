"""Counts in SQL that reports and pages start from; no statistics, which are the pipeline's business."""

from storage.database import Database
from storage.pseudonyms import shown_names


def counts(database: Database, campaign_id: int) -> dict[str, int]:
    """How much a campaign holds.

    tasks: that people can claim (an imported preference opens none, checks do not count); tasks_done: those whose
    overlap is met; rankings: counted rankings, ratings and thumbs, imported ones too; annotators: people with a
    counted judgement; prompts; completions: of those prompts.
    """
    query = """
        WITH judged AS (
            SELECT task_id, person_id, kind FROM answer_now
            WHERE campaign_id = $campaign AND status = 'counted' AND kind NOT IN ('skip', 'cannot_judge')
        ), per_task AS (SELECT task_id, count(*) AS judgements FROM judged GROUP BY task_id),
        asked AS (SELECT prompt_id FROM campaign_prompt WHERE campaign_id = $campaign)
        SELECT
            (SELECT count(*) FROM task
             WHERE campaign_id = $campaign AND overlap > 0 AND purpose IN ('rank', 'compare')),
            (SELECT count(*) FROM task JOIN per_task USING (task_id)
             WHERE campaign_id = $campaign AND overlap > 0 AND judgements >= overlap),
            (SELECT count(*) FROM judged WHERE kind <> 'all_bad'),
            (SELECT count(DISTINCT person_id) FROM judged),
            (SELECT count(*) FROM asked),
            (SELECT count(*) FROM completion WHERE prompt_id IN (SELECT prompt_id FROM asked))"""
    names = ("tasks", "tasks_done", "rankings", "annotators", "prompts", "completions")
    with database.read() as cursor:
        return dict(zip(names, cursor.execute(query, {"campaign": campaign_id}).fetchall()[0], strict=True))


def per_annotator(database: Database, campaign_id: int) -> list[dict]:
    """One row per person who answered, most rankings first: person_id, name, kind, rankings, all_bad, skipped
    (skip and can't judge), excluded, surplus, seconds (median of a ranking; None without one), last (time).
    name is the pseudonym where the campaign asks for it."""
    query = """
        SELECT p.person_id, p.name, p.kind,
            count(*) FILTER (a.kind IN ('ranking', 'ratings', 'thumbs') AND a.status = 'counted') AS rankings,
            count(*) FILTER (a.kind = 'all_bad' AND a.status = 'counted') AS all_bad,
            count(*) FILTER (a.kind IN ('skip', 'cannot_judge')) AS skipped,
            count(*) FILTER (a.status = 'excluded') AS excluded,
            count(*) FILTER (a.status = 'surplus') AS surplus,
            median(a.seconds) FILTER (a.kind NOT IN ('skip', 'cannot_judge') AND a.seconds > 0) AS seconds,
            max(a.created) AS last
        FROM answer_now a JOIN person p USING (person_id)
        WHERE a.campaign_id = ? GROUP BY ALL ORDER BY rankings DESC, p.person_id"""
    with database.read() as cursor:
        rows = cursor.sql(query, params=[campaign_id]).to_arrow_table().to_pylist()
    shown = shown_names(database, campaign_id, {row["person_id"]: row["name"] for row in rows})
    return [row | {"name": shown[row["person_id"]]} for row in rows]


def models(database: Database, campaign_id: int) -> list[dict]:
    """One row per model with completions in the campaign: model, completions, prompts; most completions first."""
    query = """
        SELECT model, count(*) AS completions, count(DISTINCT prompt_id) AS prompts FROM completion
        WHERE prompt_id IN (SELECT prompt_id FROM campaign_prompt WHERE campaign_id = ?)
        GROUP BY model ORDER BY completions DESC, model"""
    with database.read() as cursor:
        return cursor.sql(query, params=[campaign_id]).to_arrow_table().to_pylist()
