# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Results of evaluations: a record for each number, and tables, JSON, trackers and model-index of records."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev

from accelerate import Accelerator
from huggingface_hub import EvalResult
from rich.table import Column, Table
from transformers.integrations import get_available_reporting_integrations
from transformers.utils import cached_file

from ..utils.distributed import gather_objects
from ..utils.errors import first_line
from ..utils.plain_text import Markdown, markdown_table, one_line
from ..utils.runs import check_output_dir, file_digest, folder_name


# The names of the baselines in every table.
MAJORITY, BAG_OF_WORDS, UNTRAINED = "majority class", "bag of words (tf-idf)", "untrained"


@dataclass(frozen=True)
class Result:
    """
    One number.

    Args:
        task: such as `mrpc`.
        split: of the data, such as `validation`.
        metric: such as `f1`; scores between -1 and 1 or 0 and 1, not times 100.
        system: the name of the model or baseline.
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


def tabulate(results: Iterable[Result]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a table: a row for each task, split and metric, a column for each system. ValueError for
    two records of one cell."""
    systems, found = {}, {}
    for result in results:
        split = result.split if result.count is None else f"{result.split} ({result.count:,})"
        cells = found.setdefault((result.task, split, result.metric), {})
        if result.system in cells:
            raise ValueError(f"Two results for {result.metric!r} of {result.task!r} by {result.system!r}.")
        cells[result.system] = result.shown()
        systems.setdefault(result.system)
    rows = [[*row, *(cells.get(system, "") for system in systems)] for row, cells in found.items()]
    return ["task", "split (examples)", "metric", *systems], rows


