# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The benchmark: that systems do the same work, and that time, memory and operations are counted right."""

import math
import shutil
import time

import pytest
import torch
import torch.nn.functional as F

from examples import run_benchmark
from modeling_concept.loss_concept import head_loss
from trainers.evaluation.results import read_report
from trainers.experiments.benchmark import batches, gpu, precision, suite
from trainers.experiments.benchmark.gpu import measure_peak
from trainers.experiments.benchmark.measure import Step, interleave, peak_of_step
from trainers.experiments.benchmark.sentence_models import corpus_texts
from trainers.experiments.benchmark.suite import MEMORY_RATIO, TIME, TIME_RATIO, Timing, group_results, plan_groups
from trainers.experiments.benchmark.systems import (
    MASK,
    PAD,
    PEERS,
    SYSTEMS,
    TASKS,
    Shape,
    bert_loss,
    build_original,
    encode,
    make_inputs,
    modernbert_loss,
    original_loss,
    perceiver_loss,
    trains,
)
from trainers.utils.script import run_script


SHAPE = Shape(hidden_size=32, num_hidden_layers=2, vocab_size=211, length=24, concept_num=6)
TRAINED = [
    (name, task)
    for name in SYSTEMS
    for task in filter(trains, TASKS)
    if name != "concept-bf16" and (task == "masked_lm" or name in ("concept", "original"))
]


def inputs_of(task, tokens=100, seed=0):
    return make_inputs(task, SHAPE, tokens, seed, "cpu")


def build(name, task):
    return SYSTEMS[name][0](SHAPE, task).train(trains(task))


# Systems.


@pytest.mark.parametrize(("name", "task"), TRAINED)
def test_every_system_learns_every_task(name, task):
    step, inputs = Step(name, SHAPE, task), inputs_of(task)
    module = step.module
    before = float(step.loss(module.eval(), inputs).detach())
    step.gradients(inputs)
    missing = [name for name, parameter in module.named_parameters() if parameter.grad is None]
    assert not missing and all(p.grad.isfinite().all() for p in module.parameters())
    step.optimizer.zero_grad()
    module.train()
    for _ in range(5):
        step(inputs)
    assert math.isfinite(before) and float(step.loss(module.eval(), inputs).detach()) < before


@pytest.mark.parametrize("name", SYSTEMS)
def test_states_do_not_depend_on_padding(name):
    """The states of real tokens do not depend on the ids of masked ones: all systems use the mask."""
    inputs, module = inputs_of("encode"), build(name, "encode")
    inputs["attention_mask"][1:, 9:] = 0
    other = {**inputs, "input_ids": torch.where(inputs["attention_mask"] == 0, 7, inputs["input_ids"])}
    with torch.no_grad():
        first, second = (encode(module, given) for given in (inputs, other))
    rows = first.shape[1] == SHAPE.length
    assert first.shape == (len(inputs["input_ids"]), SHAPE.length if rows else SHAPE.concept_num, 32)
    assert rows == ("bert" in name)
    kept = inputs["attention_mask"].bool() if rows else torch.ones(first.shape[:2], dtype=torch.bool)
    assert (inputs["attention_mask"] == 0).any()
    torch.testing.assert_close(first[kept], second[kept], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "loss"), [("bert", bert_loss), ("modernbert", modernbert_loss)])
def test_sparse_heads_equal_dense_ones(name, loss):
    inputs, module = inputs_of("masked_lm"), build(name, "masked_lm")
    logits = module(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    expected = F.cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten(), ignore_index=-100)
    torch.testing.assert_close(loss(module, inputs), expected, rtol=1e-5, atol=1e-5)


def test_the_sparse_head_of_perceiver_equals_its_own_loss():
    inputs, module = inputs_of("masked_lm"), build("perceiver", "masked_lm")
    torch.testing.assert_close(perceiver_loss(module, inputs), module(**inputs).loss, rtol=1e-5, atol=1e-5)


def test_all_systems_have_the_same_sizes():
    for task in ("encode", "masked_lm"):
        for name in (name for name in SYSTEMS if task == "encode" or name != "concept-bf16"):
            module = build(name, task)
            config = getattr(module, "model", module).base_model.config
            tables = [tuple(p.shape) for p in module.parameters() if p.shape[:1] == (SHAPE.vocab_size,)]
            assert (SHAPE.vocab_size, 32) in tables
            if config is not None and config.model_type != "perceiver":
                assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (32, 2, 1)
                assert config.max_position_embeddings == SHAPE.length
            elif config is not None:
                assert (config.d_latents, config.num_self_attends_per_block, config.num_latents) == (32, 2, 6)


