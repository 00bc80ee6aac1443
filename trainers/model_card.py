# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The card that a pretraining run leaves beside its checkpoint."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import SchedulerType


TEMPLATE = Path(__file__).parent / "model_card_template.md"

# Results shown, by their name in the metrics, with their format.
RESULTS = {
    "loss": "{:.3f}",
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
        objective: the objective with its options.
        objective_name: its name.
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
    objective: object
    objective_name: str
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
    for name, form in RESULTS.items():
        if name in facts.trained:
            before = facts.untrained.get(name)
            rows.append((name, form.format(facts.trained[name]), "" if before is None else form.format(before)))
    return rows


def make_card(model, training_args, facts: RunFacts) -> ModelCard:
    """The card of a pretrained `model`, with its results as model-index."""
    config = model.config
    results = [
        EvalResult(
            task_type="feature-extraction" if metric.startswith(("content", "duplicate")) else "fill-mask",
            task_name=facts.objective_name,
            dataset_type=facts.data_id or "text",
            dataset_name=facts.data,
            dataset_split="validation",
            metric_type=metric,
            metric_value=round(facts.trained[metric], 5),
        )
        for metric in RESULTS
        if metric in facts.trained and metric != "ref_rank"
    ]
    data = ModelCardData(
        language="en",
        license=facts.license,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["concept-encoder", "perceiver", "sentence-similarity", facts.objective_name],
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
        "objective options": "`" + json.dumps(asdict(facts.objective)) + "`",
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
        reconstructs=config.decoder_target == "text",
        architecture=architecture,
        training=training,
        data=facts.data,
        objective=facts.objective_name,
        command=facts.command,
        unigram=facts.unigram,
        results=result_rows(facts),
        examples=facts.examples,
        picture=facts.picture,
    )
