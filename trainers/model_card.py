# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Model cards: of a pretraining run, of a fine-tuned classifier, and results that are added to either."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment
from transformers import SchedulerType

from modeling_concept.card_concept import other_entries, put_section

from .objectives import Mixture
from .plain_text import Markdown, code_block, code_span, markdown, markdown_rows, one_line
from .results import Result, eval_results
from .script import without_folders


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

# Working code by kind of model; {model} is where it is loaded from, in quotes, {text} a text, or a pair of texts where
# pairs are classified.
USAGE = {
    "encoder": """\
from transformers import AutoModel, AutoTokenizer
model = AutoModel.from_pretrained({model}, trust_remote_code=True)
print(model.encode(["A sentence.", "Another one."]).sentence_embeddings.shape)
tokenizer = AutoTokenizer.from_pretrained({model}, trust_remote_code=True)
print(model(**tokenizer("A sentence.", return_tensors="pt")).last_hidden_state.shape)  # the concepts""",
    "reader": """\
from transformers import AutoModelForMaskedLM
reader = AutoModelForMaskedLM.from_pretrained({model}, trust_remote_code=True)
print(reader.reconstruct("A sentence."))  # read from the concepts alone""",
    "writer": """\
from transformers import AutoModelForMaskedLM
reader = AutoModelForMaskedLM.from_pretrained({model}, trust_remote_code=True)
print(reader.complete("A sentence", max_new_tokens=16))""",
    "sentences": """\
from sentence_transformers import SentenceTransformer
sentence_model = SentenceTransformer({model}, trust_remote_code=True)
print(sentence_model.encode(["A sentence.", "Another one."]).shape)""",
    "classifier": """\
from transformers import pipeline
classifier = pipeline("text-classification", model={model}, trust_remote_code=True)
print(classifier({text}))""",
    "pair classifier": """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({model}, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained({model}, trust_remote_code=True).eval()
a, b = (tokenizer(text, return_tensors="pt") for text in ("A sentence.", "Another one."))
print(model(a["input_ids"], a["attention_mask"], b["input_ids"], b["attention_mask"]).logits)""",
}


@dataclass
class CardArguments:
    """What a card says, and whether it may replace one."""

    language: str | None = field(
        default=None, metadata={"help": "Language of the text, for the card: en, or several with commas: pl,de."}
    )
    overwrite_card: bool = field(
        default=False, metadata={"help": "Replace the card on the Hub even if somebody has edited it there."}
    )

    def __post_init__(self):
        check_language(self.language)
        getattr(super(), "__post_init__", lambda: None)()


@dataclass
class RunFacts:
    """
    What a card tells of a pretraining run; what is not known is left out of it.

    Args:
        name: of the run.
        repo_id: what its code loads: a Hub id, or the name of a folder.
        mixture: the objectives with their options.
        data: where the text came from; `text_column`: the column of texts there.
        data_ids: Hub ids of the data sets.
        base_model: Hub id of the model from which weights were taken.
        language: of the text, by its code, or several with commas.
        command: that makes the model.
        unigram: entropy of the training tokens, nats per token.
        trained, untrained: metrics without prefix.
        training: further facts by name (steps, tokens, seconds, git state).
        examples: held-out sentences with what was read back.
        kinds: table in Markdown of how much comes back of each kind of text.
        picture: path of a picture from the card's folder.
        license: of the model.
    """

    name: str
    repo_id: str
    mixture: Mixture | None = None
    data: str | None = None
    text_column: str | None = None
    data_ids: tuple[str, ...] = ()
    base_model: str | None = None
    language: str | None = None
    command: str | None = None
    unigram: float | None = None
    trained: dict[str, float] = field(default_factory=dict)
    untrained: dict[str, float] = field(default_factory=dict)
    training: dict[str, object] = field(default_factory=dict)
    examples: list[tuple[str, str]] = field(default_factory=list)
    kinds: str | None = None
    picture: str | None = None
    license: str | None = None


