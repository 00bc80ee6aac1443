# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The compiled training step is one graph for the encoder and one for reading, and equals the plain one."""

import pytest
import torch

from modeling_concept.heads_lm_concept import count_supervised

from .zoo import DECODER_NAMES, MASK, language_model, random_batch


@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_the_training_step_compiles_without_graph_breaks(decoder):
    model = language_model(decoder=decoder, num_decoder_layers=1).train()
    batch = random_batch()
    chosen = torch.rand(batch["input_ids"].shape) < 0.4
    labels = torch.where(chosen & (batch["attention_mask"] == 1), batch["input_ids"], -100)
    noised = torch.where(chosen, MASK, batch["input_ids"])
    inputs = {"input_ids": noised, "decoder_input_ids": noised, "attention_mask": batch["attention_mask"]}

    def step(encoder, reader, **options):
        model.zero_grad()
        encoded = encoder(noised, batch["attention_mask"])
        loss = reader(**inputs, labels=labels, encoder_outputs=encoded, continuation=False, **options).loss
        loss.backward()
        return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    loss, gradients = step(model.base_model, model)
    torch._dynamo.reset()
    encoder, reader = model.base_model, torch.compile(model, fullgraph=True, backend="aot_eager")
    if decoder == DECODER_NAMES[0]:  # the encoder is the same below all
        encoder = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    compiled_loss, compiled_gradients = step(encoder, reader, supervised_num=count_supervised(labels) + 1)
    torch.testing.assert_close(compiled_loss, loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(compiled_gradients, gradients, atol=1e-5, rtol=1e-5)
