# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Text without a language, which can only be copied: words drawn evenly from a list, in no order.

    python examples/ablations/random_text.py random_text
    python examples/run_ablation.py --table examples/ablations/copy.json --dataset_name random_text \\
        --held_out random_text --evaluations training reading cost --baselines untrained --baseline_models none

A network that reads it back has learned to write into concepts and to read them, nothing else.
"""

import itertools
import random
import sys
from pathlib import Path

from datasets import Dataset


WORDS, TEXT_WORDS, TEXTS = 2000, 1000, {"train": 3000, "validation": 100}


def main(folder: Path) -> None:
    draw = random.Random(0)
    syllables = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
    words = draw.sample(["".join(parts) for parts in itertools.product(syllables, repeat=2)], WORDS)
    folder.mkdir(parents=True)
    for split, count in TEXTS.items():
        texts = [" ".join(draw.choices(words, k=TEXT_WORDS)) for _ in range(count)]
        Dataset.from_dict({"text": texts}).to_parquet(folder / f"{split}.parquet")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Give a folder that does not exist yet: python examples/ablations/random_text.py FOLDER")
    try:
        main(Path(sys.argv[1]))
    except FileExistsError as error:
        sys.exit(f"The folder {error.filename} exists; give another one.")
