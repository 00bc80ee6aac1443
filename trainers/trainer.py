# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The Trainer of concept models."""

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import torch
from accelerate.utils import DynamoBackend, broadcast_object_list
from tqdm.auto import tqdm
from transformers import PreTrainedModel, Trainer
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import has_length
from transformers.training_args import OptimizerNames

from modeling_concept.base_concept import load_state_dict
from modeling_concept.heads_lm_concept import supervised_mask

from .checkpoints import CheckpointError
from .data.collator import ConceptDataCollator, cut_data
from .data.pieces import SHORT_PIECE_PROBABILITY
from .data.token_frequency import inverse_frequency, lacks_token_weights, token_counts
from .data.tokenizers import tokenizer_mismatch
from .evaluation.metrics import concept_metrics
from .losses.terms import make_weighting, parse_terms
from .models.backbone import adapter_state, backbone_parameters, merged_state_dict
from .models.loading import RUN_RECORD
from .models.reader import centre_reader, is_centred, make_vocabulary, reader_parameters, text_tokenizer
from .objectives import Mixture
from .objectives.noise import Noise, make_key
from .objectives.sampled_softmax import SAMPLE_KEY, sample_vocabulary
from .objectives.vocabulary import CleanBatch, cut_texts
from .optimizers import parameter_groups
from .publishing.hub import HubPushMixin
from .publishing.model_card import RunFacts, make_card
from .resuming import check_model, check_record, describe_rows
from .safe_checkpoints import SafeCheckpointsMixin
from .training_args import ConceptTrainingArguments
from .training_model import StepBatch, TrainingModel
from .utils.runs import git_state
from .utils.script import CONCEPT_MODEL_TYPES
from .validation import EvaluationMixin, without_prefix


# In a checkpoint, with the weights and the optimizer: heads of objectives, weights of losses, adapters.
TRAINING_STATE = "training_state.pt"

# Options of the optimizer that its saved state restores, whatever the arguments are.
OPTIMIZER_OPTIONS = (
    "learning_rate", "backbone_learning_rate", "reader_learning_rate", "embedding_learning_rate", "weight_decay",
    "adam_beta1", "adam_beta2", "adam_epsilon",
)  # fmt: skip

# Options that determine the steps to come: order of the data, noise, depth, length.
STEP_OPTIONS = (
    "seed", "data_seed", "train_sampling_strategy", "dataloader_drop_last", "mean_iterations", "concept_nums",
    "length_schedule", "concept_loss_warmup_steps", "softmax_samples",
)  # fmt: skip