# The original's way.


def test_an_encoder_layer_of_the_original_has_its_number_of_parameters():
    shape = Shape(512, 1, 211, 16, 4)
    (layer,) = build_original(shape, "encode").layers
    assert sum(parameter.numel() for parameter in layer.parameters()) == 5_254_656  # as documented of the original


def test_the_original_attends_as_plain_attention_does():
    """From the weights: softmax over visible tokens of (c Wq + bq) · (E Wk + bk) / sqrt(D)."""
    layer = build_original(SHAPE, "encode").eval().layers[0].concept_token_attn
    concepts, tokens = torch.randn(2, 6, 32), torch.randn(2, 24, 32)
    mask = torch.arange(24) >= torch.tensor([[24], [9]])
    found, _ = layer(concepts, tokens, mask)
    query, key, value = (
        F.linear(states, weight, bias)
        for states, weight, bias in zip(
            (concepts, tokens, tokens), layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
        )
    )
    scores = (query @ key.mT / 32**0.5).masked_fill(mask[:, None], -torch.inf)
    torch.testing.assert_close(found, layer.out_proj(scores.softmax(-1) @ value), rtol=1e-5, atol=1e-5)


def test_what_the_original_reads():
    """TSDAE: nothing of deleted tokens, and all are predicted."""
    torch.manual_seed(0)
    inputs = inputs_of("denoising")
    deleted = (inputs["input_ids"] == MASK).sum() / (inputs["input_ids"] != PAD).sum()
    assert 0 < deleted < 0.6 and (inputs["labels"] != -100).sum() == int(inputs["attention_mask"].sum())
    model = build_original(SHAPE, "denoising").eval()
    assert model.lm_head.weight is model.encoder.token_embeddings.weight
    keys = []
    model.encoder.layers[0].register_forward_hook(lambda module, args, output: keys.append(args[2]))
    original_loss(model, inputs)
    assert torch.equal(keys[0], (inputs["input_ids"] == MASK) | (inputs["attention_mask"] == 0))


# Texts.


def test_all_systems_get_the_same_texts():
    first, second = inputs_of("masked_lm"), inputs_of("masked_lm")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["input_ids"], inputs_of("masked_lm", seed=1)["input_ids"])
    groups = plan_groups(["encode"], SHAPE, [128, 512, 8192], [24], [])
    assert [shape.concept_num for _, shape, _ in groups] == [6, 32, 6, 64, 6, 1024]


# Time, memory, operations.