@dataclass
class TaskFacts:
    """
    What a card tells of a fine-tuned classifier.

    Args:
        name: of the run.
        repo_id: what its code loads: a Hub id, or the name of a folder.
        base_model: checkpoint that was fine-tuned: a Hub id or a folder.
        language: of the texts, by its code, or several with commas.
        datasets: from the tasks it was trained on to Hub id and readable name of their data, as in [`eval_results`].
        pairs: whether it classifies pairs of texts.
        command: that makes the model.
        training: hyperparameters and further facts by name.
        task_type: the Hub's name of the task.
        picture: path of a picture from the card's folder.
        license: of the model.
        score_range: for scores, which of those in the data became 0 and 1; None where they stayed as they were.
    """

    name: str
    repo_id: str
    base_model: str | None = None
    language: str | None = None
    datasets: dict[str, tuple] = field(default_factory=dict)
    pairs: bool = False
    command: str | None = None
    training: dict[str, object] = field(default_factory=dict)
    task_type: str = "text-classification"
    picture: str | None = None
    license: str | None = None
    score_range: tuple[float, float] | None = None


def hub_id(name: str | None) -> str | None:
    """`name` if it can be an id on the Hub and is no folder here; the metadata of cards hold nothing else."""
    return name if name and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not Path(name).exists() else None


def known_as(name: str) -> str:
    """A model or a data set as cards name it: by its Hub id, or by the last part of a path, never by the path."""
    return name if hub_id(name) else Path(name).resolve().name


def check_language(language: str | None) -> list[str] | None:
    """Codes of languages as metadata of cards; ValueError for what is none."""
    codes = [code.strip() for code in language.split(",")] if language else None
    if wrong := [code for code in codes or () if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]{2,4})?|multilingual", code)]:
        raise ValueError(f"--language takes codes of languages, such as en or pl,de, not {wrong[0]!r}.")
    return codes


def classifies(model) -> bool:
    return "Classification" in (model.auto_class or "")


def usage(model, repo_id: str, pairs: bool = False) -> str:
    """Lines of Python that load `model` from `repo_id` and apply it; `pairs`: to a pair of texts."""
    kind = "encoder"
    if classifies(model):
        kind = "pair classifier" if model.main_input_name == "input_ids_a" else "classifier"
    text = '{"text": "A sentence.", "text_pair": "Another one."}' if pairs else '"A sentence."'
    return usage_code(kind, repo_id, text)


def usage_code(kind: str, repo_id: str, text: str = "") -> str:
    return USAGE[kind].format(model=json.dumps(repo_id, ensure_ascii=False), text=text)


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
    """The model-index of a pretraining run."""
    return [
        EvalResult(
            task_type="feature-extraction" if metric.startswith(("content", "duplicate")) else "fill-mask",
            task_name=facts.mixture.describe() if facts.mixture else None,
            dataset_type=facts.data_ids[0] if len(facts.data_ids) == 1 else "text",
            dataset_name=facts.data or "held-out text",
            dataset_split="validation",
            metric_type=metric,
            metric_name=metric,
            metric_value=round(facts.trained[metric], 5),
        )
        for metric in result_names(facts)
        if metric != "ref_rank" and not math.isnan(facts.trained[metric])
    ]


def describe_architecture(model) -> dict[str, str]:
    config, parameters = model.config, model.num_parameters()
    table = model.get_input_embeddings().weight.numel()
    decoder = "none"
    if getattr(model, "decoder", None) is not None:
        decoder = f"{config.decoder_type}, {config.num_decoder_layers} layers, mixing {config.decoder_mixer_type}"
    mixers = f"; token mixers: {config.num_token_mixers}, {config.token_mixer_type}" if config.num_token_mixers else ""
    return {
        "class": code_span(type(model).__name__),
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
        language=check_language(facts.language),
        license=facts.license,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["concept-encoder", "perceiver", "sentence-transformers", "sentence-similarity", *objectives],
        datasets=list(facts.data_ids) or None,
        base_model=hub_id(facts.base_model),
        model_name=facts.name,
        eval_results=results or None,
    )
    training = {"objective options": code_span(json.dumps(facts.mixture.options()))} if objectives else {}
    if training_args is not None:
        training |= {"concept losses": training_args.concept_losses or "none", **describe_training(training_args)}
    training |= facts.training
    column = f", column {code_span(facts.text_column)}" if facts.text_column else ""
    reader = "reader" if model.config.decoder_target in ("text", "both") else "writer"
    return render(
        data,
        facts=facts,
        config=model.config,
        data=facts.data and Markdown(markdown(facts.data) + column),
        code=code_block(usage(model, facts.repo_id)),
        reader=code_block(usage_code(reader, facts.repo_id)) if hasattr(model, "lm_head") else None,
        sentences=code_block(usage_code("sentences", facts.repo_id)),
        architecture=describe_architecture(model),
        training=training,
        objective=code_span(facts.mixture.describe()) if objectives else None,
        results=result_rows(facts),
    )


