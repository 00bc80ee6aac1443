# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Token states of a frozen transformer for all texts of a training, computed once.

B texts, N tokens of a text, H width of the transformer.
"""

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, Sequence, Value
from datasets.fingerprint import Hasher
from sentence_transformers.base.modules import Transformer
from torch.nn.utils.rnn import pad_sequence


# Texts that are written at a time: some 50 MB.
WRITTEN_TOGETHER = 256

FEATURES = Features(
    {"text": Value("string"), "input_ids": Sequence(Value("int32")), "states": Sequence(Value("float16"))}
)


class TokenStates:
    """
    The last states of a transformer for given texts, in half precision, in a memory-mapped Arrow file. A file of the
    same weights and texts is used again.

    Args:
        transformer: first module of a sentence-transformers model.
        texts: all texts that will be read.
        folder: of the file.
        batch_size: texts at a time.
        bf16: compute in bfloat16.
    """

    def __init__(
        self, transformer: Transformer, texts: list[str], folder: str, batch_size: int = 32, bf16: bool = False
    ):
        self.width, self.bf16, self.transformer = transformer.get_embedding_dimension(), bf16, transformer
        # Texts of similar length are computed together.
        rows = Dataset.from_dict({"text": sorted(set(texts), key=lambda text: (len(text), text))})
        weights = [value.detach().cpu().float().numpy() for value in transformer.state_dict().values()]
        key = Hasher.hash([rows["text"][:], weights, transformer.max_seq_length, bf16])
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.rows = rows.map(
            self.compute, batched=True, batch_size=batch_size, features=FEATURES, desc="token states",
            writer_batch_size=WRITTEN_TOGETHER, new_fingerprint=key, cache_file_name=str(Path(folder, f"{key}.arrow")),
        )  # fmt: skip
        self.places = {text: place for place, text in enumerate(self.rows["text"])}
        self.rows = self.rows.select_columns(["input_ids", "states"]).with_format("numpy")

    @torch.inference_mode()
    def compute(self, rows: dict[str, list]) -> dict[str, list]:
        """`input_ids` and flattened `states` [N * H] of each text."""
        device = next(self.transformer.parameters()).device
        features = self.transformer.preprocess(rows["text"])
        features = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in features.items()
        }
        ids, masks = features["input_ids"].cpu(), features["attention_mask"].bool().cpu()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            states = self.transformer(features)["token_embeddings"].half().cpu()
        return {
            "input_ids": [row[mask].numpy() for row, mask in zip(ids, masks, strict=True)],
            "states": [row[mask].flatten().numpy() for row, mask in zip(states, masks, strict=True)],
        }

    def read(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """`token_embeddings` [B, N, H], `input_ids` and `attention_mask` [B, N] of texts; KeyError for other texts."""
        rows = [self.rows[self.places[text]] for text in texts]
        states = [torch.from_numpy(row["states"].astype(np.float32)).view(-1, self.width) for row in rows]
        ids = [torch.from_numpy(row["input_ids"].astype(np.int64)) for row in rows]
        masks = [torch.ones(len(row), dtype=torch.long) for row in ids]
        names = {"token_embeddings": states, "input_ids": ids, "attention_mask": masks}
        return {name: pad_sequence(values, batch_first=True) for name, values in names.items()}
