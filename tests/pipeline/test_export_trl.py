"""TRL and `datasets` take an export as it is: loaded from its folder, trained on for a step, no network."""

import pytest

from pipeline.export import export_trl
from storage.campaigns import create_campaign
from storage.completions import add_completions
from storage.people import find_or_create
from storage.prompts import add_prompts
from storage.rankings import add_imported
from storage.records import Message, Prompt
from storage.tasks import open_tasks

pytestmark = pytest.mark.slow
WORDS = ["[PAD]", "[EOS]", "[UNK]", "user", "assistant", ":", "question", "good", "bad", "middling", "?"]
TEMPLATE = "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + ' [EOS] ' }}{% endfor %}"


@pytest.fixture
def exported(db, tmp_path):
    """Eight ranked prompts, two of them eval, exported; 18 and 6 rows."""
    campaign, person = create_campaign(db, "demo"), find_or_create(db, "ann", "imported")
    for number in range(8):
        name, split = f"p{number}", "eval" if number % 4 == 3 else "train"
        add_prompts(db, campaign.id, [Prompt(name, (Message("user", "question ? " * (number + 1)),), split)])
        ids = add_completions(db, [(name, "m", text, {}) for text in ("good good", "middling", "bad bad bad")])
        add_imported(db, campaign.id, person.id, open_tasks(db, campaign.id, [(name, ids)])[0].id, [1, 2, 3])
    return export_trl(db, tmp_path / "export"), tmp_path


@pytest.fixture
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415 (heavy: only this slow test pays for it)
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]", chat_template=TEMPLATE
    )


def tiny(kind, **more):
    from transformers import LlamaConfig  # noqa: PLC0415 (heavy: only this slow test pays for it)

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return kind(LlamaConfig(vocab_size=len(WORDS), pad_token_id=0, eos_token_id=1, **sizes, **more))


def loaded(export, folder):
    from datasets import load_dataset  # noqa: PLC0415 (heavy: only this slow test pays for it)

    files = {file["split"]: file["path"] for file in export["files"]}
    by_file = load_dataset("parquet", data_files=files, cache_dir=str(folder / "cache"))
    by_folder = load_dataset("parquet", data_dir=str(folder / "export"), cache_dir=str(folder / "cache"))
    assert {name: rows.num_rows for name, rows in by_file.items()} == {"train": 18, "eval": 6}
    assert {name: rows.num_rows for name, rows in by_folder.items()} == {"train": 18, "test": 6}
    return by_folder


def arguments(kind, folder):
    return kind(
        output_dir=str(folder / "out"),
        max_steps=2,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        report_to="none",
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
    )


def test_the_reward_trainer_takes_an_export(exported, tokenizer):
    from transformers import LlamaForSequenceClassification  # noqa: PLC0415
    from trl import RewardConfig, RewardTrainer  # noqa: PLC0415

    export, folder = exported
    data = loaded(export, folder)
    trainer = RewardTrainer(
        model=tiny(LlamaForSequenceClassification, num_labels=1),
        args=arguments(RewardConfig, folder),
        train_dataset=data["train"],
        eval_dataset=data["test"],
        processing_class=tokenizer,
    )
    assert trainer.train().global_step == 2
    assert 0 <= trainer.evaluate()["eval_accuracy"] <= 1


def test_the_dpo_trainer_takes_an_export(exported, tokenizer):
    from transformers import LlamaForCausalLM  # noqa: PLC0415
    from trl import DPOConfig, DPOTrainer  # noqa: PLC0415

    export, folder = exported
    data = loaded(export, folder)
    tiny(LlamaForCausalLM).save_pretrained(folder / "model")  # the trainer loads its reference from there
    trainer = DPOTrainer(
        model=LlamaForCausalLM.from_pretrained(folder / "model"),
        args=arguments(DPOConfig, folder),
        train_dataset=data["train"],
        eval_dataset=data["test"],
        processing_class=tokenizer,
    )
    assert trainer.train().global_step == 2
    assert trainer.evaluate()["eval_loss"] > 0
