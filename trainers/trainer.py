# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The Trainer of concept models."""

import json
import time
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
from accelerate.utils import DynamoBackend, broadcast_object_list
from tqdm.auto import tqdm
from transformers import Trainer
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import IntervalStrategy, has_length
from transformers.training_args import OptimizerNames

from modeling_concept.base_concept import load_state_dict

from .checkpoints import CheckpointError
from .data.collator import ConceptDataCollator, cut_data
from .data.pieces import SHORT_PIECE_PROBABILITY
from .data.token_frequency import inverse_frequency, lacks_token_weights, token_counts
from .data.tokenizers import tokenizer_mismatch
from .evaluation.metrics import concept_metrics
from .gradient_cache import cache_joint_losses
from .losses.terms import make_weighting, parse_terms
from .models.backbone import adapter_state, backbone_parameters, merged_state_dict
from .models.loading import RUN_RECORD
from .objectives import Mixture, Objective
from .objectives.noise import Noise, make_key
from .objectives.vocabulary import CleanBatch, Vocabulary
from .optimizers import parameter_groups, wsd_defaults
from .publishing.hub import HubPushMixin
from .publishing.model_card import RunFacts, make_card
from .resuming import check_model, check_record, describe_rows
from .safe_checkpoints import SafeCheckpointsMixin
from .schedule import cut_texts
from .training_args import ConceptTrainingArguments
from .training_model import StepBatch, StepPlan, TrainingModel
from .utils.distributed import gather_objects
from .utils.runs import git_state
from .utils.script import CONCEPT_MODEL_TYPES
from .validation import EvaluationMixin, without_prefix


# In a checkpoint, with the weights and the optimizer: heads of objectives, weights of losses, adapters.
TRAINING_STATE = "training_state.pt"

# Options of the optimizer that its saved state restores, whatever the arguments are.
OPTIMIZER_OPTIONS = (
    "learning_rate", "backbone_learning_rate", "embedding_learning_rate", "weight_decay", "adam_beta1", "adam_beta2",
    "adam_epsilon",
)  # fmt: skip

# Options that determine the steps to come: order of the data, noise, depth, length.
STEP_OPTIONS = (
    "seed", "data_seed", "train_sampling_strategy", "dataloader_drop_last", "mean_iterations", "length_schedule",
    "concept_loss_warmup_steps",
)  # fmt: skip


