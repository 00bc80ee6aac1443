# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Model cards: of a pretraining run, of a fine-tuned classifier, and results that are added to either."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import SchedulerType

from .objectives import Mixture
from .results import UNTRAINED, Result, eval_results


TEMPLATE = Path(__file__).parent / "model_card_template.md"

# Results shown, by their name in the metrics, with their format.
RESULTS = {
    "loss": "{:.3f}",
    "nelbo": "{:.3f}",
    "perplexity": "{:.1f}",
    "retrieval_accuracy": "{:.2%}",
    "concept_gain": "{:.3f}",
    "suffix_gain": "{:.3f}",
    "reconstruction_accuracy": "{:.2%}",
    "exact_match": "{:.2%}",
    "content_fraction": "{:.3f}",
    "content_erank": "{:.1f}",
    "duplicate_share": "{:.2%}",
    "ref_rank": "{:.1f}",
}

# Working code by kind of model; {text} is a text, or a pair where pairs are classified.
USAGE = {
    "encoder": """\
from transformers import AutoModel
model = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True)
print(model.encode(["A sentence.", "Another one."]).sentence_embeddings.shape)""",
    "classifier": """\
from transformers import pipeline
classifier = pipeline("text-classification", model="{repo_id}", trust_remote_code=True)
print(classifier({text}))""",
    "pair classifier": """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("{repo_id}", trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained("{repo_id}", trust_remote_code=True).eval()
a, b = (tokenizer(text, return_tensors="pt") for text in ("A sentence.", "Another one."))
print(model(a["input_ids"], a["attention_mask"], b["input_ids"], b["attention_mask"]).logits)""",
}


@dataclass
class RunFacts:
    """
    What a card tells of a pretraining run; what is not known is left out of it.

    Args:
        name: of the run.
        repo_id: where the model is loaded from: a Hub id or a folder.
        mixture: the objectives with their options.
        data: where the text came from; `data_id` is its Hub id, if it has one.
        command: that makes the model.
        unigram: entropy of the training tokens, nats per token.
        trained, untrained: metrics without prefix.
        training: further facts by name (steps, tokens, seconds, git state).
        examples: held-out sentences with what was read back.
        picture: path of a picture from the card's folder.
        license: of the model.
    """

    name: str
    repo_id: str
    mixture: Mixture | None = None
    data: str | None = None
    command: str | None = None
    unigram: float | None = None
    trained: dict[str, float] = field(default_factory=dict)
    untrained: dict[str, float] = field(default_factory=dict)
    training: dict[str, object] = field(default_factory=dict)
    data_id: str | None = None
    examples: list[tuple[str, str]] = field(default_factory=list)
    picture: str | None = None
    license: str | None = None


@dataclass
class TaskFacts:
    """
    What a card tells of a fine-tuned classifier.

    Args:
        name: of the run.
        repo_id: where the model is loaded from: a Hub id or a folder.
        base_model: checkpoint that was fine-tuned: a Hub id or a folder.
        datasets: from the tasks it was trained on to Hub id and readable name of their data, as in [`eval_results`].
        pairs: whether it classifies pairs of texts.
        command: that makes the model.
        training: hyperparameters and further facts by name.
        task_type: the Hub's name of the task.
        picture: path of a picture from the card's folder.
        license: of the model.
    """

    name: str
    repo_id: str
    base_model: str | None = None
    datasets: dict[str, tuple[str, str]] = field(default_factory=dict)
    pairs: bool = False
    command: str | None = None
    training: dict[str, object] = field(default_factory=dict)
    task_type: str = "text-classification"
    picture: str | None = None
    license: str | None = None


def hub_id(name: str | None) -> str | None:
    """`name` if it can be an id on the Hub and is no folder here; the metadata of cards hold nothing else."""
    return name if name and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not Path(name).exists() else None


def classifies(model) -> bool:
    return "Classification" in (model.auto_class or "")


def usage(model, repo_id: str, pairs: bool = False) -> str:
    """Lines of Python that load `model` from `repo_id` and apply it; `pairs`: to a pair of texts."""
    kind = "encoder"
    if classifies(model):
        kind = "pair classifier" if model.main_input_name == "input_ids_a" else "classifier"
    text = '{"text": "A sentence.", "text_pair": "Another one."}' if pairs else '"A sentence."'
    return USAGE[kind].format(repo_id=repo_id, text=text)