def test_systems_take_turns():
    calls = []
    steps = {name: lambda number, name=name: calls.append((name, number)) for name in "ab"}
    seconds = interleave(steps, warmup=1, rounds=2, device="cpu")
    assert calls == [(name, number) for number in (0, 1, 2) for name in "aabb"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    calls.clear()
    short = interleave(steps, warmup=0, rounds=50, device="cpu", seconds=0.0)
    assert len(short["a"]) == len(short["b"]) == 3


def test_seconds_are_those_of_the_step():
    seconds = interleave({"sleep": lambda number: time.sleep(0.03), "nothing": lambda number: None}, 0, 3, "cpu")
    assert all(value >= 0.03 for value in seconds["sleep"]) and min(seconds["nothing"]) < 0.01


def timing(system, times, memory):
    return Timing("encode", system, SHAPE, times, 0.04, 50.0, memory)


def test_medians_ratios_and_spread():
    timings = [timing("concept", [1.0, 2.0, 9.0], 4.0), timing("bert", [2.0, 6.0, 9.0], 6.0)]
    results = group_results(timings)
    (ratio,) = (result for result in results if result.metric == TIME_RATIO)
    assert (ratio.system, ratio.split, ratio.value, ratio.spread) == ("bert", str(SHAPE), 2.0, 0.5)  # of 2, 3 and 1
    assert [(r.system, r.value) for r in results if r.metric == MEMORY_RATIO] == [("bert", 1.5)]
    own = {result.metric: result.value for result in results if result.system == "concept"}
    expected = {
        TIME: 2.0, "MFLOP per token": 0.04, "GFLOP per second": 20.0, "M parameters": 50.0, "peak memory, MiB": 4.0
    }  # fmt: skip
    assert own == expected


def allocate(mebibytes):
    """A step that needs so much memory for a moment, beside what stays."""
    kept = torch.ones(5 << 20)
    return lambda: float(torch.ones(mebibytes << 18).sum() + kept[0])


def test_the_peak_of_a_known_allocation():
    assert peak_of_step(allocate(200)) == pytest.approx(200, rel=0.1)


def test_operations_of_known_modules(monkeypatch):
    step = Step("concept", SHAPE, "encode")
    linear, states = torch.nn.Linear(8, 5), torch.randn(7, 8)
    monkeypatch.setattr(step, "gradients", lambda inputs, encodes_with_gradients: linear(inputs))
    assert step.flops(states) == 2 * 7 * 8 * 5
    monkeypatch.setattr(step, "gradients", lambda inputs, encodes_with_gradients: linear(inputs).sum().backward())
    assert step.flops(states) == 2 * 2 * 7 * 8 * 5  # the weight's gradient; the inputs have none

    def attend(inputs, encodes_with_gradients):
        query = torch.randn(2, 4, 6, 8, requires_grad=encodes_with_gradients)
        F.scaled_dot_product_attention(query, torch.randn(2, 4, 9, 8), torch.randn(2, 4, 9, 8))

    monkeypatch.setattr(step, "gradients", attend)
    assert step.flops(None) == 2 * (2 * 2 * 4 * 6 * 9 * 8)

    def head(inputs, encodes_with_gradients):
        labels, weights = torch.arange(7) % 5, (torch.arange(7) < 4).float()
        head_loss(linear, states.clone().requires_grad_(), labels, weights, 4).backward()

    linear.bias = None
    monkeypatch.setattr(step, "gradients", head)
    assert step.flops(None) == 3 * 2 * 4 * 8 * 5  # of the four supervised rows: logits and two gradients


def test_operations_of_an_encoder_follow_the_formula():
    """L·[2H² a token + C·(H² (6 + 3·4) + 2·(N + C)·H … a text)], two operations for each product, of the original's
    way, whose layers are nothing but matrix products and attention."""
    inputs = inputs_of("encode", tokens=48)
    layers, width, length, concepts = 2, 32, 24, 6
    products = 2 * width**2 * length + concepts * (6 * width**2 + 12 * width**2 + 2 * (length + concepts) * width)
    step = Step("original", SHAPE, "encode")
    assert step.flops(inputs) == 2 * layers * products * len(inputs["input_ids"])


def test_autocast_is_entered_in_each_step():
    """A cast of weights that outlived a step would hide the optimizer's change from the next."""
    step, inputs = Step("concept", SHAPE, "masked_lm", torch.bfloat16), inputs_of("masked_lm")
    seen, module = [], step.module
    module.model.encoder.register_forward_hook(lambda *args: seen.append(torch.is_autocast_enabled("cpu")))
    weight = next(module.parameters()).clone()
    step(inputs)
    assert seen == [True] and not torch.is_autocast_enabled("cpu")
    assert not torch.equal(weight, next(module.parameters()))


# The suite for a GPU, by its parts.


def test_fast_paths_are_checked_on_a_device(monkeypatch):
    found = gpu.check_paths("cpu", SHAPE, length=24)
    assert set(found) == {
        "eager, float32", "eager, bfloat16", "sdpa, float32", "sdpa, bfloat16", "gradients, float32"
    }  # fmt: skip
    assert found["eager, float32"] == found["gradients, float32"] == 0 < found["sdpa, bfloat16"] < 0.1
    monkeypatch.setitem(gpu.TOLERANCE, torch.bfloat16, 1e-6)
    with pytest.raises(RuntimeError, match="Concepts by eager, bfloat16 on cpu differ by 0.0"):
        gpu.check_paths("cpu", SHAPE, length=24)


def test_the_gpu_table(tmp_path, monkeypatch):
    """Every row is measured, while there is time, and the card gets the table in place of the old one."""
    rows = gpu.plan_rows([16, 32], [16])
    assert len(set(rows)) == len(rows) == 3 * (1 + 3 + 1 + 1)
    ours, peers = {("concept", "sdpa"), ("concept", "eager")}, {(peer, "as it is") for peer in PEERS[:3]}
    assert {(row.system, row.attention) for row in rows} == ours | peers
    monkeypatch.setattr(gpu, "ROW_SECONDS", 0)
    monkeypatch.setattr(gpu, "measure_peak", lambda dtype, device: measure_peak(dtype, device, 64, 2))
    monkeypatch.setattr(gpu, "plan_rows", lambda *lengths: [row for row in rows if not row.compiled])
    table = gpu.run_suite(SHAPE, [16, 32], [16], 64, "cpu")
    assert table.count("\n| ") == 2 + 15 and table.count(" concept | eager | ") == 3 and "TFLOP/s" in table
    monkeypatch.setattr(gpu, "SECONDS", 0)
    assert "Not measured for want of time: 15 rows." in gpu.run_suite(SHAPE, [16, 32], [16], 64, "cpu")
    card = tmp_path / "speed.md"
    card.write_text(f"before\n{gpu.BEGIN}\nold\n{gpu.END}\nafter\n")
    gpu.write_card(card, table)
    text = card.read_text()
    assert "old" not in text and text.startswith("before\n") and text.endswith("\nafter\n") and table in text
    gpu.write_card(card, table)
    assert card.read_text() == text
    card.write_text("nothing")
    with pytest.raises(ValueError, match="has no place for the table"):
        gpu.write_card(card, table)


def test_a_compiled_row_is_measured():
    speed, rate = gpu.measure_row(gpu.Row("encode", 16, "concept", compiled=True), SHAPE, 64, torch.float32, "cpu")
    assert speed > 0 and rate > 0


def test_the_card_of_the_package_has_a_place_for_the_table():
    assert gpu.read_card(run_benchmark.CARD)[0].startswith("# Speed")


# The script.


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The script in a folder of its own; returns the exit message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(suite.ROUNDS, "cpu", (0, 3))
    monkeypatch.setitem(run_benchmark.TOKENS, "cpu", 64)
    monkeypatch.setattr(suite, "SCALE_LENGTHS", (16, 32))
    monkeypatch.setattr(run_benchmark, "time_batches", lambda base, device: [])
    monkeypatch.setattr(run_benchmark, "time_precisions", lambda base, lengths, tokens: [])

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["run_benchmark.py", *map(str, arguments)])
        try:
            run_script(run_benchmark.main)
        except SystemExit as end:
            return str(end)

    return run