class ConciseProgress(ProgressCallback):
    """Progress bars with names, which show the logs without a slash in their names; trackers get all logs."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description("training")

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if state.is_world_process_zero and has_length(eval_dataloader):
            if self.prediction_bar is None:
                count, leave = len(eval_dataloader), self.training_bar is None
                self.prediction_bar = tqdm(total=count, desc="evaluation", leave=leave, dynamic_ncols=True)
            self.prediction_bar.update()
            if self.prediction_bar.n >= self.prediction_bar.total:  # also where nobody calls `on_evaluate`
                self.prediction_bar.close()
                self.prediction_bar = None

    def on_log(self, args, state, control, logs=None, **kwargs):
        shown = {name: value for name, value in (logs or {}).items() if "/" not in name}
        super().on_log(args, state, control, logs=shown, **kwargs)


class ConceptTrainer(SafeCheckpointsMixin, HubPushMixin, EvaluationMixin, Trainer):
    """
    [`Trainer`] of concept models by objectives and concept losses.

    The loss of an optimizer step is the mean over all its supervised tokens (or texts), and joint losses compare all
    its texts, however the step is split into batches, accumulated or divided among processes. The noise depends on the
    seed, the step and the text's index in it; in evaluation on the text alone.

    Args:
        model: a concept model.
        args: choose objectives, concept losses and schedules, unless `objective` is given.
        processing_class: the tokenizer.
        objective: an objective or a mixture instead.
        train_dataset, eval_dataset: with the column `input_ids`, or with the column `text`, which is cut into pieces
            as `run_pretraining.py` does: rows are joined and cut every `max_sequence_length` tokens of the model, a
            tenth of the training pieces shorter. Several evaluation sets are a dict; their metrics are
            `eval_<name>_loss` and so on. Without an evaluation set nothing is evaluated.
        Others as in [`Trainer`].

    A new model with `concept_mean="weighted"` gets the weights of its tokens from their frequency in `train_dataset`.
    A model that has weights, is resumed or is only evaluated keeps its own.

    `facts` give the card of an unfinished run what the Trainer does not know: data, command, licence. `start_record`
    describes the start of the model in checkpoints; a resumed run must have the same.

    Raises:
        ValueError: the model cannot be trained so, data without these columns, an argument without effect, or several
            GPUs in one process.
    """

    facts: RunFacts | None = None
    start_record: dict = {}

    def __init__(
        self,
        model=None,
        args: ConceptTrainingArguments | None = None,
        *,
        processing_class=None,
        objective: Objective | Mixture | None = None,
        train_dataset=None,
        eval_dataset=None,
        data_collator=None,
        **kwargs,
    ):
        check_arguments(model, args, processing_class, {**kwargs, "data_collator": data_collator})
        default_strategy = args.eval_strategy == ConceptTrainingArguments.eval_strategy
        if eval_dataset is None and default_strategy and args.metric_for_best_model is None:
            args = copy(args)
            args.eval_strategy = IntervalStrategy.NO
        self.mixture = args.make_mixture("denoising") if objective is None else Mixture.of(objective)
        terms = parse_terms(args.concept_losses)
        self.schedule = args.make_schedule()
        self.schedule.check(model.config)
        self.training_model = TrainingModel(model, self.mixture, terms, make_weighting(args.loss_weighting, terms))
        if args.n_gpu > 1:
            raise ValueError("Several GPUs need a process each: start with torchrun or accelerate launch.")
        if data_collator is None:
            data_collator = ConceptDataCollator(processing_class)
            self._cut = partial(cut_data, tokenizer=processing_class, config=model.config, args=args)
            train_dataset = self._cut(train_dataset, short_piece_probability=SHORT_PIECE_PROBABILITY)
            eval_dataset = self._cut(eval_dataset)
        super().__init__(
            model, args, data_collator=data_collator, processing_class=processing_class, train_dataset=train_dataset,
            eval_dataset=eval_dataset, **kwargs,
        )  # fmt: skip
        # Losses are parts of the step's mean: neither transformers (the names of 5.5 and of later versions) nor
        # accelerate must divide them by the number of accumulated batches.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True
        self.accelerator.gradient_accumulation_steps = 1
        # Checkpoints leave out weights that are tied to another one; transformers would warn that they are missing.
        model._keys_to_ignore_on_save = list(model.all_tied_weights_keys)
        self.training_model.to(args.device)
        if args.torch_compile:  # accelerate would compile the whole step, with graph breaks
            self.accelerator.state.dynamo_plugin.backend = DynamoBackend.NO
            self.training_model.compile_parts(backend=args.torch_compile_backend, mode=args.torch_compile_mode)
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(ConciseProgress)
        self.vocabulary = Vocabulary.of(processing_class).to(args.device)
        self._given_optimizer = None if self.optimizer is None else self._complete(self.optimizer)
        self._reset_logs()
        resumes = args.resume_from_checkpoint is not None
        if args.do_train and not resumes and train_dataset is not None and lacks_token_weights(model):
            weights = inverse_frequency(self.token_counts, processing_class.all_special_ids)
            model.base_model.token_weights.weights.copy_(weights)

    @cached_property
    def token_counts(self) -> torch.Tensor:
        """How often each token occurs in the training data, float64 [V], counted by one process for all."""
        counted = [None]
        if self.is_world_process_zero():
            counted = [token_counts(self.train_dataset, self.model.config.vocab_size, self.data_collator)]
        return broadcast_object_list(counted)[0]

    @cached_property
    def data_record(self) -> dict:
        """What checkpoints record of the training data."""
        return describe_rows(self.train_dataset)

    # What is trained.

    def _prepare_for_training(self, *args, **kwargs):
        """Overridden so that accelerate wraps, and the optimizer updates, the training model; `self.model` stays the
        concept model."""
        model = self.model
        self.model = self.model_wrapped = self.training_model
        try:
            return super()._prepare_for_training(*args, **kwargs)
        finally:
            if not self.is_fsdp_enabled:
                self.model = model
                self.callback_handler.model = model

    def make_groups(self, model=None) -> list[dict]:
        """Groups of parameters with their learning rates and weight decay, as an optimizer takes them."""
        args, inner, rates = self.args, self.training_model.model, []
        if args.backbone_learning_rate is not None:
            trained = [p for p in backbone_parameters(inner) if p.requires_grad]
            rates.append((trained, args.backbone_learning_rate))
        if (rate := args.token_table_rate(inner.config)) is not None:
            rates.append(([inner.get_input_embeddings().weight], rate))
        return parameter_groups(
            self.training_model if model is None else model, args.weight_decay, args.learning_rate, rates
        )

    def create_optimizer(self, model=None):
        """The optimizer of `--optim`, with the groups of [`make_groups`]."""
        if self.optimizer is None:
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.training_model)
            self.optimizer = optimizer_class(self.make_groups(model), **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """As in [`Trainer`]; `warmup_stable_decay` decays over the last fifth by default."""
        if self.args.lr_scheduler_type == "warmup_stable_decay":
            self.args.lr_scheduler_kwargs = wsd_defaults(num_training_steps, self.args.lr_scheduler_kwargs)
        return super().create_scheduler(num_training_steps, optimizer)

    def _complete(self, optimizer) -> str:
        """Add the parameters that the Trainer trains beside the model to a given optimizer; the optimizer's name."""
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        own = [p for name, p in self.training_model.named_parameters() if not name.startswith("model.")]
        if missing := [parameter for parameter in own if parameter.requires_grad and id(parameter) not in held]:
            if self.lr_scheduler is not None:
                raise ValueError(
                    "Objectives or weightings bring parameters of their own, which the scheduler given does not know: "
                    "give optimizers=(optimizer, None), or none."
                )
            optimizer.add_param_group({"params": missing})
        return type(optimizer).__name__

    # A step: batches of the collator -> plan_step -> StepBatch -> compute_loss -> TrainingModel.forward.

    def get_train_dataloader(self):
        """As in [`Trainer`]; every attempt at training begins here, with empty logs."""
        self._reset_logs()
        return super().get_train_dataloader()

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """All batches of this process for the next optimizer step, as [`StepBatch`]es, the inputs of
        `training_step`."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        self._steps += 1
        # The plan holds the number of items; transformers 5.5 only needs to know that there is one.
        return self.plan_step([self._prepare_inputs(batch) for batch in batches]), torch.ones(())

    def plan_step(self, batches: list[dict[str, torch.Tensor]]) -> list[StepBatch]:
        """Draw the noise of a step, count its items, and compute the losses that compare all its texts."""
        args, step = self.args, self.state.global_step
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        rows = [len(batch["input_ids"]) for batch in batches]
        balanced = getattr(args, "train_sampling_strategy", None) == "batch_rebalance"
        everywhere = gather_objects(rows) if balanced else [rows] * processes
        plan = StepPlan(
            {}, {}, splits=len(batches) * processes, warmup=self.schedule.warmup(step),
            encoder_options=self.schedule.encoder_options(step),
        )  # fmt: skip
        step_batches = []
        for number, batch in enumerate(batches):
            start = sum(sum(counts[: number + (process < rank)]) for process, counts in enumerate(everywhere))
            places = start + torch.arange(rows[number], device=args.device)
            inputs = self.draw_inputs(batch, places, sum(map(sum, everywhere)))
            seed = int(make_key(args.seed, step, number, rank)) & 0x7FFFFFFF
            step_batches.append(StepBatch(plan, inputs, seed, batch))
        self.count_items(plan, step_batches)
        if plan.splits > 1 and self.training_model.needs_whole_step:
            self.model_wrapped.train()
            cache_joint_losses(self.training_model, self.model_wrapped, step_batches)
        return step_batches

    def draw_inputs(self, batch: dict[str, torch.Tensor], places: torch.Tensor, count: int) -> dict[str, dict]:
        """Inputs of each objective for a batch, whose texts have the indices `places` among the `count` of the
        step."""
        step, clean = self.state.global_step, self.clean(batch)
        noise = Noise.for_step(self.args.seed, step, places, count, clean.input_ids.shape[1])
        length = self.schedule.length(step / max(self.state.max_steps, 1))
        if length is not None:
            clean, row, place = cut_texts(clean, length)
            noise = noise.parts(row, place, clean.input_ids.shape[1])
        self._tokens += int(clean.attention_mask.sum())
        return self.mixture.assign(clean, noise)

    def count_items(self, plan: StepPlan, step_batches: list[StepBatch]) -> None:
        """Write into the plan how many items of each objective, and texts for concept losses, all processes have."""
        mixture, zero = self.mixture, torch.zeros((), device=self.args.device)
        counts = {"texts": zero, **dict.fromkeys(mixture.objectives, zero)}
        for batch in step_batches:
            for name, inputs in batch.inputs.items():
                counts[name] = counts[name] + mixture.objectives[name].items(inputs)
                if name in mixture.parts:
                    counts["texts"] = counts["texts"] + len(inputs["input_ids"])
        sums = self.accelerator.reduce(torch.stack(list(counts.values())), "sum")
        texts, *items = sums
        items = dict(zip(mixture.objectives, items, strict=True))
        plan.texts = float(texts)
        # Texts may give an objective nothing to predict, such as the continuation of a single token: the loss is 0.
        plan.items = {name: torch.where(count > 0, count, 1) for name, count in items.items()}
        plan.weights = mixture.weights({name for name, count in items.items() if count > 0})

    def clean(self, batch: dict[str, torch.Tensor]) -> CleanBatch:
        return CleanBatch(batch["input_ids"], batch["attention_mask"], self.vocabulary)

    def compute_loss(self, model, inputs: StepBatch, return_outputs=False, num_items_in_batch=None):
        """This batch's part of the step's loss, times the number of processes, over which gradients are averaged."""
        result = model(inputs)
        for name, value in result["terms"].items():
            self._terms[name] = self._terms.get(name, 0.0) + value.float()
        return result["loss"] * self.accelerator.num_processes

    # Logs.

    def _reset_logs(self):
        self._terms, self._tokens, self._steps, self._clock = {}, 0, 0, time.perf_counter()

    def log(self, logs, start_time=None):
        """Training logs also hold each loss and weight, the geometry of the concepts, and the speed."""
        if "loss" in logs and "eval_loss" not in logs:
            logs = {**logs, **self.step_logs()}
        super().log(logs, start_time)

    def step_logs(self) -> dict[str, float]:
        model, steps = self.training_model, max(self._steps, 1)
        names = ["task", *self.mixture.objectives, *(term.name for term in model.terms)]
        zero = torch.zeros((), device=self.args.device)
        values = torch.stack([zero + self._terms.get(name, 0.0) for name in names] + [zero + self._tokens])
        *values, tokens = self.accelerator.reduce(values, "sum").tolist()
        logs = {f"loss/{name}": value / steps for name, value in zip(names, values, strict=True)}
        if not model.terms:
            logs.pop("loss/task")
        factors = model.weighting.shown(self.schedule.warmup(self.state.global_step - 1))
        weights = {**self.mixture.weights(set(self.mixture.objectives)), **factors}
        logs |= {f"weight/{name}": weight for name, weight in weights.items() if len(weights) > 2}
        if model.seen_concepts is not None and len(model.seen_concepts) > 1:
            metrics = concept_metrics(model.seen_concepts.cpu())
            logs |= {f"concepts/{name}": value for name, value in metrics.items()}
        logs["speed/tokens_per_second"] = tokens / max(time.perf_counter() - self._clock, 1e-9)
        self._reset_logs()
        return logs

    def _sums(self):
        terms = {name: float(value) for name, value in self._terms.items()}
        return super()._sums() | {"terms": terms, "steps": self._steps}

    def _add_sums(self, kept):
        super()._add_sums(kept)
        self._terms, self._steps = dict(kept.get("terms", {})), kept.get("steps", 0)

    # Checkpoints.

    def run_record(self) -> dict:
        """The properties of a run that its checkpoints record; only a run that has the same may resume from them."""
        args = self.args
        texts = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return {
            **self.start_record,
            "objective": self.mixture.describe(),
            "objectives": self.mixture.options(),
            "concept_losses": [term.name for term in self.training_model.terms],
            "concept_loss_weights": {term.name: term.weight for term in self.training_model.terms},
            "loss_weighting": args.loss_weighting,
            "optimizer": self._given_optimizer or OptimizerNames(args.optim).value,
            **{name: getattr(args, name) for name in OPTIMIZER_OPTIONS},
            **{name: getattr(args, name) for name in STEP_OPTIONS if hasattr(args, name)},
            **({} if args.auto_find_batch_size else {"total_train_batch_size": texts}),
            **self.data_record,
            "trained_tensors": [len(group["params"]) for group in self.make_groups()],
        }

    def check_resume(self, resume_from_checkpoint) -> str | None:
        """As in [`SafeCheckpointsMixin`]; a checkpoint of another model, objective, loss or optimizer is refused."""
        checkpoint = super().check_resume(resume_from_checkpoint)
        if checkpoint is not None:
            if missing := [name for name in (RUN_RECORD, TRAINING_STATE) if not Path(checkpoint, name).is_file()]:
                raise CheckpointError(f"{checkpoint} has no {missing[0]}: it is none of ConceptTrainer.")
            check_model(checkpoint, self.training_model.model)
            check_record(checkpoint, self.run_record())
        return checkpoint

    def _save(self, output_dir=None, state_dict=None):
        """Overridden to save the concept model alone, as it loads without this package and without peft: LoRA updates
        are merged."""
        if state_dict is not None:  # of the training model, from accelerate
            state_dict = {n.removeprefix("model."): v for n, v in state_dict.items() if n.startswith("model.")}
        wrapped, self.model = self.model, self.training_model.model
        try:
            if adapter_state(self.model):
                state_dict = merged_state_dict(self.model)
            super()._save(output_dir, state_dict=state_dict)
        finally:
            self.model = wrapped
        if self.args.should_save:  # transformers may call this on every process
            facts = {**self.run_record(), **git_state()}
            text = json.dumps(facts, indent=2) + "\n"
            Path(output_dir or self.args.output_dir, RUN_RECORD).write_text(text, encoding="utf-8")

    def _save_optimizer_and_scheduler(self, output_dir):
        """Overridden to save what is trained beside the model, and the adapters."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            adapters = adapter_state(self.training_model.model)
            state = {"own": self.training_model.own_state(), "adapters": adapters}
            torch.save(state, Path(output_dir) / TRAINING_STATE)

    def _load_from_checkpoint(self, checkpoint, model=None):
        """Overridden to load what `_save` and `_save_optimizer_and_scheduler` wrote."""
        model = self.training_model.model
        state = torch.load(Path(checkpoint) / TRAINING_STATE, map_location=self.args.device, weights_only=True)
        self.training_model.load_state_dict(state["own"], strict=False)
        if adapter_state(model):
            # Saved weights have the updates merged; the backbone's own came with the model.
            kept = {id(parameter) for parameter in backbone_parameters(model)}
            wanted = {name for name, parameter in model.named_parameters() if id(parameter) not in kept}
            wanted |= {name for name, _ in model.named_buffers()}
            saved = load_state_dict(checkpoint)
            model.load_state_dict({name: value for name, value in saved.items() if name in wanted}, strict=False)
            model.load_state_dict(state["adapters"], strict=False)
            return
        super()._load_from_checkpoint(checkpoint, model if not self.is_fsdp_enabled else None)

    def draft_card(self):
        """The card of an unfinished run, with its last evaluation and the one before the first step."""
        args = self.args
        evaluations = [entry for entry in self.state.log_history if any(name.startswith("eval_") for name in entry)]
        folder = Path(args.output_dir)
        name = args.run_name or folder.name
        facts = self.facts or RunFacts(name, self.hub_model_id or folder.name, mixture=self.mixture)
        facts = replace(
            facts,
            trained=without_prefix(evaluations[-1], "eval") if evaluations else {},
            untrained=self._untrained,
            training={"optimizer steps": f"{self.state.global_step:,} of {self.state.max_steps:,}", **git_state()},
        )
        return make_card(self.training_model.model, args, facts)