def result_rows(facts: RunFacts) -> list[tuple[str, str, str]]:
    """Metric, trained, untrained: as in the card and on the screen."""
    rows = []
    for name in result_names(facts):
        form = next(form for known, form in RESULTS.items() if name.endswith(known))
        before = facts.untrained.get(name)
        rows.append((name, form.format(facts.trained[name]), "" if before is None else form.format(before)))
    return rows


def result_names(facts: RunFacts) -> list[str]:
    """The metrics to show, those of single objectives of a mixture among them, in the order of `RESULTS`."""
    prefixes = ["", *(f"{name}_" for name in (facts.mixture.objectives if facts.mixture else ()))]
    return [f"{prefix}{name}" for name in RESULTS for prefix in prefixes if f"{prefix}{name}" in facts.trained]


def run_eval_results(facts: RunFacts) -> list[EvalResult]:
    """The model-index of a pretraining run, with the untrained network beside it."""
    systems = {"": facts.trained, f" ({UNTRAINED})": facts.untrained}
    return [
        EvalResult(
            task_type="feature-extraction" if metric.startswith(("content", "duplicate")) else "fill-mask",
            task_name=facts.mixture.describe() if facts.mixture else None,
            dataset_type=facts.data_id or "text",
            dataset_name=facts.data or "held-out text",
            dataset_split="validation",
            metric_type=metric,
            metric_name=f"{metric}{system}",
            metric_value=round(metrics[metric], 5),
        )
        for metric in result_names(facts)
        if metric != "ref_rank"
        for system, metrics in systems.items()
        if not math.isnan(metrics.get(metric, math.nan))
    ]


def describe_architecture(model) -> dict[str, str]:
    config, parameters = model.config, model.num_parameters()
    table = model.get_input_embeddings().weight.numel()
    decoder = "none"
    if getattr(model, "decoder", None) is not None:
        decoder = f"{config.decoder_type}, {config.num_decoder_layers} layers, mixing {config.decoder_mixer_type}"
    mixers = f"; token mixers: {config.num_token_mixers}, {config.token_mixer_type}" if config.num_token_mixers else ""
    return {
        "class": f"`{type(model).__name__}`",
        "parameters": f"{parameters:,} ({parameters - table:,} without the token table)",
        "concepts": f"{config.concept_num} of width {config.hidden_size}, {config.concept_position_type}",
        "encoder": f"{config.encoder_type}, {config.num_hidden_layers} layers, {config.num_attention_heads} heads"
        f"{mixers}",
        "decoder": decoder,
        "vocabulary": f"{config.vocab_size:,}",
        "longest text": f"{config.max_sequence_length:,} tokens",
    }


def describe_training(training_args) -> dict[str, object]:
    """Hyperparameters of any `TrainingArguments`."""
    return {
        "learning rate": f"{training_args.learning_rate:g}, {SchedulerType(training_args.lr_scheduler_type).value}",
        "batch": f"{training_args.train_batch_size} × {training_args.gradient_accumulation_steps}",
        "seed": training_args.seed,
        "transformers": transformers.__version__,
    }


def undescribed_card(model, name: str, repo_id: str) -> ModelCard:
    """A card of which only the architecture is known."""
    if classifies(model):
        return make_task_card(model, None, [], TaskFacts(name, repo_id))
    return make_card(model, None, RunFacts(name, repo_id))


def make_card(model, training_args, facts: RunFacts) -> ModelCard:
    """The card of a pretrained `model`, with its results as model-index; `training_args` None where not known."""
    objectives = dict(facts.mixture.objectives) if facts.mixture else {}
    results = run_eval_results(facts)
    data = ModelCardData(
        language="en",
        license=facts.license,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["concept-encoder", "perceiver", "sentence-similarity", *objectives],
        datasets=[facts.data_id] if facts.data_id else None,
        model_name=facts.name,
        eval_results=results or None,
    )
    training = {"objective options": "`" + json.dumps(facts.mixture.options()) + "`"} if objectives else {}
    if training_args is not None:
        training |= {"concept losses": training_args.concept_losses or "none", **describe_training(training_args)}
    training |= facts.training
    return render(
        data,
        facts=facts,
        config=model.config,
        code=usage(model, facts.repo_id),
        has_head=hasattr(model, "lm_head"),
        reconstructs=model.config.decoder_target in ("text", "both"),
        architecture=describe_architecture(model),
        training=training,
        objective=facts.mixture.describe() if objectives else None,
        results=result_rows(facts),
    )