def tabulate_systems(results: Iterable[Result]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a table of many systems: a row for each metric and system, a column for each split."""
    splits, rows = {}, {}
    for result in results:
        splits.setdefault(result.split)
        rows.setdefault((result.metric, result.system), {})[result.split] = result.shown()
    metrics = dict.fromkeys(metric for metric, _ in rows)
    keys = [key for metric in metrics for key in rows if key[0] == metric]
    return ["metric", "system", *splits], [[*key, *(rows[key].get(split, "") for split in splits)] for key in keys]


def by_task(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The records of each task."""
    found = {}
    for result in results:
        found.setdefault(result.task, []).append(result)
    return found


def average_seeds(results: Iterable[Result]) -> list[Result]:
    """Means and standard deviations of the results that share system, task, split and metric, without undefined
    ones."""
    groups: dict[tuple, list[Result]] = {}
    for result in results:
        if not math.isnan(result.value):
            groups.setdefault((result.system, result.task, result.split, result.metric), []).append(result)
    return [
        replace(
            group[0],
            value=fmean(result.value for result in group),
            spread=stdev(result.value for result in group) if len(group) > 1 else None,
        )
        for group in groups.values()
    ]


def results_markdown(results: Iterable[Result]) -> Markdown:
    """The records as a table in Markdown."""
    return markdown_table(*tabulate(results), text_columns=3)


def results_table(results: Iterable[Result], title: str) -> Table:
    """The records for the [`screen`]."""
    return make_table(title, *tabulate(results))


def make_table(title: str, headings: list[str], rows: list[list[str]]) -> Table:
    """A table for the [`screen`]."""
    table = Table(*(Column(one_line(heading), overflow="fold") for heading in headings), title=one_line(title))
    for row in rows:
        table.add_row(*map(one_line, row))
    return table


def write_results(path: str | Path, results: Iterable[Result], facts: dict) -> Path:
    """Write JSON with `facts`, such as arguments, versions and git state, and `results`. Facts that JSON cannot hold
    become texts, values that are not defined null."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [asdict(result) | ({"value": None} if math.isnan(result.value) else {}) for result in results]
    content = {**facts, "results": records}
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    return path


def read_report(path: str | Path) -> dict:
    """
    The facts of a file of `write_results`, and under "results" the list of records.

    Raises:
        ValueError: there is no such file, or it holds no results.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        records = [{**record, "value": math.nan if record["value"] is None else record["value"]}
                   for record in content["results"]]  # fmt: skip
        return {**content, "results": [Result(**record) for record in records]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as results of an evaluation: {first_line(error)}") from error


def model_name(model: str | Path) -> str:
    """The name of a folder or Hub id in tables: its last part."""
    return Path(model).resolve().name


def weights_digest(model: str | Path) -> str | None:
    """The SHA-256 of the weights in a folder, or of a Hub id in the cache; None where there are none."""
    try:
        folder = Path(cached_file(str(model), "config.json", local_files_only=True)).parent
    except (OSError, ValueError):
        return None
    files = sorted(folder.glob("model*.safetensors"))
    return file_digest(*files) if files else None


def measured_on(model: str) -> dict:
    """The facts of a report that identify its model: folder or Hub id, and the digest of the weights."""
    return {"model_name_or_path": model, "weights_sha256": weights_digest(model)}


def measured_model(report: dict) -> tuple[str | None, str | None]:
    """Folder or Hub id, and digest of the weights, of the one model of a report; None for what it does not name."""
    model = report.get("model") or report.get("model_name_or_path")
    return (model if isinstance(model, str) else None), report.get("weights_sha256")


def is_measured(model: str, weights: str | None, checkpoint: str | Path) -> bool:
    """Whether results of `model`, whose weights have this digest, are results of a folder or Hub id: by the digests,
    else by the folders, or, where one does not exist, by the names."""
    own = weights and weights_digest(checkpoint)
    if own:
        return own == weights
    if Path(model).is_dir() and Path(checkpoint).is_dir():
        return Path(model).samefile(checkpoint)
    return model_name(model) == model_name(checkpoint)


def choose_trackers(report_to: list[str]) -> list[str]:
    """The trackers of `--report_to`; ValueError for one that is not installed."""
    names = [name for name in report_to if name != "none"]
    available = get_available_reporting_integrations()
    names = available if names == ["all"] else names
    if missing := [name for name in names if name not in available]:
        raise ValueError(f"--report_to {missing[0]} is not installed; installed trackers are {available}.")
    return names


def track_results(results: Iterable[Result], report_to: list[str], run_name: str, folder: str, facts: dict) -> None:
    """Log numbers as `task/split/metric/system` to the trackers of `--report_to`; `folder` is for those that write
    files."""
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
    The model-index of a card: the numbers of its model, which the first result names, but not of baselines. A variant
    of the model, named after a comma such as `model, K=4`, has metrics such as `accuracy (K=4)`.

    Args:
        task_type: the Hub's name, such as `text-classification` or `sentence-similarity`.
        datasets: from tasks to Hub id and readable name of their data, and its configuration unless that is the task.
    """
    results = list(results)
    own = results[0].system.split(", ")[0] if results else ""
    entries = []
    for result in results:
        name, _, variant = result.system.partition(", ")
        if name == own and not math.isnan(result.value):
            source, readable, config = (*datasets[result.task], None)[:3]
            entries.append(
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
    return entries


def results_folder(kind: str, model: str) -> str:
    """`outputs/<kind>_<name of the model>_<time>`, so that no run overwrites an earlier one; one for all processes."""
    now, *_ = gather_objects(datetime.now())
    return str(Path("outputs") / folder_name(f"{kind}_{model_name(model)}_{now:%Y%m%d_%H%M%S}"))


@dataclass
class ReportingArguments:
    """Folder of the results."""

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for results; outputs/<evaluation>_<model>_<time> by default."}
    )

    def folder(self, kind: str, model: str, *files: str) -> Path:
        """
        The folder for the results of an evaluation `kind` of the checkpoint `model`, created before the evaluation.

        Args:
            files: names of files that will be written beside `results.json`.

        Raises:
            ValueError: the folder holds one of these files, or is not writable.
        """
        folder = Path(self.output_dir or results_folder(kind, model))
        check_output_dir(folder, ("results.json", *files))
        return folder