def check_arguments(model, args, processing_class, others: dict) -> None:
    """ValueError for arguments of [`ConceptTrainer`] that it cannot use."""
    if getattr(getattr(model, "config", None), "model_type", None) not in CONCEPT_MODEL_TYPES or not hasattr(
        model, "lm_head"
    ):
        raise ValueError(f"ConceptTrainer trains concept models with a decoder, not {type(model).__name__}.")
    if hasattr(model, "peft_config"):
        raise ValueError("For LoRA updates call trainers.models.backbone.train_backbone(model, 'lora').")
    if not isinstance(args, ConceptTrainingArguments) or args.output_dir is None:
        raise ValueError("ConceptTrainer needs ConceptTrainingArguments with a folder for the run, output_dir.")
    if processing_class is None:
        raise ValueError("ConceptTrainer needs the model's tokenizer: processing_class=tokenizer.")
    if mismatch := tokenizer_mismatch(processing_class, model.config):
        raise ValueError(f"The tokenizer is not that of the model: {mismatch}.")
    if getattr(others.get("data_collator"), "mlm", False):
        raise ValueError("ConceptTrainer hides tokens by itself: leave data_collator out.")
    unread = (
        "model_init", "compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics",
        "optimizer_cls_and_kwargs",
    )  # fmt: skip
    if given := [name for name in unread if others.get(name) is not None]:
        raise ValueError(f"ConceptTrainer does not use {given[0]}: its objectives make losses and metrics.")
