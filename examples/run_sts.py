# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Zero-shot semantic similarity: cosines of the vectors of two texts against human scores, with nothing learned.

    python examples/run_sts.py

prints Spearman and Pearson correlations of the newest checkpoint on STS-B, by how its concepts become a vector, beside
the same network untrained, its token table alone, bags of words and the majority class. All STS tasks, another model
beside, and other pairs:

    python examples/run_sts.py --model_name_or_path outputs/… --task_name stsb sickr sts12 sts13 sts14 sts15 sts16
    python examples/run_sts.py --baseline_models sentence-transformers/all-MiniLM-L6-v2
    python examples/run_sts.py --dataset_name pairs.tsv
"""

from dataclasses import dataclass, field

import torch

from trainers.evaluation.results import (
    BAG_OF_WORDS,
    MAJORITY,
    UNTRAINED,
    ReportingArguments,
    measured_on,
    model_name,
    results_table,
    write_results,
)
from trainers.evaluation.similarity import (
    STS_DATASETS,
    TOKEN_TABLE,
    TextPairs,
    averages,
    count_truncated,
    load_pairs,
    load_sentence_model,
    make_systems,
    similarity_results,
)
from trainers.models.loading import load_model
from trainers.utils.limits import check_at_least
from trainers.utils.plain_text import screen
from trainers.utils.runs import readable_names
from trainers.utils.script import newest_checkpoint, parse_arguments, run_facts, run_script


@dataclass
class Arguments:
    """Models and pairs of texts."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Concept checkpoint, folder or Hub id; the newest in outputs/ by default."}
    )
    baseline_models: list[str] = field(
        default_factory=list, metadata={"help": "SentenceTransformers to stand beside it, folders or Hub ids."}
    )
    task_name: list[str] | None = field(
        default=None, metadata={"choices": list(STS_DATASETS), "help": "Tasks of the Hub; stsb by default."}
    )
    dataset_name: str | None = field(
        default=None,
        metadata={"help": "Other pairs: Hub id, local folder or file, with the columns text1, text2 and score."},
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str | None = field(default=None, metadata={"help": "test, or validation where there is none, by default."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many pairs of each set."})
    batch_size: int = field(default=128, metadata={"help": "Texts at a time."})
    seed: int = field(default=0, metadata={"help": "Seed of the untrained network."})

    def __post_init__(self):
        if self.task_name and self.dataset_name:
            raise ValueError("Give one of --task_name and --dataset_name, not both.")
        check_at_least(self, max_eval_samples=2, batch_size=1, seed=0)

    def load_pairs(self) -> list[TextPairs]:
        """The sets of pairs, each under a name of its own."""
        sources = {name: STS_DATASETS[name] for name in self.task_name or ["stsb"]}
        if self.dataset_name:
            sources = {None: self.dataset_name}
        return [
            load_pairs(source, self.dataset_config_name, self.split, name, self.max_eval_samples)
            for name, source in sources.items()
        ]


def main():
    args, reporting = parse_arguments(Arguments, ReportingArguments)
    path = args.model_name_or_path or newest_checkpoint()
    model = load_model(path, encoder_only=True).to("cuda" if torch.cuda.is_available() else "cpu")
    sets, name = args.load_pairs(), model_name(path)
    others = readable_names(args.baseline_models, [name, UNTRAINED, TOKEN_TABLE, BAG_OF_WORDS, MAJORITY])
    encoders = {other: load_sentence_model(model_path) for model_path, other in others.items()}
    folder = reporting.folder("sts", path)
    systems = make_systems(model, name, args.batch_size, args.seed, encoders)
    results = [result for pairs in sets for result in similarity_results(pairs, systems)]
    if len(sets) > 1:
        results += averages(results)
    truncated = {pairs.task: count_truncated(model, pairs.texts) for pairs in sets}
    notes = (
        "Vectors are means of concepts, and other models' own; matrix: all concepts; first k: the mean of these. "
        "centred: minus the mean over the texts of the set, without their scores; tf-idf is fitted on them, too. "
        f"{sum(truncated.values())} texts were truncated to {model.config.max_sequence_length} tokens."
    )
    shown = results if len(sets) == 1 else [result for result in results if result.primary]
    screen(140).print(results_table(shown, f"{name}, zero-shot: {'; '.join(map(str, sets))}"), notes)

    datasets = {pairs.task: (pairs.source, pairs.task) for pairs in sets}
    about = {"texts_truncated": truncated, "task_type": "sentence-similarity", "datasets": datasets}
    facts = run_facts(args, reporting, measured_on(path), about)
    print(f"results: {write_results(folder / 'results.json', results, facts)}")


if __name__ == "__main__":
    run_script(main)
