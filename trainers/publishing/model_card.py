# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Model cards of pretraining runs and of fine-tuned classifiers, and evaluation results on either."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from urllib.parse import quote

import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment
from transformers import SchedulerType

from ..evaluation.results import Result, eval_results, results_markdown
from ..objectives import Mixture
from ..utils.plain_text import Markdown, code_block, code_span, markdown, markdown_table, one_line
from ..utils.script import without_folders


TEMPLATE = Path(__file__).parent / "model_card_template.md"

# A section of results; its title names the evaluation.
SECTION = "<!-- results: {} -->\n{}\n<!-- end of results -->\n"

# The metrics on a card, with their formats.
RESULTS = {
    "loss": "{:.3f}",
    "nelbo": "{:.3f}",
    "perplexity": "{:.1f}",
    "retrieval_accuracy": "{:.2%}",
    "shuffled_loss_gap": "{:.3f}",
    "suffix_shuffled_loss_gap": "{:.3f}",
    "reconstruction_accuracy": "{:.2%}",
    "exact_match": "{:.2%}",
    "content_fraction": "{:.3f}",
    "content_erank": "{:.1f}",
    "duplicate_share": "{:.2%}",
    "ref_rank": "{:.1f}",
}


@dataclass
class RunFacts:
    """
    Facts of a pretraining or fine-tuning run for its card, which leaves out what is not given.

    Args:
        name: of the run.
        repo_id: the name from which the card's code loads: a Hub id, or a folder.
        base_model: the model from which weights were taken: a Hub id or a folder.
        language: code of the text's language.
        license: of the model.
        command: that trains the model.
        training: further facts by name (steps, tokens, seconds, git state).
        data: name of the data; `text_column`: its column of texts.
        data_ids: Hub ids of the data sets.
        mixture: the objectives with their options.
        unigram: entropy of the training tokens, nats per token.
        trained, untrained: metrics of the pretraining without prefix.
        examples: held-out sentences with their reconstructions.
        kinds: table in Markdown of the reconstruction accuracy by kind of text.
        picture: path of a picture from the card's folder.
        tasks: of a classifier: Hub id and readable name of their data, as `datasets` of [`eval_results`].
        pairs: whether a classifier takes pairs of texts.
        score_range: for scores, the values in the data that became 0 and 1; None where they stayed as they were.
    """

    name: str
    repo_id: str
    base_model: str | None = None
    language: str | None = None
    license: str | None = None
    command: str | None = None
    training: dict[str, object] = field(default_factory=dict)
    data: str | None = None
    text_column: str | None = None
    data_ids: tuple[str, ...] = ()
    mixture: Mixture | None = None
    unigram: float | None = None
    trained: dict[str, float] = field(default_factory=dict)
    untrained: dict[str, float] = field(default_factory=dict)
    examples: list[tuple[str, str]] = field(default_factory=list)
    kinds: str | None = None
    picture: str | None = None
    tasks: dict[str, tuple] = field(default_factory=dict)
    pairs: bool = False
    score_range: tuple[float, float] | None = None


def hub_id(name: str | None) -> str | None:
    """`name` if it can be an id on the Hub and is no folder on this machine, as metadata of cards require."""
    return name if name and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not Path(name).exists() else None


def known_as(name: str) -> str:
    """The name of a model or a data set on cards: its Hub id, or the last part of its path."""
    return name if hub_id(name) else Path(name).resolve().name


def result_rows(facts: RunFacts) -> list[tuple[str, str, str]]:
    """Metric, trained and untrained value, for the card and the screen, in the order of `RESULTS`; those of single
    objectives of a mixture, too."""
    prefixes, rows = ["", *(f"{name}_" for name in (facts.mixture.objectives if facts.mixture else ()))], []
    for (metric, form), prefix in product(RESULTS.items(), prefixes):
        if (name := f"{prefix}{metric}") in facts.trained:
            before = facts.untrained.get(name)
            rows.append((name, form.format(facts.trained[name]), "" if before is None else form.format(before)))
    return rows


