# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
A reader of concepts learns from itself as a reader of the tokens.

B texts, P prefix tokens, S suffix tokens, M chosen ones of them, R width of the reader.
"""

from dataclasses import dataclass

import torch.nn.functional as F

from .base import option
from .continuation import Continuation
from .divergence import divergence


@dataclass
class ContextDistillation(Continuation):
    """
    The encoder sees a prefix; what the reader predicts after it is compared with what the same reader predicts after
    the prefix as tokens: KL(tokens ‖ concepts), the mean over the tokens of the suffix (as context distillation, Snell
    et al. 2022). Optionally also one minus the cosine of the states below the reader's head, and the negative
    log-likelihood of the suffix.
    """

    hidden_state_weight: float = option(0.0, "Weight of one minus the cosine of the reader's last states.")
    likelihood_weight: float = option(0.0, "Weight of the negative log-likelihood of the suffix.")

    def make_inputs(self, prefix, prefix_mask, suffix, suffix_mask, vocabulary):
        inputs = super().make_inputs(prefix, prefix_mask, suffix, suffix_mask, vocabulary)
        return inputs | {"reader_input_ids": prefix, "reader_attention_mask": prefix_mask}

    def loss(self, model, head, encoded, inputs, items):
        reader, labels = model.reader, inputs["labels"]
        rows, places = (labels != -100).nonzero(as_tuple=True)
        written = inputs["decoder_input_ids"]

        def states(prompt):
            """[M, R], after what is read in `prompt`."""
            hidden = reader.states(reader.append(prompt, written[:, 1:])).last_hidden_state
            return hidden[rows, prompt.inputs_embeds.shape[1] - 1 + places]

        with model.inference_mode():
            prompt = reader.token_prompt(inputs["reader_input_ids"], inputs["reader_attention_mask"])
            targets = states(prompt.align_right())
        found = states(reader.prompt(encoded, continues=True))
        output = reader.lm.get_output_embeddings()
        total = divergence(output, found, targets, labels[rows, places], self.likelihood_weight)
        if self.hidden_state_weight:
            total = total + self.hidden_state_weight * (1 - F.cosine_similarity(found, targets, dim=-1)).sum()
        return total / items