TINY = (
    "--hidden_size", 32, "--num_hidden_layers", 2, "--vocab_size", 500, "--concept_num", 8, "--lengths", 16, 32,
    "--train_lengths", 16, 32, "--output_dir", "out",
)  # fmt: skip


def test_all_parts(run, tmp_path, capsys):
    assert run(*TINY) is None
    shown = capsys.readouterr().out
    for words in ("Cost of concept models, H32L2", *PEERS, "concept-bf16", "out/README.md", MEMORY_RATIO, "±"):
        assert words in shown, words
    report = read_report(tmp_path / "out" / "results.json")
    results = report["results"]
    ratios = {(r.task, r.split, r.system) for r in results if r.metric == TIME_RATIO}
    for peer in PEERS:
        assert {("encoding", f"N={length}, C=8", peer) for length in (16, 32)} <= ratios
        assert ("training, masked LM 15 %", "N=32, C=8", peer) in ratios
    assert ("encoding", "N=16, C=4", "perceiver") in ratios
    for task in ("denoising", "denoising_default"):
        assert (TASKS[task].title, "N=16, C=8", "original") in ratios
    peaks = {(r.task, r.system) for r in results if r.metric == "peak memory, MiB"}
    assert {("training, dense TSDAE", "original"), ("encoding", "bert")} <= peaks
    assert all(r.value > 0 for r in results if "memory" not in r.metric)
    assert report["machine"].endswith(f", {torch.get_num_threads()} threads")
    assert all(len(timing["times"]) == 3 for timing in report["timings"])
    assert ("encoding one text", "N=32, C=2", "concept") in {(r.task, r.split, r.system) for r in results}
    for picture in ("cost.png", "scale.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_ways_to_make_batches(monkeypatch):
    """Padding is that of the batches, less in batches of similar length, and every way encodes every text."""
    assert batches.padding_share([4, 1, 3], [[0, 1], [2]]) == pytest.approx(3 / 11)
    seen, model = [], batches.build_concept(SHAPE, "encode")
    monkeypatch.setattr(batches, "build_concept", lambda shape, task: model)
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda ids, mask: seen.append(int(mask.sum())) or forward(ids, mask))
    model.config.max_sequence_length = 128
    results = batches.time_batches(SHAPE, "cpu", longest=128, texts=70)
    padding = {result.system: result.value for result in results if result.metric == "padding"}
    assert list(padding) == list(batches.WAYS)
    ordered, similar, *_ = padding.values()
    assert 0.3 < ordered < 0.8 and similar < ordered - 0.2
    assert sum(seen) % 32 == 0  # four ways, four rounds each, twice in each
    assert all(result.value > 0 for result in results if result.metric != "padding")


