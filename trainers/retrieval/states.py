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
    The last states of a transformer for texts that were added, in half precision, in memory-mapped Arrow files. A file
    of the same weights and texts is used again.

    Args:
        transformer: first module of a sentence-transformers model.
        folder: of the files.
        batch_size: texts computed at a time.
        bf16: compute in bfloat16.
    """

    def __init__(self, transformer: Transformer, folder: str, batch_size: int = 32, bf16: bool = False):
        self.transformer, self.folder, self.batch_size, self.bf16 = transformer, Path(folder), batch_size, bf16
        self.width = transformer.get_embedding_dimension()
        self.weights = Hasher.hash([value.cpu().float().numpy() for value in transformer.state_dict().values()])
        self.places: dict[str, tuple[Dataset, int]] = {}

    def add(self, texts: list[str]) -> None:
        """Compute the states of those texts that are new."""
        # Texts of similar length are computed together.
        new = sorted(set(texts) - set(self.places), key=lambda text: (len(text), text))
        if not new:
            return
        key = Hasher.hash([new, self.weights, self.transformer.max_seq_length, self.bf16])
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = Dataset.from_dict({"text": new}).map(
            self.compute, batched=True, batch_size=self.batch_size, features=FEATURES, desc="token states",
            writer_batch_size=WRITTEN_TOGETHER, new_fingerprint=key, cache_file_name=str(self.folder / f"{key}.arrow"),
        ).select_columns(["input_ids", "states"]).with_format("numpy")  # fmt: skip
        self.places |= {text: (rows, place) for place, text in enumerate(new)}

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
        """`token_embeddings` [B, N, H], `input_ids` and `attention_mask` [B, N]; KeyError for texts that were not
        added."""
        rows = [table[place] for table, place in (self.places[text] for text in texts)]
        states = [torch.from_numpy(row["states"].astype(np.float32)).view(-1, self.width) for row in rows]
        ids = [torch.from_numpy(row["input_ids"].astype(np.int64)) for row in rows]
        masks = [torch.ones(len(row), dtype=torch.long) for row in ids]
        names = {"token_embeddings": states, "input_ids": ids, "attention_mask": masks}
        return {name: pad_sequence(values, batch_first=True) for name, values in names.items()}