def render(card_data: ModelCardData, **values) -> ModelCard:
    """The template with these values, each of which stands for itself, not for Markdown; sections that are left out
    leave no gaps."""
    template = Environment(finalize=markdown, keep_trailing_newline=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    command = values["facts"].command
    command = command and code_block(command, "bash")
    metadata = Markdown(card_data.to_yaml().strip())
    card = ModelCard(template.render(card_data=metadata, command=command, **values))
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
        language=check_language(facts.language),
        license=facts.license,
        library_name="transformers",
        pipeline_tag=facts.task_type,
        tags=["concept-encoder", *facts.datasets],
        datasets=sorted({found[0] for found in facts.datasets.values() if hub_id(found[0])}) or None,
        base_model=hub_id(facts.base_model),
        model_name=facts.name,
    )
    named = {
        task: name if name.startswith(task) else f"{name} ({task})" for task, (_, name, *_) in facts.datasets.items()
    }
    labels = model.config.id2label if model.config.num_labels > 1 else {}
    card = render(
        data,
        facts=facts,
        config=model.config,
        data=", ".join(named.values()),
        tasks=", ".join(facts.datasets),
        base_model=facts.base_model and code_span(known_as(facts.base_model)),
        code=code_block(usage(model, facts.repo_id, facts.pairs)),
        classifies=True,
        labels=Markdown(", ".join(f"{number} is {code_span(label)}" for number, label in labels.items())),
        architecture=describe_architecture(model),
        training={**({} if training_args is None else describe_training(training_args)), **facts.training},
    )
    results = list(results)
    return add_results(card, results, facts.task_type, facts.datasets) if results else card


def add_results(
    card: ModelCard,
    results: Iterable[Result],
    task_type: str = "text-classification",
    datasets: dict[str, tuple] | None = None,
    files: Iterable[str] = (),
) -> ModelCard:
    """
    Put results into a card, in place: into its model-index, where equal entries get the new value, and as a table,
    which replaces that of the same tasks and type of task: a task may be measured with and without fine-tuning.

    Args:
        task_type, datasets: as in [`eval_results`]. Tasks that have no data set where others have one, such as means
            over tasks and costs, are left out; where none has one, each stands under its own name.
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
    card.data.eval_results = other_entries(card.data.get("eval_results") or [], new) + new
    if card.data.get("model_name") is None:
        heading = re.search(r"^# (.+)$", card.text, re.MULTILINE)
        card.data.model_name = heading[1] if heading else "concept-encoder"

    title = one_line(f"{', '.join(tasks)} ({task_type.replace('-', ' ')})").replace("--", "–")
    links = "".join(f"\n- [{markdown(path)}]({quote(path)})" for path in files)
    card.text = put_section(card.text, title, f"## Results: {markdown(title)}\n\n{results_rows(results)}\n{links}")
    return card


def results_rows(results: list[Result]) -> str:
    """A line for each task, split and metric; a column for each system."""
    systems = list(dict.fromkeys(result.system for result in results))
    lines = {}
    for result in results:
        count = "" if result.count is None else f" ({result.count:,})"
        lines.setdefault((result.task, f"{result.split}{count}", result.metric), {})[result.system] = result.shown()
    head = ["task", "split (examples)", "metric", *systems]
    rows = [head, ["---"] * len(head)]
    rows += [[*line, *(found.get(system, "") for system in systems)] for line, found in lines.items()]
    return markdown_rows(rows)
