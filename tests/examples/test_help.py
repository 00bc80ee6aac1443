# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Every script tells its options, and an option has one name in all of them."""

import re
import runpy
import sys

import pytest

from trainers.utils.script import OTHER_NAMES, OptionParser, parse_arguments

from .kit import SCRIPTS, refusal


SCRIPT_PATHS = sorted(SCRIPTS.glob("*.py"))


def help_of(path, monkeypatch, capsys, word="--help") -> str:
    monkeypatch.setattr(sys, "argv", [path.name, word])
    with pytest.raises(SystemExit) as raised:
        runpy.run_path(str(path), run_name="__main__")
    assert not raised.value.code
    return capsys.readouterr().out


def options_in(text) -> set[str]:
    return set(re.findall(r"^  --(\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("path", SCRIPT_PATHS, ids=lambda path: path.stem)
def test_scripts_tell_their_options(path, monkeypatch, capsys):
    text, whole = (help_of(path, monkeypatch, capsys, word) for word in ("--help", "--help_all"))
    own, every = options_in(text), options_in(whole)
    assert text.startswith(f"usage: {path.name}") and own <= every
    assert "transformers.TrainingArguments:" not in text
    assert ("transformers.TrainingArguments:" in whole) == (own != every)
    assert not {"seed", "push_to_hub"} <= own or own == every  # of transformers
    # Names that others have for an option are no options here, but where one is the other's usual name.
    written = {name for names in OTHER_NAMES.values() for name in re.findall(r"--(\w+)", " ".join(names))}
    assert not every & (set(OTHER_NAMES) - written)


def test_the_names_that_are_answered_are_options_of_scripts(monkeypatch, capsys):
    known = set().union(*(options_in(help_of(path, monkeypatch, capsys, "--help_all")) for path in SCRIPT_PATHS))
    for names in OTHER_NAMES.values():
        assert set(re.findall(r"--(\w+)", " ".join(names))) <= known, names


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run_pretraining.py --max_seq_lenght 5", "--max_seq_lenght; did you mean --max_seq_length?"),
        ("run_pretraining.py --max-seq-lenght=5", "--max_seq_lenght; did you mean --max_seq_length?"),
        ("run_pretraining.py --seed 1 --use_bixt", "--use_bixt; write --encoder_type bixt."),
        ("run_pretraining.py --elbo_weight True", "--elbo_weight; write --elbo_weighting self_normalised for True"),
        ("run_pretraining.py --decoder_layers 2", "--decoder_layers; did you mean --num_decoder_layers?"),
        ("run_pretraining.py --sif_smoothing 0", "write --config_overrides concept_mean=uniform, with which"),
        ("run_pretraining.py --cache_dir a", "--cache_dir; set the environment variable HF_DATASETS_CACHE."),
        ("run_pretraining.py --token_embedding_dim 8", "write --config_overrides token_embedding_dim=…"),
        ("run_pretraining.py --concept_position_type none", "write --config_overrides concept_position_type=…"),
        ("run_pretraining.py --hidden_dropout_prob=0.1", "write --config_overrides hidden_dropout_prob=…"),
        ("run_pretraining.py --nothing_like_it", "--nothing_like_it; see --help."),
        ("run_pretraining.py wikitext", "'wikitext' belongs to no option"),
        ("run_pretraining.py --learning_rate fast", "--learning_rate: invalid float value: 'fast'."),
        ("run_pretraining.py --hidden_size 3.5", "--hidden_size: invalid int value: '3.5'."),
        ("run_pretraining.py --seed", "--seed: expected one argument."),
        ("run_glue.py --task mrpc", "--task; did you mean --task_name?"),
        ("run_glue.py --text_column_name a", "--text_column_name; see --help."),
        ("run_glue.py --limit 7", "--limit; write --max_train_samples or --max_eval_samples."),
        ("run_glue.py --evaluation_strategy no", "--evaluation_strategy; did you mean --eval_strategy or"),
        ("run_glue.py --overwrite_output_dir", "no run is overwritten: choose another --output_dir."),
        ("run_glue.py --save_strategy sometimes", "sometimes is not a valid SaveStrategy"),
        ("run_sts.py --limit 7", "--limit; write --max_eval_samples."),
        ("run_concept_analysis.py --text_column_name a", "--text_column_name; did you mean --text_column?"),
        ("run_glue.py --tasks sick", "--tasks; write --task_name."),
        ("push_to_hub.py --checkpoint a", "--checkpoint; write --model_name_or_path."),
        ("push_to_hub.py --repo_id a", "--repo_id; write --hub_model_id."),
        ("convert_original_checkpoint.py --input a", "--input; write --model_name_or_path."),
        ("convert_original_checkpoint.py --output_dir a", "are required: --model_name_or_path."),
        ("run_ablation.py --use_bixt true", "--use_bixt; write --encoder_type bixt."),
        ("run_ablation.py --seeds two", "--seeds: invalid int value: 'two'."),
        ("run_pretraining.py --report_to nothing", "--report_to nothing is not installed"),
        ("run_glue.py --report_to tensorboard nothing", "--report_to nothing is not installed"),
    ],
)
def test_an_option_that_is_none_is_answered_by_the_one_that_was_meant(line, message, tmp_path, monkeypatch):
    script, *arguments = line.split()
    assert message in refusal(script, tmp_path, monkeypatch, *arguments)


def test_a_table_that_is_refused_leaves_nothing(tmp_path, monkeypatch):
    given = ["--output_dir", "out", "--baseline_models", "none", "--evaluations", "mrpc", "--glue", "nowhere"]
    assert "'nowhere'" in refusal("run_ablation.py", tmp_path, monkeypatch, *given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sif_smoothing": 0}', "--sif_smoothing; write --config_overrides concept_mean=uniform"),
        ('{"hidden_size": "wide"}', "--hidden_size: invalid int value: 'wide'."),
        ("[1]", "options.json cannot be read"),
        ("{", "cannot be read"),
    ],
)
def test_options_of_a_file_are_checked_like_those_of_the_command_line(content, message, tmp_path, monkeypatch):
    (tmp_path / "options.json").write_text(content)
    assert message in refusal("run_pretraining.py", tmp_path, monkeypatch, "options.json")


def test_trackers_are_a_list_in_every_script(monkeypatch):
    from trainers.fine_tuning.runner import FineTuningArguments
    from trainers.training_args import ConceptTrainingArguments

    for kind in (FineTuningArguments, ConceptTrainingArguments):
        for words, expected in ((["none"], []), (["tensorboard", "none"], ["tensorboard"]), ([], [])):
            line = ["--report_to", *words] if words else []
            monkeypatch.setattr(sys, "argv", ["script", "--output_dir", "out", *line])
            (args,) = parse_arguments(kind)
            assert [name for name in args.report_to if name != "none"] == expected


def test_the_help_shows_each_option_once(monkeypatch):
    from trainers.training_args import ConceptTrainingArguments

    monkeypatch.setattr(sys, "argv", ["script", "--help_all"])
    shown = re.findall(r"^  --(\w+)", OptionParser([ConceptTrainingArguments]).format_help(), re.MULTILINE)
    assert len(shown) == len(set(shown)) and set(shown) >= {"seed", "objective", "deletion_rate", "t_min"}
