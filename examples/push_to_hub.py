# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Push a checkpoint to the Hub, with its code, tokenizer, card and results; private unless told otherwise.

    python examples/push_to_hub.py --checkpoint outputs/… --repo_id concept-encoder-small
    python examples/push_to_hub.py --checkpoint outputs/… --repo_id me/concept-encoder-small --public \
        --results outputs/glue/results.json --files outputs/analysis/report.html

The folder is checked first: that its weights are complete, its tokenizer fits, and its code is there. Log in by
`hf auth login`, or set HF_TOKEN.
"""

from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import ModelCard
from rich.console import Console

from trainers.hub import card_results, check_folder, complete_code, push_folder, result_files
from trainers.model_card import add_results, undescribed_card, usage
from trainers.script import newest_checkpoint, parse_arguments, run_script


@dataclass
class PushArguments:
    """What goes where."""

    checkpoint: str | None = field(
        default=None, metadata={"help": "Folder of the checkpoint; the one saved last in outputs/ by default."}
    )
    repo_id: str | None = field(
        default=None, metadata={"help": "owner/name, or a name of one's own; the name of the folder by default."}
    )
    public: bool = field(default=False, metadata={"help": "Let everyone read a new repository."})
    results: list[str] = field(
        default_factory=list,
        metadata={"help": "results.json of evaluations, for the card's model-index and tables; uploaded too."},
    )
    files: list[str] = field(default_factory=list, metadata={"help": "Further files, such as report.html."})
    commit_message: str = field(default="Upload model", metadata={"help": "Message of the commit."})


def main():
    (args,) = parse_arguments(PushArguments)
    console = Console(width=110, highlight=False)
    folder = Path(args.checkpoint or newest_checkpoint(option="--checkpoint"))
    reports, files = [card_results(path) for path in args.results], [*args.results, *args.files]
    places = list(result_files(files))
    model = check_folder(folder)
    if complete_code(folder, model):
        console.print(f"{folder} had not all of its code; written from this package.")
    repo_id = args.repo_id or folder.resolve().name
    if (folder / "README.md").is_file():
        card = ModelCard.load(folder / "README.md")
    else:
        console.print(f"{folder} has no README.md; the card tells the architecture alone.")
        card = undescribed_card(model, folder.resolve().name, repo_id)
    for report, place in zip(reports, places, strict=False):
        add_results(card, **report, files=[place])
    url = push_folder(folder, repo_id, private=not args.public, message=args.commit_message, card=card, files=files)
    console.print(f"[bold]{url}[/]\n")
    print(usage(model, url.repo_id))


if __name__ == "__main__":
    run_script(main)