# Texts whose concepts are averaged for a new adapter, and whose tokens are counted where they are tokenized again.
CENTRING_TEXTS, COUNTED_TEXTS = 64, 20_000


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

    The loss of an optimizer step is the mean over all its supervised tokens (or texts), however the step is split into
    batches, accumulated or divided among processes. A loss that compares texts compares those of a batch. The noise
    depends on the seed, the step and the text's index in it; in evaluation on the text alone.

    Args:
        model: a concept model.
        args: choose objectives, concept losses and schedules, unless `objective` is given.
        processing_class: the tokenizer of the encoder. Texts for a reader with a tokenizer of its own are cut by that
            one, and tokenized again for the encoder.
        objective: the objectives instead.
        train_dataset, eval_dataset: with the column `input_ids`, or with the column `text`, which is cut into pieces
            as `run_pretraining.py` does: rows are joined and cut every `max_sequence_length` tokens of the model, a
            tenth of the training pieces shorter. Several evaluation sets are a dict; their metrics are
            `eval_<name>_loss` and so on.
        callbacks: as in [`Trainer`].

    A new model with `concept_mean="weighted"` gets the weights of its tokens from their frequency in `train_dataset`;
    the adapter of a new model with a pretrained reader is centred on texts of it.
    A model that has weights, is resumed or is only evaluated keeps its own.

    `facts` give the card of an unfinished run what the Trainer does not know: data, command, licence. `start_record`
    describes the start of the model in checkpoints; a resumed run must have the same.

    Raises:
        ValueError: the model cannot be trained so, data without these columns, or several GPUs in one process.
    """

    facts: RunFacts | None = None
    start_record: dict = {}

    def __init__(
        self,
        model,
        args: ConceptTrainingArguments,
        *,
        processing_class,
        objective: Mixture | None = None,
        train_dataset=None,
        eval_dataset=None,
        callbacks=None,
    ):
        check_model_and_tokenizer(model, processing_class)
        self.mixture = args.make_mixture("denoising") if objective is None else objective
        terms = parse_terms(args.concept_losses)
        self.schedule = args.make_schedule()
        self.schedule.check(model.config)
        self.training_model = TrainingModel(model, self.mixture, terms, make_weighting(args.loss_weighting, terms))
        if args.n_gpu > 1:
            raise ValueError("Several GPUs need a process each: start with torchrun or accelerate launch.")
        if getattr(args, "train_sampling_strategy", None) == "batch_rebalance":  # no texts of a step may share noise
            raise ValueError("batch_rebalance is not supported: the processes of a step need equally many texts.")
        if args.per_device_train_batch_size < 2 and self.training_model.compares_texts:
            raise ValueError("A loss that compares the texts of a batch needs per_device_train_batch_size 2 or more.")
        cutter = text_tokenizer(model, processing_class)
        self._cut = partial(cut_data, tokenizer=cutter, config=model.config, args=args)
        super().__init__(
            model, args, data_collator=ConceptDataCollator(cutter), processing_class=processing_class,
            train_dataset=self._cut(train_dataset, short_piece_probability=SHORT_PIECE_PROBABILITY),
            eval_dataset=self._cut(eval_dataset), callbacks=callbacks,
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
            for part in (model.base_model, model):  # the encoder; the decoder with its loss
                part.compile(backend=args.torch_compile_backend, mode=args.torch_compile_mode)
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(ConciseProgress)
        self.vocabulary = make_vocabulary(model, processing_class)
        self._reset_logs()
        resumes = args.resume_from_checkpoint is not None
        if args.do_train and not resumes and train_dataset is not None and lacks_token_weights(model):
            weights = inverse_frequency(self.encoder_token_counts(), processing_class.all_special_ids)
            model.base_model.token_weights.weights.copy_(weights)
        if args.do_train and not resumes and train_dataset is not None and not is_centred(model):
            texts = (self.vocabulary.for_encoder(**batch) for batch in self.first_batches(CENTRING_TEXTS))
            centre_reader(model, texts, self.token_counts)

    def first_batches(self, count: int) -> Iterator[dict[str, torch.Tensor]]:
        """Batches of the first `count` training texts."""
        rows, size = list(islice(self.train_dataset, count)), self.args.per_device_eval_batch_size
        for start in range(0, len(rows), size):
            yield self._prepare_inputs(self.data_collator(rows[start : start + size]))

    @cached_property
    def token_counts(self) -> torch.Tensor:
        """How often each token occurs in the training data, float64 [V], counted by one process for all. Of a reader
        with a tokenizer of its own these are its tokens."""
        counted, config = [None], self.model.config
        if self.is_world_process_zero():
            own = getattr(config, "own_reader_tokenizer", False)
            size = self.model.reader.lm.get_input_embeddings().num_embeddings if own else config.vocab_size
            counted = [token_counts(self.train_dataset, size, self.data_collator)]
        return broadcast_object_list(counted)[0]

    def encoder_token_counts(self) -> torch.Tensor:
        """As `token_counts`, in tokens of the encoder: where texts are cut in others, of the first `COUNTED_TEXTS`."""
        if self.vocabulary.encoder_tokenizer is None:
            return self.token_counts
        counts = torch.zeros(self.model.config.vocab_size, dtype=torch.float64)
        for batch in self.first_batches(COUNTED_TEXTS):
            ids, mask = self.vocabulary.for_encoder(**batch).values()
            counts += torch.bincount(ids[mask.bool()].cpu(), minlength=len(counts))
        return counts

    @cached_property
    def data_record(self) -> dict:
        """What checkpoints record of the training data."""
        return describe_rows(self.train_dataset)

    # What is trained.

    def train(self, *args, **kwargs):
        """Overridden to keep how a reader writes."""
        self._generation_config = copy.deepcopy(getattr(self.model, "generation_config", None))
        return super().train(*args, **kwargs)

    def _prepare_for_training(self, *args, **kwargs):
        """Overridden so that accelerate wraps, and the optimizer updates, the training model; `self.model` stays the
        concept model. Every attempt at training begins here, with empty logs."""
        self._reset_logs()
        model = self.model
        if hasattr(model, "reader"):  # transformers gave it the special tokens of the encoder's tokenizer
            model.generation_config = self._generation_config
        self.model = self.model_wrapped = self.training_model
        try:
            return super()._prepare_for_training(*args, **kwargs)
        finally:
            if not self.is_fsdp_enabled:
                self.model = model
                self.callback_handler.model = model

    def make_groups(self, model=None) -> list[dict]:
        """Groups of parameters with their learning rates and weight decay, as an optimizer takes them."""
        args, inner, rates = self.args, self.training_model.model, {}
        if args.reader_learning_rate is not None:
            rates |= dict.fromkeys(reader_parameters(inner), args.reader_learning_rate)
        if args.backbone_learning_rate is not None:
            rates |= dict.fromkeys(backbone_parameters(inner), args.backbone_learning_rate)
        if (rate := args.token_table_rate(inner.config)) is not None:
            rates[inner.get_input_embeddings().weight] = rate
        trained = self.training_model if model is None else model
        return parameter_groups(trained, args.weight_decay, args.learning_rate, rates)

    def create_optimizer(self, model=None):
        """The optimizer of `--optim`, with the groups of [`make_groups`]."""
        if self.optimizer is None:
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.training_model)
            self.optimizer = optimizer_class(self.make_groups(model), **options)
        return self.optimizer

    # A step: batches of the collator -> plan_step -> StepBatch -> compute_loss -> TrainingModel.forward.

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """All batches of this process for the next optimizer step, as [`StepBatch`]es, the inputs of
        `training_step`."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        self._steps += 1
        # They hold the number of items; transformers 5.5 only needs to know that there is one.
        return self.plan_step([self._prepare_inputs(batch) for batch in batches]), torch.ones(())

    def plan_step(self, batches: list[dict[str, torch.Tensor]]) -> list[StepBatch]:
        """Draw the noise of a step and count its items."""
        step, processes, rank = self.state.global_step, self.accelerator.num_processes, self.accelerator.process_index
        rows, inputs = [len(batch["input_ids"]) for batch in batches], []
        for number, batch in enumerate(batches):
            start = processes * sum(rows[:number]) + rank * rows[number]
            places = start + torch.arange(rows[number], device=self.args.device)
            inputs.append(self.draw_inputs(batch, places, processes * sum(rows)))
        items, texts = self.count_items(inputs)
        self.add_sampled_vocabulary(inputs)
        common = {
            # Texts may give an objective nothing to predict, as a single token has no continuation: the loss is 0.
            "items": {name: torch.where(count > 0, count, 1) for name, count in items.items()},
            "weights": self.mixture.weights({name for name, count in items.items() if count > 0}),
            "texts": texts,
            "splits": len(batches) * processes,
            "warmup": self.schedule.warmup(step),
            "encoder_options": self.schedule.encoder_options(step),
        }
        return [StepBatch(part, **common, collated=batch) for part, batch in zip(inputs, batches, strict=True)]

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

    def count_items(self, batches: list[dict[str, dict]]) -> tuple[dict[str, torch.Tensor], float]:
        """Number of items of each objective, and of texts for concept losses, in the batches of all processes."""
        mixture, zero = self.mixture, torch.zeros((), device=self.args.device)
        counts = {"texts": zero, **dict.fromkeys(mixture.objectives, zero)}
        for batch in batches:
            for name, inputs in batch.items():
                counts[name] = counts[name] + mixture.objectives[name].items(inputs)
                if name in mixture.parts and mixture.objectives[name].makes_concepts(self.model.config):
                    counts["texts"] = counts["texts"] + len(inputs["input_ids"])
        texts, *items = self.accelerator.reduce(torch.stack(list(counts.values())), "sum")
        return dict(zip(mixture.objectives, items, strict=True)), float(texts)

    def add_sampled_vocabulary(self, batches: list[dict[str, dict]]) -> None:
        """Give all objectives of the decoder in the batches of the step the same sample of the vocabulary, if there is
        one; a reader knows all of its own."""
        supervised = [
            inputs
            for batch in batches
            for name, inputs in batch.items()
            if "labels" in inputs and not self.mixture.objectives[name].by_reader
        ]
        labels = torch.zeros(self.model.config.vocab_size, device=self.args.device)
        for inputs in supervised:
            chosen = supervised_mask(inputs["labels"], inputs.get("loss_weights"))
            labels[inputs["labels"][chosen]] = 1
        labels = self.accelerator.reduce(labels, "sum") > 0
        key = make_key(self.args.seed, self.state.global_step, SAMPLE_KEY, device=self.args.device)
        sample = sample_vocabulary(labels, self.args.softmax_samples, key)
        for inputs in supervised if sample is not None else ():
            inputs["sampled_vocabulary"] = sample

    def clean(self, batch: dict[str, torch.Tensor]) -> CleanBatch:
        return CleanBatch(batch["input_ids"], batch["attention_mask"], self.vocabulary)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
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
        self._terms, self._steps = kept["terms"], kept["steps"]

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
            "optimizer": OptimizerNames(args.optim).value,
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
            # Saved weights have the updates merged, under names that layers with updates do not have.
            model.load_state_dict({**load_state_dict(checkpoint), **state["adapters"]}, strict=False)
            return
        super()._load_from_checkpoint(checkpoint, model if not self.is_fsdp_enabled else None)

    def draft_card(self):
        """The card of an unfinished run, with its last evaluation."""
        args, folder = self.args, Path(self.args.output_dir).name
        evaluated = next((entry for entry in reversed(self.state.log_history) if "eval_loss" in entry), {})
        facts = self.facts or RunFacts(args.run_name or folder, self.hub_model_id or folder, mixture=self.mixture)
        training = {"optimizer steps": f"{self.state.global_step:,} of {self.state.max_steps:,}", **git_state()}
        facts = replace(facts, trained=without_prefix(evaluated, "eval"), training=training)
        return make_card(self.training_model.model, args, facts)


def check_model_and_tokenizer(model, tokenizer) -> None:
    """ValueError for those that [`ConceptTrainer`] cannot train."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if (
        not isinstance(model, PreTrainedModel)
        or kind not in CONCEPT_MODEL_TYPES
        or not getattr(model, "writes_text", False)
    ):
        raise ValueError(f"ConceptTrainer trains concept models with a decoder, not {type(model).__name__}.")
    if mismatch := tokenizer_mismatch(tokenizer, model.config):
        raise ValueError(f"The tokenizer is not that of the model: {mismatch}.")
