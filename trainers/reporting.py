# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Where the results of an evaluation go: a folder of their own, trackers, the model's card on the Hub."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .hub import push_results, results_card
from .results import Result, choose_trackers, model_name, track_results, write_results
from .runs import check_output_dir, folder_name


@dataclass
class ReportingArguments:
    """Where results go."""

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for results; outputs/<evaluation>_<model>_<time> by default."}
    )
    report_to: list[str] = field(
        default_factory=lambda: ["none"], metadata={"help": "Trackers: wandb, tensorboard, trackio, all or none."}
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Add the results to the card of --hub_model_id."})
    hub_model_id: str | None = field(default=None, metadata={"help": "Repository of the model, already on the Hub."})
    hub_token: str | None = field(default=None, metadata={"help": "Token for it; that of `hf auth login` by default."})

    def __post_init__(self):
        choose_trackers(self.report_to)
        if self.push_to_hub and not self.hub_model_id:
            raise ValueError("--push_to_hub needs the repository of the model: --hub_model_id owner/name.")

    def folder(self, kind: str, model: str, *files: str) -> Path:
        """
        The folder where the results of an evaluation `kind` of the checkpoint `model` go; to be called before the
        evaluation.

        Args:
            files: names of files that it gets beside `results.json`.

        Raises:
            ValueError: the folder holds one of these files, or cannot be written into; results are to be pushed to a
                model that is not there, or without a token.
        """
        if self.push_to_hub:
            results_card(self.hub_model_id, self.hub_token)
        folder = Path(self.output_dir or results_folder(kind, model))
        check_output_dir(folder, ("results.json", *files))
        return folder

    def report(
        self,
        folder: Path,
        results: Iterable[Result],
        facts: dict,
        task_type: str,
        datasets: dict[str, tuple[str, str]] | None = None,
        files: Iterable[Path] = (),
    ) -> Path:
        """
        Write `results.json` into the folder, log it to the trackers, and add it to the model's card if asked for.

        Args:
            facts: what the JSON says of the run.
            task_type, datasets: as in [`add_results`].
            files: further files of the folder, which go to the Hub beside the JSON.

        Returns:
            path of the JSON.

        Raises:
            ValueError: as in [`push_results`]; the JSON is there by then.
        """
        results = list(results)
        facts = {**facts, "task_type": task_type, "datasets": datasets or {}}
        written = write_results(folder / "results.json", results, facts)
        track_results(results, self.report_to, folder.name, str(folder), facts)
        if self.push_to_hub:
            files = [written, *files]
            push_results(self.hub_model_id, results, task_type, datasets, files=files, token=self.hub_token)
        return written


def results_folder(kind: str, model: str) -> str:
    """`outputs/<kind>_<name of the model>_<time>`: no run writes over an earlier one."""
    return str(Path("outputs") / folder_name(f"{kind}_{model_name(model)}_{datetime.now():%Y%m%d_%H%M%S}"))
