"""What the rankings of a campaign say: counts, agreement, the strengths of the models, and how far to trust them.

Brings storage's tables to the pure statistics; prints nothing.
"""

import pyarrow as pa

from pipeline.agreement import agreement
from pipeline.comparisons import comparisons
from pipeline.leaderboard import leaderboard
from pipeline.quality import Share, agreement_by_person, position_bias
from storage.campaigns import campaign_by_name, campaigns
from storage.database import Database
from storage.quality import Annotator, alarms, annotators, exclusions
from storage.rankings import answer_table
from storage.raw_tables import models_of
from storage.records import Campaign
from storage.setups import setup
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
    """Counts of `storage.summaries`, the five figures of `agreement`, the rows of `leaderboard` as strengths, and
    `quality`."""
    answers = answer_table(database, campaign.id)
    baselines = {version.name: version.parent for version in versions(database, role="policy")}
    rows = leaderboard(comparisons(answers), models_of(database, campaign.id), baselines)
    figures = {"agreement": agreement(answers), "strengths": rows, "quality": quality(database, campaign, answers)}
    return {"name": campaign.name, **counts(database, campaign.id), **figures}


def quality(database: Database, campaign: Campaign, answers: pa.Table | None = None) -> dict:
    """How far to trust the answers, as plain values.

    {"alarms": [sentence], "exclusions": [{"rule", "excluded", "answers", "share", "alarm"}], "annotators": [{"person",
    "name", "kind", "answers", "counted", "surplus", "excluded", "skipped", "seconds", "too_fast", "state", "reason",
    "agreement": {"share", "low", "high", "n"} or null, and gold, test, training, repeat: {"share", "n"} or null}],
    "position_bias": [{"k", "place", "share", "low", "high", "n", "verdict"}]}. person, an id, is null where the
    campaign has pseudonyms.
    """
    answers = answer_table(database, campaign.id) if answers is None else answers
    hidden = setup(database, campaign.id).pseudonyms
    agreed, people = agreement_by_person(answers), annotators(database, campaign.id)
    shown_to_nobody = {one.person_id for one in people if one.kind == "imported"}
    places = position_bias(answers, shown_to_nobody)
    return {
        "alarms": alarms(database, campaign.id),
        "exclusions": [
            {"rule": one.rule, "excluded": one.excluded, "answers": one.answers, "share": one.share, "alarm": one.alarm}
            for one in exclusions(database, campaign.id)
        ],
        "annotators": [
            _annotator(one, agreed.get(one.person_id)) | ({"person": None} if hidden else {}) for one in people
        ],
        "position_bias": [
            {"k": one.k, "place": one.place, **_share(one.share), "verdict": one.verdict} for one in places
        ],
    }


def _annotator(one: Annotator, agreed: Share | None) -> dict:
    names = ("name", "kind", "answers", "counted", "surplus", "excluded", "skipped", "seconds", "state", "reason")
    checks = {}
    for purpose in ("gold", "test", "training", "repeat"):
        share, n = one.checks.get(purpose, (None, 0))
        checks[purpose] = {"share": share, "n": n} if n else None
    told = {"person": one.person_id} | {name: getattr(one, name) for name in names}
    return told | {"too_fast": one.fast, "agreement": _share(agreed) if agreed else None} | checks


def _share(share: Share) -> dict:
    return {"share": share.value, "low": share.low, "high": share.high, "n": share.n}


def _named(database: Database, name: str | None) -> list[Campaign]:
    if name is None:
        return campaigns(database)
    found = campaign_by_name(database, name)
    if found is None:
        known = ", ".join(one.name for one in campaigns(database)) or "none yet"
        raise UnknownCampaign(f"campaign: found {name}, expected one of: {known}")
    return [found]
