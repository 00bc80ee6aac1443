# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Results of evaluations: one record for each number, and what is made of them (table, JSON, tracker, model-index)."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator
from huggingface_hub import EvalResult
from rich.table import Table
from transformers.integrations import get_available_reporting_integrations
from transformers.utils import cached_file

from .data import first_line
from .plain_text import table_text


# Systems that stand beside the model in every table, under these names.
MAJORITY, BAG_OF_WORDS, UNTRAINED = "majority class", "bag of words (tf-idf)", "untrained"


@dataclass(frozen=True)
class Result:
    """
    One number.

    Args:
        task: such as `mrpc`.
        split: of the data, such as `validation`.
        metric: such as `f1`; scores between -1 and 1 or 0 and 1, not times 100.
        system: whose number it is: the model under its name, or a baseline.
        value: mean over runs.
        spread: standard deviation over runs, None for a single one.
        count: of examples.
        primary: whether this metric ranks systems at this task.
    """

    task: str
    split: str
    metric: str
    system: str
    value: float
    spread: float | None = None
    count: int | None = None
    primary: bool = True

    def shown(self) -> str:
        if math.isnan(self.value):
            return "–"
        spread = "" if self.spread is None else f" ± {self.spread:.4f}"
        return f"{self.value:.4f}{spread}"


def results_table(results: Iterable[Result], title: str, rows=("task", "split", "metric"), columns="system") -> Table:
    """A table of records: a line for each combination of the fields `rows`, a column for each value of `columns`, both
    in the order in which they come first. The best system of a line is bold where columns are systems."""
    cells, headings = {}, {}
    for result in results:
        line = tuple(str(getattr(result, field)) for field in rows)
        heading = str(getattr(result, columns))
        headings.setdefault(heading)
        if heading in cells.setdefault(line, {}):
            raise ValueError(f"Two results for {line} and {heading!r}.")
        cells[line][heading] = result
    table = Table(title=table_text(title))
    for heading in (*rows, *headings):
        justify = "left" if heading in rows else "right"
        table.add_column(table_text(heading), justify=justify, overflow="fold")
    for line, found in cells.items():
        values = [result.value for result in found.values() if not math.isnan(result.value)]
        best = max(values) if columns == "system" and len(values) > 1 else None
        texts = [found[heading].shown() if heading in found else "" for heading in headings]
        styles = ["bold" if heading in found and found[heading].value == best else "" for heading in headings]
        table.add_row(*map(table_text, line), *map(table_text, texts, styles))
    return table


def write_results(path: str | Path, results: Iterable[Result], facts: dict) -> Path:
    """JSON with `facts` (arguments, versions, git state; anything that JSON knows, else as text) and `results`; values
    that are not defined are null."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [asdict(result) | ({"value": None} if math.isnan(result.value) else {}) for result in results]
    content = {**facts, "results": records}
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    return path


def read_report(path: str | Path) -> dict:
    """
    What `write_results` wrote: the facts, and under "results" the list of records.

    Raises:
        ValueError: no such file, or not one of results.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        records = [{**record, "value": math.nan if record["value"] is None else record["value"]}
                   for record in content["results"]]  # fmt: skip
        return {**content, "results": [Result(**record) for record in records]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as results of an evaluation: {first_line(error)}") from error


def read_results(path: str | Path) -> list[Result]:
    """The records alone."""
    return read_report(path)["results"]


def model_name(model: str | Path) -> str:
    """A folder or Hub id as tables name it: by its last part."""
    return Path(model).resolve().name


def weights_digest(model: str | Path) -> str | None:
    """Of the weights of a folder, or of a Hub id that was loaded before; None where there are none."""
    folder = Path(model)
    if not folder.is_dir():
        try:
            folder = Path(cached_file(str(model), "config.json", local_files_only=True)).parent
        except (OSError, ValueError, TypeError):
            return None
    digest, files = hashlib.sha256(), sorted(folder.glob("model*.safetensors"))
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
    return digest.hexdigest() if files else None


def measured_on(model: str) -> dict:
    """What a report tells of the model that it is about: its folder or Hub id, and the digest of its weights."""
    return {"model_name_or_path": model, "weights_sha256": weights_digest(model)}


def measured_model(report: dict) -> tuple[str | None, str | None]:
    """What [`measured_on`] told, as far as a report does; of several models none."""
    model = report.get("model") or report.get("model_name_or_path")
    return (model if isinstance(model, str) else None), report.get("weights_sha256")


def is_measured(model: str, weights: str | None, checkpoint: str | Path) -> bool:
    """Whether results of `model` with weights of this digest are those of a folder or Hub id: by the weights, else by
    the folder; where one of the two folders is gone, by the name."""
    own = weights and weights_digest(checkpoint)
    if own:
        return own == weights
    if Path(model).is_dir() and Path(checkpoint).is_dir():
        return Path(model).samefile(checkpoint)
    return model_name(model) == model_name(checkpoint)


def choose_trackers(report_to: list[str]) -> list[str]:
    """The trackers that `--report_to` asks for; ValueError for one that is not installed."""
    names = [name for name in report_to if name != "none"]
    available = get_available_reporting_integrations()
    names = available if names == ["all"] else names
    if missing := [name for name in names if name not in available]:
        raise ValueError(f"--report_to {missing[0]} is not installed; installed trackers are {available}.")
    return names


def track_results(results: Iterable[Result], report_to: list[str], run_name: str, folder: str, facts: dict) -> None:
    """
    Log numbers as `task/split/metric/system` to trackers, through accelerate.

    Args:
        report_to: names as `--report_to` takes them: "wandb", "tensorboard", "trackio", "all", or "none".
        run_name: of the run; folder: where trackers that write files do so.

    Raises:
        ValueError: a tracker that is not installed.
    """
    names = choose_trackers(report_to)
    if not names:
        return
    accelerator = Accelerator(log_with=names, project_dir=folder)
    config = {name: value for name, value in facts.items() if isinstance(value, str | int | float | bool)}
    accelerator.init_trackers(run_name, config=config)
    values = {"/".join((r.task, r.split, r.metric, r.system)).replace(" ", "_"): r.value for r in results}
    accelerator.log(values)
    accelerator.end_training()


def eval_results(results: Iterable[Result], task_type: str, datasets: dict[str, tuple]) -> list[EvalResult]:
    """
    The model-index of a card: numbers of its model alone. The first of the results is the model's; of its other
    systems, whose names go on after a comma, metrics stand there as `accuracy (K=4)`.

    Args:
        task_type: the Hub's name, such as `text-classification` or `sentence-similarity`.
        datasets: from tasks to Hub id, readable name and, where it is not the task's, configuration of their data.
    """
    results = list(results)
    own = results[0].system.split(", ")[0] if results else ""
    found = []
    for result in results:
        name, _, variant = result.system.partition(", ")
        if name == own and not math.isnan(result.value):
            source, readable, config = (*datasets[result.task], None)[:3]
            found.append(
                EvalResult(
                    task_type=task_type,
                    dataset_type=source,
                    dataset_name=readable,
                    dataset_config=config or result.task,
                    dataset_split=result.split,
                    metric_type=result.metric,
                    metric_name=f"{result.metric} ({variant})" if variant else result.metric,
                    metric_value=round(result.value, 5),
                )
            )
    return found
