# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
The reader: a causal language model that reads the concepts of a text in place of its tokens.

B batch, N tokens, C concepts, S tokens to write, H hidden, R width of the reader, V vocabulary of the reader.
"""

from typing import NamedTuple

import torch
import torch.nn as nn
from transformers import AutoModelForCausalLM
from transformers import initialization as init

from .configuration_concept import make_inner_config
from .encoder_concept import OUTPUT_NORM_EPS
from .layers_concept import FeedForward, RMSNorm, make_linear
from .outputs_concept import ConceptEncoderOutput
from .positions_concept import Segments


class ReaderInputs(NamedTuple):
    """Inputs of a causal language model: `inputs_embeds` [B, L, R], `attention_mask` and `position_ids` [B, L]."""

    inputs_embeds: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor

    def align_right(self) -> "ReaderInputs":
        """What is masked moved to the left, so that every row ends with what was read last."""
        order = self.attention_mask.argsort(dim=1, stable=True)
        embeds = self.inputs_embeds.gather(1, order[:, :, None].expand_as(self.inputs_embeds))
        return ReaderInputs(embeds, self.attention_mask.gather(1, order), self.position_ids.gather(1, order))


class ReaderAdapter(nn.Module):
    """
    Concepts as rows of the reader's token table: y = o + s · (P c + b + F(norm(c))), the last factor normalised and s
    of the size of those rows. P starts as the identity where widths agree, F, a gated feed-forward block, at zero, and
    b small, so that the concepts of a text without words, which are zero, are not rounding errors made large. For a
    pretrained reader, training sets b so that concepts are centred, and o to the mean row of its texts.
    """

    def __init__(self, config, width: int):
        super().__init__()
        self.projection = make_linear(config.hidden_size, width, bias=True, identity=width == config.hidden_size)
        self.norm = RMSNorm(config.hidden_size, eps=OUTPUT_NORM_EPS)
        self.feed_forward = FeedForward(config, init_scale=0.0, out_features=width)
        self.output_norm = RMSNorm(width, eps=OUTPUT_NORM_EPS)
        self.offset = nn.Parameter(torch.empty(width))

    def init_own_parameters(self):
        init.normal_(self.projection.bias, std=0.1)
        init.zeros_(self.offset)

    def forward(self, concepts):
        """`concepts` [B, C, H] -> [B, C, R]."""
        return self.offset + self.output_norm(self.projection(concepts) + self.feed_forward(self.norm(concepts)))

    @torch.no_grad()
    def match_norm(self, table: torch.Tensor) -> None:
        """Scale to the rows of `table` [V, R]."""
        self.output_norm.weight.fill_(table.float().square().mean().sqrt())

    @torch.no_grad()
    def centre(self, mean: torch.Tensor, row: torch.Tensor) -> None:
        """Let the mean `mean` [H] of many concepts become the row `row` [R]."""
        self.projection.bias.copy_(-self.projection.weight.float() @ mean.float())
        self.offset.copy_(row)


class ConceptReader(nn.Module):
    """
    The causal language model that `config.reader_config` describes, behind an adapter.

    It reads the concepts of a text, each at the position of the last token of its segment, so that distances to what
    follows are those of the text; then a learned embedding that says whether the continuation of the text or the text
    itself is to be written; then what is written, at positions N, N + 1, ….
    """

    def __init__(self, config):
        super().__init__()
        reader_config = make_inner_config(config.reader_config, "reader_config", config.hidden_dropout_prob)
        # "sdpa" is the concept model's default. The reader then takes its own default, as it may have no sdpa.
        own_choice = config._attn_implementation == "sdpa"
        self.lm = AutoModelForCausalLM.from_config(
            reader_config, attn_implementation=None if own_choice else config._attn_implementation
        )
        width = self.lm.get_input_embeddings().embedding_dim
        self.adapter = ReaderAdapter(config, width)
        self.start_embeddings = nn.Parameter(torch.empty(2, width))  # for the text itself, for what follows it
        self.max_positions = getattr(reader_config, "max_position_embeddings", None)

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """Tied weights of the language model. transformers asks the direct parts of a model for them."""
        return {f"lm.{name}": f"lm.{source}" for name, source in self.lm.all_tied_weights_keys.items()}

    def init_own_parameters(self):
        std = getattr(self.lm.config, "initializer_range", None) or 0.02
        init.normal_(self.start_embeddings, std=std)
        init.constant_(self.adapter.output_norm.weight, std)

    def prompt(self, encoded: ConceptEncoderOutput, continues: bool) -> ReaderInputs:
        """
        What the reader reads before it writes, [B, C + 1]: the concepts that have tokens, and the start embedding.

        Args:
            encoded: output of the encoder for B texts.
            continues: whether the continuation is to be written; otherwise the text itself.
        """
        concepts = self.adapter(encoded.last_hidden_state)
        batch, count = concepts.shape[:2]
        segments = Segments(encoded.lengths.expand(batch), count)
        index = torch.arange(count, device=concepts.device)[None]
        last = segments.lengths[:, None] - 1
        ends = torch.minimum(segments.first_token(index + 1) - 1, last)
        used = index < segments.used
        start = self.start_embeddings[int(continues)].to(concepts.dtype).expand(batch, 1, -1)
        inputs = ReaderInputs(
            torch.cat([concepts, start], dim=1),
            torch.cat([used, used.new_ones(batch, 1)], dim=1).long(),
            torch.cat([ends, last], dim=1),
        )
        return inputs.align_right()

    def token_prompt(self, input_ids, attention_mask=None, first: int = 0) -> ReaderInputs:
        """Tokens `input_ids` [B, L] of the reader at the positions `first`, `first` + 1, …, with padding on the right
        where `attention_mask` [B, L] is 0."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long().expand_as(input_ids)
        ids = input_ids.masked_fill(mask == 0, 0)  # padding may be no token of the reader
        positions = first + torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        return ReaderInputs(self.lm.get_input_embeddings()(ids), mask, positions)

    def append(self, prompt: ReaderInputs, input_ids, attention_mask=None) -> ReaderInputs:
        """`prompt` [B, L] and the tokens `input_ids` [B, S] after it, as in `token_prompt`."""
        tokens = self.token_prompt(input_ids, attention_mask, first=1)
        after = tokens._replace(
            inputs_embeds=tokens.inputs_embeds.to(prompt.inputs_embeds.dtype),
            position_ids=prompt.position_ids[:, -1:] + tokens.position_ids,
        )
        return ReaderInputs(*(torch.cat(parts, dim=1) for parts in zip(prompt, after, strict=True)))

    def check_length(self, length: int) -> None:
        """ValueError if the reader has fewer than `length` positions."""
        if self.max_positions is not None and length > self.max_positions:
            raise ValueError(
                f"The text and what is written have {length} tokens, more than the {self.max_positions} positions of "
                f"the reader ({self.lm.config.model_type})."
            )

    def states(self, inputs: ReaderInputs, **options):
        """
        Output of the reader's layers, without its head.

        Raises:
            ValueError: the text and what is written are longer than the reader's table of positions; compiled code
                does not check it.
        """
        inputs = inputs._replace(position_ids=inputs.position_ids * inputs.attention_mask)  # padding needs no place
        if not torch.compiler.is_compiling():
            self.check_length(int(inputs.position_ids.max()) + 1)
        return self.lm.base_model(**inputs._asdict(), use_cache=False, return_dict=True, **options)
