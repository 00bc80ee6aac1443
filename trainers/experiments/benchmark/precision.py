# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
Encoding in lower precision on a CPU: time, size of the weights, and how far the concepts are from those of float32.

B batch, N tokens, C concepts, H hidden.
"""

import importlib.util
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from scipy.stats import iqr

from ...evaluation.results import Result
from .measure import interleave
from .suite import BATCHES, GROUP_SECONDS, ROUNDS, TIME
from .systems import Shape, build_concept, make_inputs


TASK = "encoding in lower precision"
PLAIN = "float32"
NAMES = ("input_ids", "attention_mask")


def onnx_encoder(path: Path) -> Callable[[dict], torch.Tensor]:
    """The function from a batch to concepts [B, C, H] of an ONNX file, on as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {name: batch[name].numpy() for name in NAMES})[0])


def export_encoders(model, batch: dict, folder: Path) -> dict[str, Path]:
    """ONNX files of an encoder for batches of the size of `batch`: as it is, and with int8 weights (dynamic
    quantisation of ONNX Runtime)."""
    from onnxruntime.quantization import quantize_dynamic

    paths = {"ONNX Runtime, float32": folder / "encoder.onnx", "ONNX Runtime, int8": folder / "encoder.int8.onnx"}
    plain, small = paths.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (), kwargs={name: batch[name] for name in NAMES}, strict=False)
        torch.onnx.export(program, dynamo=True, verbose=False).save(plain)
    quantize_dynamic(plain, small)
    return paths


def centred_cosines(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Cosines [B, C] between concepts [B, C, H], each without the mean of all, which would make any two alike."""
    parts = (part.float().flatten(0, 1) for part in (found, expected))
    found, expected = (part - part.mean(dim=0) for part in parts)
    return F.cosine_similarity(found, expected, dim=-1)


def check_installed() -> None:
    """ValueError if ONNX Runtime or onnxscript is not installed."""
    if missing := [name for name in ("onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise ValueError(f"The part precision needs `pip install {' '.join(missing)}`; or choose other --parts.")


@torch.no_grad()
def time_precisions(base: Shape, lengths: list[int], tokens: int) -> list[Result]:
    """
    For texts of each length, about `tokens` tokens a step on the CPU: microseconds per token, time over that of
    float32 (median of the rounds ± half the distance between the quartiles), megabytes of the weights, and the mean
    and least of [`centred_cosines`].
    """
    results = []
    for length in lengths:
        results += time_length(replace(base, length=length), tokens)
    return results


def time_length(shape: Shape, tokens: int) -> list[Result]:
    """Results of [`time_precisions`] for one length."""
    batches = [make_inputs("encode", shape, tokens, seed, "cpu") for seed in range(BATCHES)]
    torch.manual_seed(0)
    model = build_concept(shape, "encode").eval()

    def plain(batch):
        return model(**batch).last_hidden_state

    def low(batch):
        with torch.autocast("cpu", torch.bfloat16):
            return plain(batch)

    encoders = {PLAIN: plain, "bfloat16": low}
    sizes = dict.fromkeys(encoders, sum(part.numel() * part.element_size() for part in model.parameters()))
    with tempfile.TemporaryDirectory() as folder:
        for name, path in export_encoders(model, batches[0], Path(folder)).items():
            encoders[name] = onnx_encoder(path)
            sizes[name] = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
        steps = {name: lambda number, run=run: run(batches[number % BATCHES]) for name, run in encoders.items()}
        times = interleave(steps, *ROUNDS["cpu"], "cpu", GROUP_SECONDS)
        cosines = {name: centred_cosines(run(batches[0]), plain(batches[0])) for name, run in encoders.items()}
    results, count = [], batches[0]["input_ids"].numel()
    for name in encoders:
        values = {TIME: (1e6 * median(times[name]) / count, None), "weights, MB": (sizes[name] / 1e6, None)}
        if name != PLAIN:
            ratios = [found / own for found, own in zip(times[name], times[PLAIN], strict=True)]
            values |= {
                "time / float32's": (median(ratios), iqr(ratios) / 2),
                "cosine with float32, mean": (float(cosines[name].mean()), None),
                "cosine with float32, least": (float(cosines[name].min()), None),
            }
        results += [Result(TASK, str(shape), metric, name, *value) for metric, value in values.items()]
    return results
