# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Names and places of runs."""

import subprocess
from datetime import datetime
from pathlib import Path


def run_name(model_type: str, objective: str, config, now: datetime | None = None) -> str:
    """
    Name of a pretraining run as in the experiment list: `perceiver_mlm_H512L6C128_20260208_211633`,
    `diffusion_H512L6C128D2_…`, `prefix_diffusion_H512L6C128D2_…`, `tsdae_posonly_BiXTH512L6C128_…`; with `_mix` after
    the model type where `objective` (as in `--objective`) names several.
    """
    sizes = f"H{config.hidden_size}L{config.num_hidden_layers}C{config.concept_num}"
    prefix = model_type
    if objective == "masked_diffusion":
        prefix = "diffusion"
    if objective in ("masked_diffusion", "prefix_diffusion"):
        sizes += f"D{config.num_decoder_layers}"
    elif "," in objective:
        prefix += "_mix"
    elif objective == "denoising" and model_type == "perceiver_posonly_mlm":
        prefix = "tsdae_posonly"
    if config.encoder_type != "perceiver":
        sizes = {"bixt": "BiXT"}.get(config.encoder_type, config.encoder_type) + sizes
    if config.token_embedding_dim != config.hidden_size:
        sizes += f"_T{config.token_embedding_dim}"
    if config.concept_position_type in ("sinusoidal", "learned"):
        sizes += f"_pos{config.concept_position_type}"
    return f"{prefix}_{sizes}_{(now or datetime.now()):%Y%m%d_%H%M%S}"


def check_output_dir(path: str, resumes: bool) -> None:
    """ValueError if the folder already holds a run and this one does not go on with it."""
    folder = Path(path)
    held = [name for name in ("config.json", "trainer_state.json", "training_args.bin") if (folder / name).exists()]
    held += [checkpoint.name for checkpoint in sorted(folder.glob("checkpoint-*"))]
    if held and not resumes:
        raise ValueError(
            f"The output folder {path} already holds a run ({held[0]}); choose another --output_dir, or go on with it "
            "by --resume_from_checkpoint last."
        )


def git_state() -> dict[str, str | bool]:
    """Commit, branch, tag, and whether anything is uncommitted in the current folder; empty outside a checkout."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {
            "git_commit": git("rev-parse", "HEAD"),
            "git_branch": git("rev-parse", "--abbrev-ref", "HEAD"),
            "git_tag": git("describe", "--tags", "--always"),
            "git_dirty": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {}
