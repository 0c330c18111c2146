"""Answer tables for tests, in the columns that the statistics read."""

import pyarrow as pa


def answer_table(*rows: tuple) -> pa.Table:
    """rows: (task, prompt, person, completion ids, ranks or None)."""
    tasks, prompts, people, ids, ranks = zip(*rows, strict=True) if rows else ([],) * 5
    return pa.table(
        {
            "task_id": pa.array(tasks, pa.int64()),
            "prompt_id": pa.array(prompts, pa.string()),
            "split": pa.array(["train"] * len(rows), pa.string()),
            "person_id": pa.array(people, pa.int64()),
            "completion_ids": pa.array(ids, pa.list_(pa.int64())),
            "ranks": pa.array(ranks, pa.list_(pa.int8())),
        }
    )
