# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Push a checkpoint to the Hub with its code, tokenizer, card and results; a new repository is private by default.

    python examples/push_to_hub.py --model_name_or_path outputs/… --hub_model_id concept-encoder-small
    python examples/push_to_hub.py --model_name_or_path outputs/… --hub_model_id me/concept-encoder-small \
        --hub_private_repo false --results outputs/glue/results.json --files outputs/analysis/report.md

The folder must hold all weights, a tokenizer that fits and the code. Results are added to its card, too; results that
only the card on the Hub has stay there. A card that somebody has edited on the Hub is not replaced without
`--overwrite_card`. Log in by `hf auth login`, or set HF_TOKEN.
"""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCard
from transformers.hf_argparser import HfArg

from trainers.publishing.hub import card_results, check_folder, model_files, open_repo, result_files, upload
from trainers.publishing.model_card import RunFacts, add_results, make_card
from trainers.utils.script import newest_checkpoint, parse_arguments, run_script


@dataclass
class PushArguments:
    """The checkpoint, its repository, and what is pushed with it."""

    model_name_or_path: str | None = HfArg(
        default=None, help="Folder of the checkpoint; the one saved last in outputs/ by default."
    )
    hub_model_id: str | None = HfArg(
        default=None, help="owner/name, or a name in your account; the name of the folder by default."
    )
    hub_private_repo: bool = HfArg(default=True, help="Whether a new repository is private; false publishes it.")
    results: list[str] = HfArg(
        default_factory=list, help="results.json of evaluations, for the card's model-index and tables; uploaded too."
    )
    files: list[str] = HfArg(default_factory=list, help="Further files, such as report.md.")
    overwrite_card: bool = HfArg(default=False, help="Replace the card on the Hub even if somebody has edited it.")


def card_with_results(folder: Path, model, results: list[str]) -> ModelCard:
    """The folder's card, or one that describes only the architecture, with the given results."""
    if (folder / "README.md").is_file():
        card = ModelCard.load(folder / "README.md")
    else:
        print(f"{folder} has no README.md; the card describes only the architecture.")
        name = folder.resolve().name
        card = make_card(model, None, RunFacts(name, name))
    sources: dict[tuple, str] = {}
    for path in results:
        found = card_results(path, folder)
        for task in {result.task for result in found["results"]}:
            if sources.setdefault((found.get("task_type"), task), path) != path:
                raise ValueError(f"Two files hold results of {task}, of which a card shows one; give one of them.")
        add_results(card, **found, files=result_files([path]))
    return card


def main():
    (args,) = parse_arguments(PushArguments)
    folder = Path(args.model_name_or_path or newest_checkpoint())
    results = result_files([*args.results, *args.files])  # refuses missing files before the model is loaded
    card = card_with_results(folder, check_folder(folder), args.results)
    files = model_files(folder, card) | results
    repo_id = open_repo(args.hub_model_id or folder.resolve().name, args.hub_private_repo)
    print(upload(repo_id, files, "Upload model", overwrite_card=args.overwrite_card))
    card.save(folder / "README.md")


if __name__ == "__main__":
    run_script(main)
