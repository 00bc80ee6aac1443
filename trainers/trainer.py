# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The Trainer of concept models."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate.utils import DynamoBackend
from transformers import Trainer
from transformers.trainer_callback import ProgressCallback
from transformers.training_args import OptimizerNames
from transformers.utils import logging

from modeling_concept.loading_concept import load_state_dict

from .backbone import adapter_state, backbone_parameters, has_adapters, load_adapter_state, merged_state_dict
from .checkpoints import CheckpointError, reading
from .collator import ConceptDataCollator, PieceCutter
from .distributed import gather_objects
from .evaluation import EvaluationMixin, without_prefix
from .gradient_cache import plan_joint_losses
from .hub import HubPushMixin, tokenizer_flaw
from .metrics import concept_metrics
from .model_card import RunFacts, make_card
from .noise import Noise, make_key
from .objectives import Mixture, Objective
from .optimizers import make_optimizer, parameter_groups, wsd_defaults
from .resuming import RUN_RECORD, check_model, check_record, describe_rows
from .runs import git_state
from .safe_checkpoints import SafeCheckpointsMixin
from .script import CONCEPT_MODEL_TYPES
from .step import StepBatch, StepPlan
from .training_args import ConceptTrainingArguments
from .training_model import TrainingModel
from .vocabulary import CleanBatch, Vocabulary, cut_texts


logger = logging.get_logger(__name__)

# Beside weights and optimizer in a checkpoint: heads of objectives, weights of losses.
TRAINING_STATE = "training_state.pt"

# What an optimizer reads from its saved state, whatever the arguments say; learning rates are those of the arguments.
OPTIMIZER_OPTIONS = ("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")

# On these depends what the steps to come are made of: order of the data, noise, depth, length.
STEP_OPTIONS = (
    "seed", "data_seed", "train_sampling_strategy", "dataloader_drop_last", "matryoshka", "mean_iterations",
    "max_iterations", "length_schedule", "concept_loss_warmup_steps", "concept_noise", "backprop_iterations",
    "step_supervision",
)  # fmt: skip


