# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Lessons, training and test of networks on generated problems."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import set_seed
from transformers.trainer_callback import TrainerState

from trainers.reasoning.data import make_batch, make_names, make_tokenizer
from trainers.reasoning.evaluation import agreement, make_test, measure_answers
from trainers.reasoning.experiment import Experiment, ProblemArguments
from trainers.reasoning.problems import PROBLEM_TASKS
from trainers.reasoning.systems import RECURSIVE, SYSTEMS, NetworkSizes, answer_logits
from trainers.reasoning.training import Curriculum, ProblemTrainer, ProblemTrainingArguments


NAMES = make_names(32)
CHAINS = PROBLEM_TASKS["chains"]
TOKENIZER = make_tokenizer(CHAINS, NAMES)
SIZES = NetworkSizes(
    len(TOKENIZER), TOKENIZER.pad_token_id, TOKENIZER.mask_token_id, facts=12, tokens=60, hidden_size=32, iterations=4
)


def make_curriculum(seed=0, most_steps=4):
    return Curriculum(seed, most_steps, learned=0.9, extra_iterations=2)


def make_trainer(folder, system=RECURSIVE, **options):
    options = {"max_steps": 6, "per_device_train_batch_size": 8, "trained_steps": 2, **options}
    args = ProblemTrainingArguments(
        str(folder), use_cpu=True, report_to=["none"], disable_tqdm=True, save_steps=3, save_total_limit=2, **options
    )
    set_seed(0)
    return ProblemTrainer(
        SYSTEMS[system](SIZES), args, task=CHAINS, names=NAMES, concepts=lambda facts: facts,
        processing_class=TOKENIZER,
    )  # fmt: skip


@given(seed=st.integers(0, 100), step=st.integers(0, 300), longest=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_lessons_are_of_known_steps(seed, step, longest):
    curriculum = make_curriculum(seed)
    curriculum.longest = longest
    lesson = curriculum.lesson(step)
    assert lesson == curriculum.lesson(step)
    assert 1 <= lesson.steps <= longest and lesson.steps < lesson.iterations <= lesson.steps + 2


def test_half_of_the_lessons_are_the_longest_and_others_all_shorter_ones():
    curriculum = make_curriculum()
    curriculum.longest = 4
    drawn = [curriculum.lesson(step).steps for step in range(2000)]
    assert drawn.count(4) / 2000 == pytest.approx(1 / 2 + 1 / 8, abs=0.03)
    assert drawn.count(1) / 2000 == pytest.approx(1 / 8, abs=0.03)


def test_problems_become_longer_when_they_are_answered_and_a_resumed_run_knows_it():
    curriculum, state = make_curriculum(most_steps=2), TrainerState()
    lesson = curriculum.lesson(0)
    for _ in range(21):
        curriculum.hear(lesson, 1.0)
        curriculum.on_step_end(None, state, None)
    assert (curriculum.longest, curriculum.answered) == (1, pytest.approx(1 - 0.9**21))
    curriculum.hear(lesson, 1.0)
    curriculum.on_step_end(None, state, None)
    assert (curriculum.longest, curriculum.answered) == (2, 0.0)
    curriculum.hear(lesson, 1.0)  # shorter than the longest
    curriculum.on_step_end(None, state, None)
    assert (curriculum.longest, curriculum.answered) == (2, 0.0)
    state.stateful_callbacks = {"Curriculum": curriculum.state()}
    resumed = make_curriculum(most_steps=2)
    resumed.on_train_begin(None, state, None)
    assert (resumed.longest, resumed.answered) == (2, 0.0)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_resumed_run_equals_an_uninterrupted_one(system, tmp_path):
    whole = make_trainer(tmp_path / "whole", system)
    whole.train()
    resumed = make_trainer(tmp_path / "resumed", system)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    assert resumed.curriculum.state() == whole.curriculum.state()
    logged = [entry for entry in make_logs(whole) if "longest" in entry]
    assert logged and all(entry["longest"] == 1 for entry in logged)


def make_logs(trainer):
    trainer.log({"loss": 1.0})
    return trainer.state.log_history


def test_accumulated_batches_are_one_step(tmp_path):
    """Of equal lessons, whatever is heard of the first of them."""
    weights = []
    for number, (size, parts) in enumerate(((8, 1), (4, 2))):
        trainer = make_trainer(
            tmp_path / str(number), per_device_train_batch_size=size, gradient_accumulation_steps=parts, max_steps=2
        )
        trainer.train()
        weights.append(trainer.model.state_dict())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], atol=1e-5, rtol=1e-4)


