# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The card that a pretraining run leaves beside its checkpoint."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import SchedulerType

from .objectives import Mixture


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


@dataclass
class RunFacts:
    """
    What a card tells of a run.

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
        picture: file name.
        license: of the model.
    """

    name: str
    repo_id: str
    mixture: Mixture
    data: str
    command: str
    unigram: float
    trained: dict[str, float]
    untrained: dict[str, float]
    training: dict[str, object]
    data_id: str | None = None
    examples: list[tuple[str, str]] = field(default_factory=list)
    picture: str | None = None
    license: str | None = None


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
    prefixes = ["", *(f"{name}_" for name in facts.mixture.objectives)]
    return [f"{prefix}{name}" for name in RESULTS for prefix in prefixes if f"{prefix}{name}" in facts.trained]


def make_card(model, training_args, facts: RunFacts) -> ModelCard:
    """The card of a pretrained `model`, with its results as model-index."""
    config, objective = model.config, facts.mixture.describe()
    results = [
        EvalResult(
            task_type="feature-extraction" if metric.startswith(("content", "duplicate")) else "fill-mask",
            task_name=objective,
            dataset_type=facts.data_id or "text",
            dataset_name=facts.data,
            dataset_split="validation",
            metric_type=metric,
            metric_value=round(facts.trained[metric], 5),
        )
        for metric in result_names(facts)
        if metric != "ref_rank"
    ]
    data = ModelCardData(
        language="en",
        license=facts.license,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["concept-encoder", "perceiver", "sentence-similarity", *facts.mixture.objectives],
        datasets=[facts.data_id] if facts.data_id else None,
        model_name=facts.name,
        eval_results=results,
    )
    parameters = model.num_parameters()
    table = model.get_input_embeddings().weight.numel()
    architecture = {
        "class": f"`{type(model).__name__}`",
        "parameters": f"{parameters:,} ({parameters - table:,} without the token table)",
        "concepts": f"{config.concept_num} of width {config.hidden_size}, {config.concept_position_type}",
        "encoder": f"{config.encoder_type}, {config.num_hidden_layers} layers, {config.num_attention_heads} heads; "
        f"{config.num_token_mixers} token mixers ({config.token_mixer_type})",
        "decoder": f"{config.decoder_type}, {config.num_decoder_layers} layers, mixing {config.decoder_mixer_type}",
        "vocabulary": f"{config.vocab_size:,}",
        "longest text": f"{config.max_sequence_length:,} tokens",
    }
    training = {
        "objective options": "`" + json.dumps(facts.mixture.options()) + "`",
        "concept losses": training_args.concept_losses or "none",
        "learning rate": f"{training_args.learning_rate:g}, {SchedulerType(training_args.lr_scheduler_type).value}",
        "batch": f"{training_args.train_batch_size} × {training_args.gradient_accumulation_steps}",
        "seed": training_args.seed,
        **facts.training,
        "transformers": transformers.__version__,
    }
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        model_name=facts.name,
        repo_id=facts.repo_id,
        config=config,
        has_head=hasattr(model, "lm_head"),
        reconstructs=config.decoder_target in ("text", "both"),
        architecture=architecture,
        training=training,
        data=facts.data,
        objective=objective,
        command=facts.command,
        unigram=facts.unigram,
        results=result_rows(facts),
        examples=facts.examples,
        picture=facts.picture,
    )
