"""What the rankings of a campaign say: counts, agreement, and the strengths of the models.

Brings storage's tables to the pure statistics; prints nothing.
"""

from pipeline.agreement import agreement
from pipeline.comparisons import comparisons
from pipeline.leaderboard import leaderboard
from storage.campaigns import campaign_by_name, campaigns
from storage.database import Database
from storage.rankings import answer_table
from storage.raw_tables import models_of
from storage.records import Campaign
from storage.summaries import counts
from storage.versions import versions


class UnknownCampaign(ValueError):
    """A campaign was named that does not exist; the message lists those that do."""


def report(database: Database, campaign_name: str | None = None) -> dict:
    """{"campaigns": [one per campaign, or the named one]}, as `report --json` prints it.

    Raises UnknownCampaign.
    """
    return {"campaigns": [campaign_report(database, campaign) for campaign in _named(database, campaign_name)]}


def campaign_report(database: Database, campaign: Campaign) -> dict:
    """Counts of `storage.summaries`, the five figures of `agreement`, the rows of `leaderboard` as strengths."""
    answers = answer_table(database, campaign.id)
    baselines = {version.name: version.parent for version in versions(database, role="policy")}
    rows = leaderboard(comparisons(answers), models_of(database, campaign.id), baselines)
    figures = {"agreement": agreement(answers), "strengths": rows}
    return {"name": campaign.name, **counts(database, campaign.id), **figures}


def _named(database: Database, name: str | None) -> list[Campaign]:
    if name is None:
        return campaigns(database)
    found = campaign_by_name(database, name)
    if found is None:
        known = ", ".join(one.name for one in campaigns(database)) or "none yet"
        raise UnknownCampaign(f"campaign: found {name}, expected one of: {known}")
    return [found]