def test_a_network_learns_what_is_said(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=80, per_device_train_batch_size=32, trained_steps=1, warmup_steps=5)
    trainer.train()
    problems = make_test(CHAINS, 0, 32, 1, NAMES)
    found = measure_answers(trainer.model.eval(), problems, TOKENIZER, 1, [1, 2], 16)
    assert min(found.by_iterations.values()) > 0.8 and found.halted > 0.8 and 1 < found.iterations <= 2


@pytest.mark.parametrize("system", SYSTEMS)
def test_answers_of_all_iterations_are_those_of_each(system):
    set_seed(0)
    model = SYSTEMS[system](SIZES).eval()
    batch = make_batch(make_test(CHAINS, 0, 4, 2, NAMES), TOKENIZER)
    found = answer_logits(model, batch, [1, 2, 4])
    assert len(found) == (3 if system == RECURSIVE else 1) and found[0].shape == (4, 8, len(TOKENIZER))
    options = {} if system == "bert" else {"concept_num": 8}
    numbers = [{"num_iterations": number} for number in (1, 2, 4)] if system == RECURSIVE else [{}]
    for logits, number in zip(found, numbers, strict=True):
        own = model(input_ids=batch.input_ids, **options, **number).logits
        torch.testing.assert_close(logits, batch.at_questions(own), atol=2e-5, rtol=1e-4)


@given(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_agreement_is_the_first_repetition(rows):
    given = torch.tensor(rows)[:, None]  # [K, 1, F]
    repeated = [place for place in range(1, len(rows)) if rows[place] == rows[place - 1]]
    assert agreement(given).tolist() == [repeated[0] if repeated else len(rows) - 1]


def test_only_the_asked_steps_count():
    class Knows(torch.nn.Module):
        """Answers questions of one step alone."""

        device = torch.device("cpu")

        class config:
            is_recursive = False

        def forward(self, input_ids):
            batch = make_batch(problems, TOKENIZER)
            right = (batch.steps == 1)[:, :, None] * torch.nn.functional.one_hot(batch.answers, len(TOKENIZER))
            logits = torch.zeros(*input_ids.shape, len(TOKENIZER))
            logits[:, 4::5] = right.float()
            return type("Output", (), {"logits": logits})

    problems = make_test(CHAINS, 0, 3, 2, NAMES)
    assert measure_answers(Knows(), problems, TOKENIZER, 1, [1], 3).by_iterations == {None: 1.0}
    assert measure_answers(Knows(), problems, TOKENIZER, 2, [1], 3).by_iterations == {None: 0.0}
    for tested, share in (((1,), 1.0), ((1, 2), 0.5)):
        asked = [[fact._replace(steps=1, tested=fact.steps in tested) for fact in facts] for facts in problems]
        assert measure_answers(Knows(), asked, TOKENIZER, 1, [1], 3).by_iterations == {None: share}


@pytest.mark.parametrize("name", PROBLEM_TASKS)
def test_width_and_rate_are_those_of_the_task_unless_they_are_given(name, tmp_path):
    def sizes(options, **training_options):
        args = ProblemArguments(task_name=[name], test_steps=[1], max_eval_samples=1, **options)
        experiment = Experiment(args, ProblemTrainingArguments(str(tmp_path), use_cpu=True, **training_options))
        found = experiment.sizes
        return found.hidden_size, found.num_attention_heads, experiment.options()["learning_rate"]

    task = PROBLEM_TASKS[name]
    assert sizes({}) == (task.hidden_size, task.hidden_size // 32, task.learning_rate)
    assert sizes({"hidden_size": 16}, learning_rate=0.1) == (16, 1, 0.1)
    assert sizes({"num_attention_heads": 8})[1] == 8