def render(data: ModelCardData, **values) -> ModelCard:
    """The template with these values; sections that are left out leave no gaps."""
    card = ModelCard.from_template(data, template_path=str(TEMPLATE), **values)
    card.text = re.sub(r"\n{3,}", "\n\n", card.text)
    return card


def make_task_card(model, training_args, results: Iterable[Result], facts: TaskFacts) -> ModelCard:
    """
    The card of a fine-tuned classifier, with its results and those of the baselines as model-index and as a table.

    Args:
        training_args: of its training, or None.
        results: on the tasks of `facts.datasets`.
    """
    data = ModelCardData(
        license=facts.license,
        library_name="transformers",
        pipeline_tag=facts.task_type,
        tags=["concept-encoder", *facts.datasets],
        datasets=sorted({found for found, _ in facts.datasets.values() if hub_id(found)}) or None,
        base_model=hub_id(facts.base_model),
        model_name=facts.name,
    )
    card = render(
        data,
        facts=facts,
        config=model.config,
        code=usage(model, facts.repo_id, facts.pairs),
        classifies=True,
        labels=model.config.id2label if model.config.num_labels > 1 else {},
        architecture=describe_architecture(model),
        training={**({} if training_args is None else describe_training(training_args)), **facts.training},
    )
    results = list(results)
    return add_results(card, results, facts.task_type, facts.datasets) if results else card


def add_results(
    card: ModelCard,
    results: Iterable[Result],
    task_type: str = "text-classification",
    datasets: dict[str, tuple[str, str]] | None = None,
    files: Iterable[str] = (),
) -> ModelCard:
    """
    Put results into a card, in place: into its model-index, where equal entries get the new value, and as a table,
    which replaces that of the same tasks and type of task: a task may be measured with and without fine-tuning.

    Args:
        task_type, datasets: as in [`eval_results`]; a task without data set stands under its own name.
        files: paths from the card's folder to results and reports.
    """
    results, datasets = list(results), datasets or {}
    tasks = list(dict.fromkeys(result.task for result in results))
    named = {task: datasets.get(task, (task, task)) for task in tasks}
    named = {task: (hub_id(found) or task, name) for task, (found, name) in named.items()}
    new = eval_results(results, task_type, named)
    old = card.data.get("eval_results", [])
    card.data.eval_results = [entry for entry in old if not any(entry.is_equal_except_value(n) for n in new)] + new
    if card.data.get("model_name") is None:
        heading = re.search(r"^# (.+)$", card.text, re.MULTILINE)
        card.data.model_name = heading[1] if heading else "concept-encoder"

    title = f"{', '.join(tasks)} ({task_type.replace('-', ' ')})"
    opening, closing = f"<!-- results: {title} -->", "<!-- end of results -->"
    links = "".join(f"\n- [{path}]({path})" for path in files)
    section = f"{opening}\n## Results: {title}\n\n{markdown_table(results)}\n{links}\n{closing}\n"
    if opening in card.text:
        start = card.text.index(opening)
        end = card.text.index(closing, start) + len(closing) + 1
    else:
        limits = re.search(r"^## Limits", card.text, re.MULTILINE)
        start = end = limits.start() if limits else len(card.text)
        section = f"{section}\n" if limits else f"\n\n{section}"
    card.text = card.text[:start] + section + card.text[end:]
    return card


def markdown_table(results: list[Result]) -> str:
    """A line for each task, split and metric; a column for each system."""
    systems = list(dict.fromkeys(result.system for result in results))
    lines = {}
    for result in results:
        count = "" if result.count is None else f" ({result.count:,})"
        lines.setdefault((result.task, f"{result.split}{count}", result.metric), {})[result.system] = result.shown()
    head = ["task", "split (examples)", "metric", *systems]
    rows = [head, ["---"] * len(head)]
    rows += [[*line, *(found.get(system, "") for system in systems)] for line, found in lines.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
