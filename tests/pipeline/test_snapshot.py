"""Snapshots: what a kind needs, nothing else, under a hash of the content."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.snapshot import LaunchRefused, content_hash, freeze
from storage import rankings
from storage.prompts import add_demonstrations, prompts
from tests.pipeline.small_campaign import add_campaign, add_tasks, rank_all


@pytest.fixture
def services(bare_services):
    """No base: what is frozen is data."""
    return bare_services


def test_a_starter_needs_no_data(services):
    frozen = freeze(services.database, None, "starter")
    assert frozen.tables == {} and frozen.sizes == {}


def test_prompts_are_written_with_their_messages_and_split(services, tmp_path):
    campaign = add_campaign(services)
    frozen = freeze(services.database, campaign.id, "ppo")
    frozen.write(tmp_path)
    rows = pq.read_table(tmp_path / "prompts.parquet").to_pylist()
    assert {json.loads(row["messages"])[0]["content"] for row in rows} == {f"Question {n}?" for n in range(6)}
    assert frozen.sizes == {"prompts": {"train": 5, "eval": 1}}


def test_ppo_gets_the_demonstrations_where_there_are_any(services, tmp_path):
    campaign = add_campaign(services)
    asked = prompts(services.database, campaign.id)[0].id
    without = freeze(services.database, campaign.id, "ppo")
    add_demonstrations(services.database, campaign.id, [(asked, "Cut the onion.")])
    frozen = freeze(services.database, campaign.id, "ppo")
    frozen.write(tmp_path)
    rows = pq.read_table(tmp_path / "demonstrations.parquet").to_pylist()
    assert [(row["prompt_id"], row["text"]) for row in rows] == [(asked, "Cut the onion.")]
    assert frozen.data_hash != without.data_hash and "demonstrations" not in without.tables


def test_preference_data_hold_only_what_was_compared(services):
    campaign = add_campaign(services)
    add_tasks(services, campaign)
    rank_all(services)
    frozen = freeze(services.database, campaign.id, "reward")
    assert frozen.sizes["comparisons"] == {"train": 15, "eval": 3}
    assert frozen.sizes["completions"] == {"rows": 18}
    assert frozen.watermark == rankings.watermark(services.database)
    assert frozen.tables["completions"].schema.field("completion_id").type == pa.int64()


def test_the_hash_is_of_the_content_not_of_order_or_chunks(services):
    table = pa.table({"prompt_id": ["b", "a", "c"], "messages": ["[]", "[1]", "ü"], "split": ["train"] * 3})
    other = pa.concat_tables([table.slice(2), table.slice(0, 2)]).select(["split", "messages", "prompt_id"])
    assert content_hash({"prompts": table}) == content_hash({"prompts": other})
    changed = table.set_column(1, "messages", pa.array(["[]", "[1]", "u"]))
    assert content_hash({"prompts": table}) != content_hash({"prompts": changed})


def test_a_further_ranking_changes_the_hash(services):
    campaign = add_campaign(services, overlap=2)
    add_tasks(services, campaign)
    rank_all(services, "ann")
    before = freeze(services.database, campaign.id, "dpo")
    assert freeze(services.database, campaign.id, "dpo").data_hash == before.data_hash
    rank_all(services, "bob")
    assert freeze(services.database, campaign.id, "dpo").data_hash != before.data_hash


@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_preference_training_without_rankings_is_refused(services, kind):
    campaign = add_campaign(services)
    with pytest.raises(LaunchRefused, match=r"found 0 answers.*expected at least 1.*rank some tasks"):
        freeze(services.database, campaign.id, kind)


def test_runs_on_prompts_without_prompts_are_refused(services):
    campaign = add_campaign(services, count=0)
    with pytest.raises(LaunchRefused, match="found 0 prompts"):
        freeze(services.database, campaign.id, "generate")
    only_eval = add_campaign(services, "only eval", count=1)
    with pytest.raises(LaunchRefused, match="train split"):
        freeze(services.database, only_eval.id, "ppo")


def test_sft_gets_demonstrations_with_their_prompts_only_and_is_refused_without(services):
    campaign = add_campaign(services)
    asked = [one.id for one in prompts(services.database, campaign.id)]
    with pytest.raises(LaunchRefused, match=r"sft: found 0 demonstrations.*expected at least 1; `import`"):
        freeze(services.database, campaign.id, "sft")
    add_demonstrations(services.database, campaign.id, [(asked[-1], "An answer that is held out.")])
    with pytest.raises(LaunchRefused, match=r"found 1 demonstrations, 0 of prompts in the train split"):
        freeze(services.database, campaign.id, "sft")
    add_demonstrations(services.database, campaign.id, [(asked[0], "Cut the onion.")])
    frozen = freeze(services.database, campaign.id, "sft")
    assert frozen.sizes == {"prompts": {"train": 1, "eval": 1}, "demonstrations": {"rows": 2}}


def test_scoring_gets_all_completions_of_the_campaign(services):
    campaign = add_campaign(services)
    with pytest.raises(LaunchRefused, match="score: found 0 completions"):
        freeze(services.database, campaign.id, "score")
    add_tasks(services, campaign)
    assert freeze(services.database, campaign.id, "score").sizes["completions"] == {"rows": 18}