def make_card(model, training_args, facts: RunFacts, results: Iterable[Result] = ()) -> ModelCard:
    """
    The card of a pretrained `model`, or of a fine-tuned classifier, with its results as model-index and as a table.

    Args:
        training_args: of its training, or None.
        results: of a classifier and its baselines on `facts.tasks`.
    """
    classifies = "Classification" in (model.auto_class or "")
    objectives = dict(facts.mixture.objectives) if facts.mixture else {}
    vectors = ["perceiver", "sentence-transformers", "sentence-similarity"]
    sources = [*facts.data_ids, *(source for source, *_ in facts.tasks.values())]
    rows, data = result_rows(facts), facts.data or "held-out text"
    numbers = [Result(data, "validation", name, facts.name, facts.trained[name]) for name, *_ in rows]
    numbers = [number for number in numbers if number.metric != "ref_rank"]
    source = facts.data_ids[0] if len(facts.data_ids) == 1 else "text"
    metadata = ModelCardData(
        language=facts.language,
        license=facts.license,
        library_name="transformers",
        pipeline_tag="text-classification" if classifies else "feature-extraction",
        tags=["concept-encoder", *(facts.tasks if classifies else [*vectors, *objectives])],
        datasets=list(dict.fromkeys(filter(hub_id, sources))) or None,
        base_model=hub_id(facts.base_model),
        model_name=facts.name,
        eval_results=eval_results(numbers, "feature-extraction", {data: (source, data)}) or None,
    )
    training = {"objective options": code_span(json.dumps(facts.mixture.options()))} if objectives else {}
    if training_args is not None:
        losses = getattr(training_args, "concept_losses", None)
        schedule = SchedulerType(training_args.lr_scheduler_type).value
        training |= {} if losses is None else {"concept losses": losses or "none"}
        training |= {
            "learning rate": f"{training_args.learning_rate:g}, {schedule}",
            "batch": f"{training_args.train_batch_size} × {training_args.gradient_accumulation_steps}",
            "seed": training_args.seed,
            "transformers": transformers.__version__,
        }
    # Values are escaped unless they are Markdown.
    environment = Environment(finalize=markdown, keep_trailing_newline=True)
    environment.globals |= {"code": code_span, "block": code_block, "table": markdown_table, "known_as": known_as}
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        card_data=Markdown(metadata.to_yaml().strip()),
        model=model,
        config=model.config,
        facts=facts,
        model_id=Markdown(json.dumps(facts.repo_id, ensure_ascii=False)),
        classifies=classifies,
        separate=model.main_input_name == "input_ids_a",
        decodes=model.writes_text,
        data=facts.data or ", ".join(name for _, name, *_ in facts.tasks.values()),
        objectives=objectives,
        training=training | facts.training,
        rows=rows,
    )
    card, results = ModelCard(re.sub(r"\n{3,}", "\n\n", text)), list(results)
    return add_results(card, results, datasets=facts.tasks) if results else card


def add_results(
    card: ModelCard,
    results: Iterable[Result],
    task_type: str = "text-classification",
    datasets: dict[str, tuple] | None = None,
    files: Iterable[str] = (),
) -> ModelCard:
    """
    Add results to a card, in place: to its model-index, in which they replace earlier entries of the same measurement,
    and as a table, which replaces that of the same tasks and type of task.

    Args:
        task_type, datasets: as in [`eval_results`]. If there are data sets, only their tasks are added, not means over
            tasks or costs; otherwise each task stands under its own name.
        files: paths from the card's folder to results and reports.
    """
    datasets = datasets or {}
    results = [
        replace(result, system=without_folders(result.system))
        for result in results
        if not datasets or result.task in datasets
    ]
    tasks = list(dict.fromkeys(result.task for result in results))
    named = {task: datasets.get(task, (task, task)) for task in tasks}
    named = {task: (hub_id(found) or "own data", *names) for task, (found, *names) in named.items()}
    new = eval_results(results, task_type, named)
    card.data.eval_results = other_entries(card, new) + new
    card.data.model_name = card.data.get("model_name") or "concept-encoder"

    title = one_line(f"{', '.join(tasks)} ({task_type.replace('-', ' ')})").replace("--", "–")
    links = "".join(f"\n- [{markdown(path)}]({quote(path)})" for path in files)
    content = f"## Results: {markdown(title)}\n\n{results_markdown(results)}\n{links}"
    card.text = put_section(card.text, title, content)
    return card


def other_entries(card: ModelCard, new: list[EvalResult]) -> list[EvalResult]:
    """The entries of a card's model-index for what none of the new ones measures; a card has one value for each."""

    def measured(entry):
        data = entry.dataset_type, entry.dataset_config, entry.dataset_split
        return entry.task_type, *data, entry.metric_type

    again = {measured(entry) for entry in new}
    return [entry for entry in card.data.get("eval_results") or [] if measured(entry) not in again]


def keep_results(card: ModelCard, old: ModelCard) -> list[str]:
    """Add the results that an older card alone has to a card, in place: entries of the model-index, and sections.
    Returns their names."""
    entries = card.data.get("eval_results") or []
    kept = other_entries(old, entries)
    if kept:
        card.data.eval_results = entries + kept
        card.data.model_name = card.data.get("model_name") or old.data.get("model_name")
    sections = dict(re.findall(SECTION.format("(.*?)", "(.*?)"), old.text, re.DOTALL))
    missing = [title for title in sections if f"<!-- results: {title} -->" not in card.text]
    for title in missing:
        card.text = put_section(card.text, title, sections[title])
    return missing + [f"{entry.metric_type} on {entry.dataset_name}" for entry in kept]


def put_section(text: str, title: str, content: str) -> str:
    """A card with a section of results, which replaces that of the same title, or else stands before the limits or at
    the end."""
    section = SECTION.format(title, content.strip())
    if earlier := re.search(SECTION.format(re.escape(title), ".*?"), text, re.DOTALL):
        return text[: earlier.start()] + section + text[earlier.end() :]
    if limits := re.search(r"^## Limits", text, re.MULTILINE):
        return f"{text[: limits.start()].rstrip()}\n\n{section}\n{text[limits.start() :].lstrip()}"
    return f"{text.rstrip()}\n\n{section}"