def test_a_stopped_run_keeps_what_it_has_measured(run, tmp_path, monkeypatch):
    def stop(base, device):
        raise ValueError("stopped")

    monkeypatch.setattr(run_benchmark, "time_batches", stop)
    assert run(*TINY, "--parts", "encode", "batches", "--peers", "bert") == "stopped"
    report = read_report(tmp_path / "out" / "results.json")
    assert {result.split for result in report["results"]} == {"N=16, C=8", "N=16, C=4", "N=32, C=8"}
    assert (tmp_path / "out" / "README.md").is_file()


def test_lower_precision_is_told_with_its_accuracy():
    concepts = torch.randn(2, 3, 8)
    torch.testing.assert_close(precision.centred_cosines(concepts + 5, 2 * concepts), torch.ones(6))
    results = precision.time_precisions(SHAPE, [16], 64)
    of = {(r.system, r.metric): r.value for r in results}
    for name, least in (("bfloat16", 0.99), ("ONNX Runtime, float32", 0.99999), ("ONNX Runtime, int8", 0.9)):
        assert least < of[name, "cosine with float32, least"] <= of[name, "cosine with float32, mean"] < 1.00001
        assert of[name, "time / float32's"] > 0
    assert of["ONNX Runtime, int8", "weights, MB"] < of["ONNX Runtime, float32", "weights, MB"]


def test_a_missing_library_is_told_before_anything_is_measured(run, monkeypatch):
    monkeypatch.setattr(precision.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(run_benchmark, "run_group", lambda *arguments: pytest.fail("measured"))
    assert "needs `pip install onnxruntime onnxscript`" in run(*TINY)


def test_parts_are_chosen(run, capsys):
    assert run(*TINY, "--parts", "original", "--peers", "bert", "--bf16", "true") is None
    shown = capsys.readouterr().out
    assert "dense TSDAE" in shown and "bert" not in shown and "masked LM" not in shown


def test_trained_models_are_timed_by_what_they_encode(run, tmp_path, teacher, capsys):
    copy = shutil.copytree(teacher, tmp_path / "copy")
    models = ["--sentence_models", teacher, copy]
    assert run(*models, "--lengths", 16, 32, "--tokens_per_step", 64, "--output_dir", "out") is None
    assert "texts per second" in capsys.readouterr().out
    results = read_report(tmp_path / "out" / "results.json")["results"]
    found = {(r.split, r.metric, r.system): r for r in results}
    ratio = "time / the first model's"
    assert set(found) == {
        (f"N={length}", metric, system)
        for length in (16, 32)
        for metric, systems in (("texts per second", ("teacher", "copy")), (ratio, ("copy",)))
        for system in systems
    }
    assert (found["N=16", ratio, "copy"].count, found["N=32", ratio, "copy"].count) == (4, 2)
    assert all(result.value > 0 for result in results)


def test_timed_texts_have_the_length_that_was_asked_for(tokenizer):
    texts = corpus_texts(tokenizer, 16, 5)
    assert len(set(texts)) == 5
    assert all(abs(len(tokenizer(text)["input_ids"]) - 16) <= 2 for text in texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sentence_models", "nowhere"], "The SentenceTransformer 'nowhere' cannot be read"),
        (["--peers", "gpt"], "--peers: invalid choice: 'gpt' (choose from"),
        (["--parts", "eval"], "--parts: invalid choice: 'eval'"),
        (["--steps", "3"], "no option --steps"),
        (["--suite", "gpu"], "--suite gpu needs a GPU"),
    ],
)
def test_bad_input_gets_one_sentence(run, options, message):
    error = run(*options)
    assert message in error and "\n" not in error
