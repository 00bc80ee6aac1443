# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The Trainer of concept models."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import Trainer

from modeling_concept.backbone_concept import write_code

from .collator import ConceptDataCollator
from .metrics import concept_metrics, reconstruction_metrics
from .objectives import Objective


EVALUATION_SEED = 20260208


class ConceptTrainer(Trainer):
    """
    [`Trainer`] into which an objective is composed.

    The loss is the mean over labels of the whole optimizer step: transformers counts them over all accumulated
    batches and processes, the model divides by their number. The evaluation loss is the mean over all labels, with
    masks and noise levels that depend on each text alone.

    Args:
        objective: what is hidden and predicted.
        processing_class: the tokenizer.
        Others as in [`Trainer`]; data sets have the column `input_ids`.
    """

    def __init__(self, *args, objective: Objective, processing_class, **kwargs):
        self.objective = objective
        collator = ConceptDataCollator(processing_class, objective)
        super().__init__(*args, data_collator=collator, processing_class=processing_class, **kwargs)
        self.eval_collator = ConceptDataCollator(processing_class, objective.for_evaluation(), EVALUATION_SEED)
        self.card = None
        self._eval_sums = None

    def get_eval_dataloader(self, eval_dataset=None) -> DataLoader:
        """With fixed noise."""
        train_collator, self.data_collator = self.data_collator, self.eval_collator
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = train_collator

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Also keeps the sum of losses and the number of labels, as batches hold different numbers."""
        result = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        if self._eval_sums is not None and result[0] is not None and "labels" in inputs:
            count = (inputs["labels"] != -100).sum().to(result[0].device)
            self._eval_sums += torch.stack([result[0].double() * count, count.double()]).to(self._eval_sums)
        return result

    def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
        """Loss in nats as the mean over labels, not over batches."""
        # float32 where float64 does not exist (MPS).
        dtype = torch.float32 if self.args.device.type == "mps" else torch.float64
        self._eval_sums = torch.zeros(2, dtype=dtype, device=self.args.device)
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        total, count = self.accelerator.reduce(self._eval_sums, "sum").tolist()
        self._eval_sums = None
        if count:
            output.metrics[f"{metric_key_prefix}_loss"] = total / count
        output.metrics.update(self.text_metrics(metric_key_prefix))
        return output

    def metric_batches(self):
        """Clean batches of the first evaluation texts."""
        count, size = self.args.concept_metric_samples, self.args.per_device_eval_batch_size
        rows = []
        for row in self.eval_dataset:
            if len(rows) == count:
                break
            rows.append(row["input_ids"])
        for start in range(0, len(rows), size):
            batch = self.eval_collator.pad(rows[start : start + size])
            yield {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}

    def concepts(self, model=None) -> torch.Tensor:
        """Concepts [T, C, H] of the clean evaluation texts that metrics are computed on."""
        encoder = (model or self.model).base_model
        found = []
        with encoder.reading():
            for batch in self.metric_batches():
                batch = {name: value.to(encoder.device) for name, value in batch.items()}
                found.append(encoder(**batch).last_hidden_state.float().cpu())
        return torch.cat(found)

    def text_metrics(self, prefix: str = "eval", model=None) -> dict[str, float]:
        """Concept and reconstruction metrics of the evaluation texts, for `model` or the one in training."""
        if not self.args.concept_metric_samples or self.eval_dataset is None:
            return {}
        model = model or self.accelerator.unwrap_model(self.model)
        metrics = concept_metrics(self.concepts(model))
        if getattr(model.config, "decoder_target", None) == "text":
            special = self.processing_class.all_special_ids
            metrics |= reconstruction_metrics(model, self.metric_batches(), special)
        return {f"{prefix}_{name}": value for name, value in metrics.items()}

    def create_model_card(self, *args, **kwargs):
        """Write `self.card`, a `huggingface_hub.ModelCard`, once there is one; transformers' draft until then."""
        if self.card is None:
            super().create_model_card(*args, **kwargs)
        elif self.is_world_process_zero():
            self.card.save(Path(self.args.output_dir) / "README.md")

    def _push_from_checkpoint(self, checkpoint_folder):
        write_code(self.args.output_dir)  # transformers copies weights and configuration only
        super()._push_from_checkpoint(checkpoint_folder)
