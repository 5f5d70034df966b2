"""What ms-swift makes of grpo.limit."""

from __future__ import annotations

from pathlib import Path

from geoagent.compat import prepare_torch
from geoagent.config import resolve
from geoagent.files import write_jsonl
from geoagent.run import Run
from geoagent.train.arguments import policy_dataset

ROWS = 40


def drawn(run: Run, limit: int | None, seed: int) -> list[str]:
    """Ids of the rows that ms-swift trains on, in its order."""
    prepare_torch()
    from swift.arguments.base_args.data_args import DataArguments
    from swift.dataset import load_dataset

    words = [] if limit is None else [f"grpo.limit={limit}"]
    dataset, _ = load_dataset(
        policy_dataset(resolve(words), run, "grpo"),
        seed=seed,
        shuffle=DataArguments.dataset_shuffle,
        load_from_cache_file=False,
        remove_unused_columns=False,
    )
    return list(dataset["id"])


def test_a_smaller_limit_is_a_part_of_a_larger_one(tmp_path: Path) -> None:
    run = Run(tmp_path)
    question = [{"role": "user", "content": "Where?"}]
    names = [f"row-{k:02}" for k in range(ROWS)]
    write_jsonl(run.dataset("grpo"), ({"id": name, "messages": question} for name in names))
    sizes = (5, 10, 20, 39)
    parts = [drawn(run, size, seed=0) for size in sizes]
    for size, part, larger in zip(sizes, parts, [*parts[1:], names], strict=True):
        assert len(part) == len(set(part)) == size
        assert set(part) < set(larger)
    assert set(parts[1]) != set(names[:10])  # not the first of the file
    assert drawn(run, 10, seed=0) == parts[1]
    assert set(drawn(run, 10, seed=1)) != set(parts[1])
    for limit in (None, ROWS, ROWS + 9):
        assert sorted(drawn(run, limit, seed=0)) == names
