# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Model cards of pretraining runs and of fine-tuned classifiers, and evaluation results on either."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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

# Code that applies a model; {model} is the quoted name to load from, {text} a text or a pair of texts.
USAGE = {
    "encoder": """\
from transformers import AutoModel, AutoTokenizer
model = AutoModel.from_pretrained({model}, trust_remote_code=True)
print(model.encode(["A sentence.", "Another one."]).sentence_embeddings.shape)
tokenizer = AutoTokenizer.from_pretrained({model}, trust_remote_code=True)
print(model(**tokenizer("A sentence.", return_tensors="pt")).last_hidden_state.shape)  # the concepts""",
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
    """The content of the card, and whether it may replace an edited one."""

    language: str | None = field(
        default=None, metadata={"help": "Language of the text, for the card: en, or several with commas: pl,de."}
    )
    overwrite_card: bool = field(
        default=False, metadata={"help": "Replace the card on the Hub even if somebody has edited it there."}
    )


@dataclass
class CardFacts:
    """
    Facts of a run for its card, which leaves out what is not given.

    Args:
        name: of the run.
        repo_id: the name from which the card's code loads: a Hub id, or a folder.
        base_model: the model from which weights were taken: a Hub id or a folder.
        language: code of the text's language, or several with commas.
        command: that trains the model.
        training: further facts by name (steps, tokens, seconds, git state).
    """

    name: str
    repo_id: str
    base_model: str | None = None
    language: str | None = None
    command: str | None = None
    training: dict[str, object] = field(default_factory=dict)


@dataclass(kw_only=True)
class RunFacts(CardFacts):
    """
    Facts of a pretraining run.

    Args:
        mixture: the objectives with their options.
        data: name of the data; `text_column`: its column of texts.
        data_ids: Hub ids of the data sets.
        unigram: entropy of the training tokens, nats per token.
        trained, untrained: metrics without prefix.
        examples: held-out sentences with their reconstructions.
        kinds: table in Markdown of the reconstruction accuracy by kind of text.
        picture: path of a picture from the card's folder.
        license: of the model.
    """

    mixture: Mixture | None = None
    data: str | None = None
    text_column: str | None = None
    data_ids: tuple[str, ...] = ()
    unigram: float | None = None
    trained: dict[str, float] = field(default_factory=dict)
    untrained: dict[str, float] = field(default_factory=dict)
    examples: list[tuple[str, str]] = field(default_factory=list)
    kinds: str | None = None
    picture: str | None = None
    license: str | None = None


@dataclass(kw_only=True)
class TaskFacts(CardFacts):
    """
    Facts of a fine-tuned classifier.

    Args:
        datasets: from its tasks to Hub id and readable name of their data, as in [`eval_results`].
        pairs: whether it classifies pairs of texts.
        task_type: the Hub's name of the task.
        score_range: for scores, the values in the data that became 0 and 1; None where they stayed as they were.
    """

    datasets: dict[str, tuple] = field(default_factory=dict)
    pairs: bool = False
    task_type: str = "text-classification"
    score_range: tuple[float, float] | None = None


def hub_id(name: str | None) -> str | None:
    """`name` if it can be an id on the Hub and is no folder on this machine, as metadata of cards require."""
    return name if name and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not Path(name).exists() else None


def known_as(name: str) -> str:
    """The name of a model or a data set on cards: its Hub id, or the last part of its path."""
    return name if hub_id(name) else Path(name).resolve().name


def language_codes(language: str | None) -> list[str] | None:
    """Codes of languages as a list."""
    return [code.strip() for code in language.split(",")] if language else None


def classifies(model) -> bool:
    return "Classification" in (model.auto_class or "")


def usage(model, repo_id: str, pairs: bool = False) -> str:
    """Lines of Python that load `model` from `repo_id` and apply it; `pairs`: to a pair of texts."""
    kind = "encoder"
    if classifies(model):
        kind = "pair classifier" if model.main_input_name == "input_ids_a" else "classifier"
    text = '{"text": "A sentence.", "text_pair": "Another one."}' if pairs else '"A sentence."'
    return USAGE[kind].format(model=quoted(repo_id), text=text)


def quoted(name: str) -> Markdown:
    """A name in quotes for a block of code."""
    return Markdown(json.dumps(name, ensure_ascii=False))


def result_names(facts: RunFacts) -> list[str]:
    """The metrics on the card, including those of single objectives of a mixture, in the order of `RESULTS`."""
    prefixes = ["", *(f"{name}_" for name in (facts.mixture.objectives if facts.mixture else ()))]
    return [f"{prefix}{name}" for name in RESULTS for prefix in prefixes if f"{prefix}{name}" in facts.trained]


def result_rows(facts: RunFacts) -> list[tuple[str, str, str]]:
    """Metric, trained and untrained value, for the card and the screen."""
    rows = []
    for name in result_names(facts):
        form = next(form for known, form in RESULTS.items() if name.endswith(known))
        before = facts.untrained.get(name)
        rows.append((name, form.format(facts.trained[name]), "" if before is None else form.format(before)))
    return rows


def run_eval_results(facts: RunFacts) -> list[EvalResult]:
    """The model-index of a pretraining run."""
    data = facts.data or "held-out text"
    source = facts.data_ids[0] if len(facts.data_ids) == 1 else "text"
    names = [name for name in result_names(facts) if name != "ref_rank"]
    results = [Result(data, "validation", name, facts.name, facts.trained[name]) for name in names]
    return eval_results(results, "feature-extraction", {data: (source, data)})


def describe_architecture(model) -> dict[str, str]:
    config, parameters = model.config, model.num_parameters()
    table = model.get_input_embeddings().weight.numel()
    has_decoder = getattr(model, "decoder", None) is not None
    return {
        "class": code_span(type(model).__name__),
        "parameters": f"{parameters:,} ({parameters - table:,} without the token table)",
        "concepts": f"{config.concept_num} of width {config.hidden_size}",
        "encoder": f"{config.encoder_type}, {config.num_hidden_layers} layers, {config.num_attention_heads} heads",
        "decoder": f"{config.decoder_type}, {config.num_decoder_layers} layers" if has_decoder else "none",
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
    """A card that describes only the architecture."""
    if classifies(model):
        return make_task_card(model, None, [], TaskFacts(name, repo_id))
    return make_card(model, None, RunFacts(name, repo_id))


def make_card(model, training_args, facts: RunFacts) -> ModelCard:
    """The card of a pretrained `model`, with its results as model-index; `training_args` may be None."""
    objectives = dict(facts.mixture.objectives) if facts.mixture else {}
    metadata = ModelCardData(
        language=language_codes(facts.language),
        license=facts.license,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["concept-encoder", "perceiver", "sentence-transformers", "sentence-similarity", *objectives],
        datasets=list(facts.data_ids) or None,
        base_model=hub_id(facts.base_model),
        model_name=facts.name,
        eval_results=run_eval_results(facts) or None,
    )
    training = {"objective options": code_span(json.dumps(facts.mixture.options()))} if objectives else {}
    if training_args is not None:
        training |= {"concept losses": training_args.concept_losses or "none", **describe_training(training_args)}
    column = f", column {code_span(facts.text_column)}" if facts.text_column else ""
    examples = markdown_table(["held-out sentence", "reconstruction from its concepts"], facts.examples, 2)
    return render(
        metadata,
        model,
        facts,
        training | facts.training,
        data=facts.data and Markdown(markdown(facts.data) + column),
        code=code_block(usage(model, facts.repo_id)),
        quoted_id=quoted(facts.repo_id),
        decodes=hasattr(model, "lm_head"),
        objective=code_span(facts.mixture.describe()) if objectives else None,
        results=markdown_table(["metric", "trained", "untrained"], result_rows(facts)) if facts.trained else None,
        examples=examples if facts.examples else None,
    )


def render(metadata: ModelCardData, model, facts: RunFacts | TaskFacts, training: dict, **values) -> ModelCard:
    """The template with these values, which are escaped unless they are Markdown."""
    template = Environment(finalize=markdown, keep_trailing_newline=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    card = ModelCard(
        template.render(
            card_data=Markdown(metadata.to_yaml().strip()),
            config=model.config,
            facts=facts,
            architecture=markdown_table(["", ""], describe_architecture(model).items(), 2),
            training=markdown_table(["", ""], training.items(), 2) if training else None,
            command=facts.command and code_block(facts.command, "bash"),
            **values,
        )
    )
    card.text = re.sub(r"\n{3,}", "\n\n", card.text)
    return card


def make_task_card(model, training_args, results: Iterable[Result], facts: TaskFacts) -> ModelCard:
    """
    The card of a fine-tuned classifier, with its results and those of the baselines as model-index and as a table.

    Args:
        training_args: of its training, or None.
        results: on the tasks of `facts.datasets`.
    """
    metadata = ModelCardData(
        language=language_codes(facts.language),
        library_name="transformers",
        pipeline_tag=facts.task_type,
        tags=["concept-encoder", *facts.datasets],
        datasets=sorted({found[0] for found in facts.datasets.values() if hub_id(found[0])}) or None,
        base_model=hub_id(facts.base_model),
        model_name=facts.name,
    )
    named = [name if name.startswith(task) else f"{name} ({task})" for task, (_, name, *_) in facts.datasets.items()]
    labels = model.config.id2label if model.config.num_labels > 1 else {}
    card = render(
        metadata,
        model,
        facts,
        {**({} if training_args is None else describe_training(training_args)), **facts.training},
        data=", ".join(named),
        tasks=", ".join(facts.datasets),
        base_model=facts.base_model and code_span(known_as(facts.base_model)),
        code=code_block(usage(model, facts.repo_id, facts.pairs)),
        classifies=True,
        labels=Markdown(", ".join(f"{number} is {code_span(label)}" for number, label in labels.items())),
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
    again = {measurement(entry) for entry in new}
    old = [entry for entry in card.data.get("eval_results") or [] if measurement(entry) not in again]
    card.data.eval_results = old + new
    if card.data.get("model_name") is None:
        heading = re.search(r"^# (.+)$", card.text, re.MULTILINE)
        card.data.model_name = heading[1] if heading else "concept-encoder"

    title = one_line(f"{', '.join(tasks)} ({task_type.replace('-', ' ')})").replace("--", "–")
    links = "".join(f"\n- [{markdown(path)}]({quote(path)})" for path in files)
    content = f"## Results: {markdown(title)}\n\n{results_markdown(results)}\n{links}"
    card.text = put_section(card.text, title, content)
    return card


def measurement(entry: EvalResult) -> tuple:
    """What an entry of a model-index measures, of which there is one value on a card."""
    data = entry.dataset_type, entry.dataset_config, entry.dataset_split
    return entry.task_type, *data, entry.metric_type


def put_section(text: str, title: str, content: str) -> str:
    """A card with a section of results, which replaces that of the same title, or else stands before the limits or at
    the end."""
    section = SECTION.format(title, content.strip())
    if earlier := re.search(SECTION.format(re.escape(title), ".*?"), text, re.DOTALL):
        return text[: earlier.start()] + section + text[earlier.end() :]
    if limits := re.search(r"^## Limits", text, re.MULTILINE):
        return f"{text[: limits.start()].rstrip()}\n\n{section}\n{text[limits.start() :].lstrip()}"
    return f"{text.rstrip()}\n\n{section}"