class ConciseProgress(ProgressCallback):
    """Progress bars with names, which show what stands without a slash in its name; trackers get everything."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description("training")

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        super().on_prediction_step(args, state, control, eval_dataloader=eval_dataloader, **kwargs)
        if (bar := self.prediction_bar) is not None:
            if not getattr(bar, "desc", ""):  # a bar that TQDM_DISABLE turned off has no name yet
                bar.set_description("evaluation")
            if bar.n >= bar.total:  # also where nobody calls `on_evaluate`
                bar.close()
                self.prediction_bar = None

    def on_log(self, args, state, control, logs=None, **kwargs):
        shown = {name: value for name, value in (logs or {}).items() if "/" not in name}
        super().on_log(args, state, control, logs=shown, **kwargs)


class ConceptTrainer(SafeCheckpointsMixin, HubPushMixin, EvaluationMixin, Trainer):
    """
    [`Trainer`] into which objectives and concept losses are composed.

    The loss of an optimizer step is the mean over all its supervised tokens (or texts), and joint losses compare all
    its texts, however the step is split into batches, accumulated or spread over processes. The noise depends on the
    seed, the step and the text's place in it; in evaluation on the text alone.

    Args:
        model: a concept model.
        args: choose objectives, concept losses and training forms, unless `objective` is given.
        objective: an objective or a mixture instead.
        processing_class: the tokenizer.
        train_dataset, eval_dataset: with the column `input_ids` (and `pair_input_ids` for pairs of texts), or with
            the column `text`, which is cut into pieces as `run_pretraining.py` does: rows are joined and cut every
            `max_sequence_length` tokens of the model, a tenth of the training pieces shorter. Several evaluation sets
            are a dict; their metrics are `eval_<name>_loss` and so on.
        Others as in [`Trainer`].

    `facts` tell the card of an unfinished run what the Trainer does not know: data, command, licence. `start_record`
    is what checkpoints keep of the model's start, and a resumed run must have in common with them.

    Raises:
        ValueError: the model cannot be trained so, data without these columns, an argument that nothing would read,
            or several GPUs in one process.
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
        check_arguments(
            model, args, processing_class, {**kwargs, "data_collator": data_collator, "objective": objective}
        )
        self.mixture = args.make_mixture("denoising") if objective is None else Mixture.of(objective)
        terms = args.make_terms()
        self.schedule = args.make_schedule()
        self.schedule.check(model.config)
        self.training_model = TrainingModel(model, self.mixture, terms, args.make_weighting(terms), args.make_forms())
        if args.n_gpu > 1:
            raise ValueError("Several GPUs need a process each: start with torchrun or accelerate launch.")
        if data_collator is None:
            data_collator = ConceptDataCollator(processing_class)
            cutter = PieceCutter(processing_class, model.config, args)
            self._cut = cutter.evaluation_pieces
            train_dataset, eval_dataset = cutter.training_pieces(train_dataset), self._cut(eval_dataset)
        super().__init__(
            model, args, data_collator=data_collator, processing_class=processing_class, train_dataset=train_dataset,
            eval_dataset=eval_dataset, **kwargs,
        )  # fmt: skip
        # Losses are parts of the step's mean: neither transformers (the names of 5.5 and of later versions) nor
        # accelerate must divide them by the number of accumulated batches.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True
        self.accelerator.gradient_accumulation_steps = 1
        self.training_model.to(args.device)
        if args.torch_compile:  # accelerate would compile all of a step, with breaks where it measures
            self.accelerator.state.dynamo_plugin.backend = DynamoBackend.NO
            self.training_model.compile_parts(backend=args.torch_compile_backend, mode=args.torch_compile_mode)
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(ConciseProgress)
        self.vocabulary = Vocabulary.of(processing_class).to(args.device)
        self._given_optimizer = None if self.optimizer is None else self._complete(self.optimizer)
        self._reset_logs()
        self.check_best_metric()

    # What is trained.

    def _prepare_for_training(self, *args, **kwargs):
        """Everything that accelerate wraps and optimizes is the training model; `self.model` stays the model."""
        model = self.model
        self.model = self.model_wrapped = self.training_model
        try:
            return super()._prepare_for_training(*args, **kwargs)
        finally:
            if not self.is_fsdp_enabled:
                self.model = model
                self.callback_handler.model = model

    @property
    def optimizer_name(self) -> str:
        """`--matrix_optimizer`, or what `--optim` names instead of AdamW."""
        own = self.args.matrix_optimizer == "muon" or self.args.optim in ("adamw_torch", "adamw_torch_fused")
        return self.args.matrix_optimizer if own else OptimizerNames(self.args.optim).value

    def make_groups(self, model=None) -> list[dict]:
        """Groups of parameters with their learning rates and weight decay, as an optimizer takes them."""
        args, inner, rates = self.args, self.training_model.model, []
        if args.backbone_learning_rate is not None:
            trained = [p for p in backbone_parameters(inner) if p.requires_grad]
            rates.append((trained, args.backbone_learning_rate))
        if (rate := args.token_table_rate(inner.config)) is not None:
            rates.append(([inner.get_input_embeddings().weight], rate))
        return parameter_groups(
            self.training_model if model is None else model, args.weight_decay, args.learning_rate, rates,
            muon=args.matrix_optimizer == "muon",
        )  # fmt: skip

    def create_optimizer(self, model=None):
        """AdamW, or Muon for hidden matrices, unless `--optim` names another one of transformers'."""
        if self.optimizer is None:
            args, groups = self.args, self.make_groups(model)
            if self.optimizer_name != args.matrix_optimizer:
                for group in groups:
                    group.pop("hidden_matrices", None)
                optimizer_class, options = self.get_optimizer_cls_and_kwargs(args, self.training_model)
                self.optimizer = optimizer_class(groups, **options)
            else:
                self.optimizer = make_optimizer(
                    groups, args.matrix_optimizer, betas=(args.adam_beta1, args.adam_beta2), eps=args.adam_epsilon
                )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """As in transformers; `warmup_stable_decay` decays over the last fifth unless told otherwise."""
        if self.args.lr_scheduler_type == "warmup_stable_decay":
            self.args.lr_scheduler_kwargs = wsd_defaults(num_training_steps, self.args.lr_scheduler_kwargs)
        return super().create_scheduler(num_training_steps, optimizer)

    def _complete(self, optimizer) -> str:
        """The name of an optimizer that was given, which also trains what the Trainer has beside the model."""
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

    # A step.

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """All batches of this process for the next optimizer step, hidden and counted."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        batches = [self._prepare_inputs(batch) for batch in batches]
        self._steps += 1
        self._plan, step_batches = self.plan_step(batches)
        prepared = [batch | {"step_batch": part} for batch, part in zip(batches, step_batches, strict=True)]
        # The number of items is the plan's business; transformers only needs to know that there is one.
        return prepared, torch.ones((), device=self.args.device)

    def plan_step(self, batches) -> tuple[StepPlan, list[StepBatch]]:
        """Draw the noise of a step, count its items, and compute what must be known of the whole step."""
        args, step, seed = self.args, self.state.global_step, self.args.seed
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        length = self.schedule.length(step / max(self.state.max_steps, 1))
        rows, step_batches = [len(batch["input_ids"]) for batch in batches], []
        balanced = getattr(args, "train_sampling_strategy", None) == "batch_rebalance"  # else all have as many
        everywhere = gather_objects(rows) if balanced else [rows] * processes
        total = sum(map(sum, everywhere))
        for number, batch in enumerate(batches):
            start = sum(sum(found[: number + (process < rank)]) for process, found in enumerate(everywhere))
            places = start + torch.arange(rows[number], device=args.device)
            clean = self.clean(batch)
            noise = Noise.for_step(seed, step, places, total, clean.input_ids.shape[1])
            if length is not None:
                clean, row, place = cut_texts(clean, length)
                noise = noise.parts(row, place, clean.input_ids.shape[1])
            seed_of_batch = int(make_key(seed, step, number, rank)) & 0x7FFFFFFF
            step_batches.append(StepBatch(self.mixture.assign(clean, noise), seed_of_batch))
            self._tokens += int(clean.attention_mask.sum())
        items = self.count_items(step_batches)
        plan = StepPlan(
            # Texts may give an objective nothing to predict, such as what follows a single token: the loss is 0.
            {name: torch.where(count > 0, count, 1) for name, count in items.items() if name is not None},
            self.mixture.weights({name for name, count in items.items() if count > 0}),
            texts=float(items[None]),
            splits=len(batches) * processes,
            warmup=self.schedule.warmup(step),
            seed=int(make_key(seed, step)) & 0x7FFFFFFF,
            encoder_options=self.schedule.encoder_options(step),
        )
        step_batches[0].measures = self._measures(step)
        if plan.splits > 1 and self.training_model.needs_whole_step:
            self.model_wrapped.train()
            plan = plan_joint_losses(self.training_model, self.model_wrapped, step_batches, plan)
        return plan, step_batches

    def count_items(self, step_batches) -> dict[str | None, torch.Tensor]:
        """Items of a step over all processes, by objective; under None the texts that concept losses see."""
        mixture = self.mixture
        counts = dict.fromkeys((*mixture.objectives, None), torch.zeros((), device=self.args.device))
        for batch in step_batches:
            for name, inputs in batch.inputs.items():
                counts[name] = counts[name] + mixture.objectives[name].items(inputs)
                if name in mixture.parts:
                    counts[None] = counts[None] + len(inputs["input_ids"])
        sums = self.accelerator.reduce(torch.stack(list(counts.values())), "sum")
        return dict(zip(counts, sums, strict=True))

    def _measures(self, step: int) -> bool:
        logged = (step + 1) % self.state.logging_steps == 0 or (step == 0 and self.args.logging_first_step)
        balanced = self.training_model.weighting.measures_gradients and step % self.args.gradient_balance_steps == 0
        return logged or balanced

    def clean(self, batch) -> CleanBatch:
        pairs = batch.get("pair_input_ids"), batch.get("pair_attention_mask")
        return CleanBatch(batch["input_ids"], batch["attention_mask"], self.vocabulary, *pairs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """This batch's part of the step's loss, times the number of processes, over which gradients are averaged."""
        result = model(inputs["step_batch"], self._plan)
        for name, value in result["terms"].items():
            self._terms[name] = self._terms.get(name, 0.0) + value.float()
        return result["loss"] * self.accelerator.num_processes

    # Logs.

    def _init_training_state(self, *args, **kwargs):
        self._reset_logs()  # of an earlier attempt, or run
        return super()._init_training_state(*args, **kwargs)

    def _reset_logs(self):
        self._terms, self._tokens, self._steps, self._clock = {}, 0, 0, time.perf_counter()

    def log(self, logs, start_time=None):
        """Training logs also tell each loss and weight, gradients and geometry at the concepts, and the speed."""
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
        weights = {**self.mixture.weights(set(self.mixture.objectives)), **model.weighting.shown(self._plan.warmup)}
        logs |= {f"weight/{name}": weight for name, weight in weights.items() if len(weights) > 2}
        logs |= {f"grad_norm/{name}": value for name, value in model.gradient_norms.items()}
        if model.seen_concepts is not None and len(model.seen_concepts) > 1:
            logs |= {f"concepts/{name}": value for name, value in concept_metrics(model.seen_concepts).items()}
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
        """What a checkpoint keeps of its run, beside the configuration, so that no other run goes on from it."""
        return {
            **self.start_record,
            "objective": self.mixture.describe(),
            "objectives": self.mixture.options(),
            "concept_losses": [term.name for term in self.training_model.terms],
            "concept_loss_options": {
                term.name: {"weight": term.weight, **asdict(term.loss)} for term in self.training_model.terms
            },
            "loss_weighting": self.args.loss_weighting,
            "optimizer": self._given_optimizer or self.optimizer_name,
            **{name: getattr(self.args, name) for name in OPTIMIZER_OPTIONS},
            **{name: getattr(self.args, name) for name in STEP_OPTIONS if hasattr(self.args, name)},
            **({} if self.args.auto_find_batch_size else {"total_train_batch_size": texts_per_step(self.args)}),
            "train_data": describe_rows(self.train_dataset),
            "trained_tensors": [len(group["params"]) for group in self.make_groups()],
        }

    def check_resume(self, resume_from_checkpoint) -> str | None:
        """As in [`SafeCheckpointsMixin`]; a checkpoint of another model, objective, loss or optimizer is refused."""
        checkpoint = super().check_resume(resume_from_checkpoint)
        if checkpoint is not None:
            if missing := [name for name in (RUN_RECORD, TRAINING_STATE) if not Path(checkpoint, name).is_file()]:
                raise CheckpointError(
                    f"{checkpoint} has no {missing[0]}; give a checkpoint that ConceptTrainer wrote."
                )
            check_model(checkpoint, self.training_model.model)
            check_record(checkpoint, self.run_record())
        return checkpoint

    def _save(self, output_dir=None, state_dict=None):
        """The concept model as it loads without this package and without peft: LoRA updates are merged."""
        if state_dict is not None:  # of everything that is trained, from accelerate
            state_dict = {n.removeprefix("model."): v for n, v in state_dict.items() if n.startswith("model.")}
        wrapped, self.model = self.model, self.training_model.model
        try:
            if has_adapters(self.model):
                state_dict = merged_state_dict(self.model)
            super()._save(output_dir, state_dict=state_dict)
        finally:
            self.model = wrapped
        if self.args.should_save:  # transformers may call this on every process
            facts = {**self.run_record(), **git_state()}
            text = json.dumps(facts, indent=2) + "\n"
            Path(output_dir or self.args.output_dir, RUN_RECORD).write_text(text, encoding="utf-8")

    def _save_optimizer_and_scheduler(self, output_dir):
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            model = self.training_model.model
            adapters = adapter_state(model) if has_adapters(model) else None
            state = {"own": self.training_model.own_state(), "adapters": adapters}
            torch.save(state, Path(output_dir) / TRAINING_STATE)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            with reading(checkpoint):
                self.training_model.load_own_state(self._training_state(checkpoint)["own"])

    def _training_state(self, checkpoint):
        return torch.load(Path(checkpoint) / TRAINING_STATE, map_location=self.args.device, weights_only=True)

    def _load_from_checkpoint(self, checkpoint, model=None):
        model = self.training_model.model
        if not has_adapters(model):
            return super()._load_from_checkpoint(checkpoint, model if not self.is_fsdp_enabled else None)
        # Saved weights have the updates merged; the backbone's own came with the model.
        kept = {id(parameter) for parameter in backbone_parameters(model)}
        wanted = {name for name, parameter in model.named_parameters() if id(parameter) not in kept}
        wanted |= {name for name, _ in model.named_buffers()}
        with reading(checkpoint):
            saved = load_state_dict(checkpoint)
            model.load_state_dict({name: value for name, value in saved.items() if name in wanted}, strict=False)
            load_adapter_state(model, self._training_state(checkpoint)["adapters"])

    def _issue_warnings_after_load(self, load_result):
        """As in [`Trainer`], but for weights that are tied to one that was loaded."""
        parameters = dict(self.training_model.model.named_parameters(remove_duplicate=False))
        missing = load_result.missing_keys
        loaded = {id(value) for name, value in parameters.items() if name not in missing}
        missing[:] = [name for name in missing if id(parameters.get(name)) not in loaded]
        super()._issue_warnings_after_load(load_result)

    def draft_card(self):
        """The card of a run that is not finished: its last evaluation beside that before the first step."""
        args = self.args
        evaluations = [entry for entry in self.state.log_history if any(name.startswith("eval_") for name in entry)]
        folder = Path(args.output_dir)
        facts = self.facts or RunFacts(args.run_name or folder.name, self.hub_model_id or folder.name, self.mixture)
        facts = replace(
            facts,
            trained=without_prefix(evaluations[-1], "eval") if evaluations else {},
            untrained=self._untrained,
            training={"optimizer steps": f"{self.state.global_step:,} of {self.state.max_steps:,}", **git_state()},
        )
        return make_card(self.training_model.model, args, facts)


def texts_per_step(args) -> int:
    """Of a step that is not the last one of an epoch; into what it is split does not matter."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def check_arguments(model, args, processing_class, others: dict) -> None:
    """ValueError, in one sentence, for arguments of [`ConceptTrainer`] that it cannot use."""
    if model is None or others.get("model_init") is not None:
        raise ValueError("ConceptTrainer trains a model that is there: give model, not model_init.")
    if hasattr(model, "peft_config"):
        raise ValueError(
            "ConceptTrainer trains the whole concept model, not a PEFT model around it; for LoRA updates of a "
            "pretrained backbone call trainers.backbone.train_backbone(model, 'lora') instead of get_peft_model."
        )
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if model_type not in CONCEPT_MODEL_TYPES or not hasattr(model, "lm_head"):
        raise ValueError(
            f"ConceptTrainer trains concept models with a decoder, such as ConceptEncoderForMaskedLMPerceiver, not "
            f"{type(model).__name__}."
        )
    if not isinstance(args, ConceptTrainingArguments):
        raise ValueError(f"ConceptTrainer needs args of ConceptTrainingArguments, not {type(args).__name__}.")
    if args.output_dir is None:
        raise ValueError("ConceptTrainer needs a folder for the run: ConceptTrainingArguments(output_dir=...).")
    if not isinstance(others["objective"], Objective | Mixture | None):
        raise ValueError(
            "objective is an Objective or a Mixture; its name is an argument: ConceptTrainingArguments(objective=...)."
        )
    if processing_class is None:
        raise ValueError("ConceptTrainer needs the model's tokenizer: processing_class=tokenizer.")
    if flaw := tokenizer_flaw(processing_class, model.config):
        raise ValueError(f"The tokenizer is not that of the model: {flaw}.")
    if getattr(others["data_collator"], "mlm", False):
        raise ValueError(
            "ConceptTrainer hides tokens by itself, as the objective says, and learns to read back what the collator "
            "gives: leave data_collator out."
        )
    unread = ("compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics", "optimizer_cls_and_kwargs")
    if given := [name for name in unread if others.get(name) is not None]:
        raise ValueError(
            f"ConceptTrainer does not use {given[0]}: its objectives make losses and metrics, and --optim or "
            "optimizers=(optimizer, scheduler) choose the optimizer."
        )
