# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Generated problems: their answers follow from their facts, in so many steps, and from nothing less."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.reasoning.data import make_batch, make_names, make_tokenizer, problem_text
from trainers.reasoning.evaluation import guess, make_test
from trainers.reasoning.problems import COLOURS, DIGITS, NOTHING, PROBLEM_TASKS, SIZES, TIMES, Fact, find_problem_task


NAMES = make_names(96)


def solve_chains(facts):
    """Answer and number of facts used, of each fact, from the words alone."""
    links = {fact.words[0]: fact.words[2] for fact in facts}
    for fact in facts:
        end, used = fact.words[2], 1
        while end in links:
            end, used = links[end], used + 1
        yield end, used


def solve_reachability(facts):
    goals = {fact.words[0] for fact in facts if fact.words[1:3] == ("is", "goal")}
    edges = {}
    for fact in facts:
        if fact.words[1] == "to":
            edges.setdefault(fact.words[0], []).append(fact.words[2])
    for fact in facts:
        reached, used = ([fact.words[0]], 0) if fact.words[1] == "is" else ([fact.words[2]], 1)
        while reached and not goals & set(reached):
            reached, used = [end for start in reached for end in edges.get(start, [])], used + 1
        found = goals & set(reached)
        assert len(found) <= 1
        yield (found.pop(), used + 1) if found else (NOTHING, 0)  # and the goal's own fact


def solve_addition(facts):
    terms = {fact.words[0]: (fact.words[2], DIGITS.index(fact.words[4])) for fact in facts}
    for fact in facts:
        name, total, used = fact.words[0], 0, 0
        while name in terms:
            name, digit = terms[name]
            total, used = total + digit, used + 1
        assert name == "zero"
        yield DIGITS[total % 10], used


def solve_induction(facts):
    said = sorted((TIMES.index(fact.words[0]), fact.words[1], fact.words[3]) for fact in facts)
    for fact in facts:
        time, word, used = TIMES.index(fact.words[0]), fact.words[3], 1
        while earlier := [(other, after) for other, before, after in said if before == word and other < time]:
            (time, word), used = max(earlier), used + 1
        yield word, used


def solve_deduction(facts):
    above = {fact.words[1]: fact.words[3] for fact in facts if fact.words[3] not in SIZES}
    for fact in facts:
        kind, used = fact.words[1], int(fact.words[3] in SIZES)
        while kind not in COLOURS:
            kind, used = above[kind], used + 1
        yield kind, used


def solve_ontology(facts):
    candidates, above = {fact.words[0] for fact in facts if fact.words[2] == "option"}, {}
    assert len(candidates) == 2
    for fact in facts:
        above.setdefault(fact.words[0], []).append(fact.words[2])
    assert len(above["who"]) == 1
    for fact in facts:
        assert fact.tested == (fact.words[0] == "who")
        if fact.words[2] == "option":
            yield fact.words[0], 0
            continue
        kinds, used = [fact.words[2]], int(fact.words[0] != "who")
        while kinds and not candidates & set(kinds):
            kinds, used = [kind for lower in kinds for kind in above.get(lower, [])], used + 1
        found = candidates & set(kinds)
        assert len(found) <= 1
        yield (found.pop(), used) if found else (NOTHING, 0)


SOLVERS = {
    "chains": solve_chains, "reachability": solve_reachability, "addition": solve_addition,
    "deduction": solve_deduction, "induction": solve_induction, "ontology": solve_ontology,
}  # fmt: skip


@pytest.mark.parametrize("name", PROBLEM_TASKS)
@given(seed=st.integers(0, 5), index=st.integers(0, 1 << 50), steps=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_answers_follow_from_the_facts_in_so_many_steps(name, seed, index, steps):
    task = PROBLEM_TASKS[name]
    facts = task.problem(seed, index, steps, NAMES)
    assert [(fact.answer, fact.steps) for fact in facts] == list(SOLVERS[name](facts))
    assert {fact.steps for fact in facts} - {0} == set(range(1, steps + 1))
    words = {word for fact in facts for word in (*fact.words, fact.answer)}
    assert words <= {*task.words, *NAMES} and len(words - set(task.words)) == task.names(steps)
    assert len({len(fact.words) for fact in facts}) == 1
    assert len(facts) == len(task.problem(seed, index + 1, steps, NAMES))


@pytest.mark.parametrize("name", PROBLEM_TASKS)
def test_problems_depend_on_seed_and_number_alone(name):
    task = PROBLEM_TASKS[name]
    first = task.problem(1, 2, 3, NAMES)
    assert first == task.problem(1, 2, 3, NAMES)
    others = [task.problem(*numbers, 3, NAMES) for numbers in ((1, 3), (2, 2))]
    assert all(first != other for other in others) and first != sorted(first)


@pytest.mark.parametrize("name", PROBLEM_TASKS)
def test_words_alone_answer_no_more_than_chance(name):
    """Neither how often words occur nor where in sentences tells more than which four (of eight or ten), or which two,
    are candidates: a task of which this is not true would need no reasoning."""
    chance = 1 / 2 if name == "ontology" else 1 / 4
    for steps in (2, 5):
        problems = make_test(PROBLEM_TASKS[name], 0, 64, steps, NAMES)
        bag, places = (guess(problems, steps, by_place) for by_place in (False, True))
        assert 0 < bag <= places + 0.02 and places <= chance + 0.01


def test_the_guesser_knows_counts_and_places():
    problems = [[Fact((a, "to", b), b, 1) for a, b in (names[:2], names[2:])] for names in ("abcd", "efgh", "ijkl")]
    assert guess(problems, 1, by_place=False) == pytest.approx(1 / 4)  # all four names of a problem occur once
    assert guess(problems, 1, by_place=True) == pytest.approx(1 / 2)  # answers stand at the end
    same = [Fact(("a", "is"), "yes", 1)] * 3 + [Fact(("b", "is"), "no", 1)]
    assert guess([same], 1, by_place=True) == 3 / 4  # the most frequent answer, which is no word of the text


@pytest.mark.parametrize("name", PROBLEM_TASKS)
def test_batches_are_the_tokens_of_the_texts(name):
    task = PROBLEM_TASKS[name]
    tokenizer = make_tokenizer(task, NAMES)
    problems = [task.problem(0, number, 2, NAMES) for number in range(3)]
    batch = make_batch(problems, tokenizer)
    texts = [problem_text(facts) for facts in problems]
    assert torch.equal(batch.input_ids, tokenizer(texts, return_tensors="pt").input_ids)
    assert tokenizer.decode(batch.input_ids[0]) == texts[0] and tokenizer.unk_token_id not in batch.input_ids
    questions = batch.input_ids == tokenizer.mask_token_id
    assert torch.equal(questions, batch.labels != -100)
    assert torch.equal(batch.labels[questions].view(3, -1), batch.answers)
    assert tokenizer.convert_ids_to_tokens(batch.answers[1]) == [fact.answer for fact in problems[1]]
    assert batch.steps[2].tolist() == [fact.steps for fact in problems[2]]


def test_names_are_different_and_limited():
    assert len(set(make_names(4900))) == 4900
    with pytest.raises(ValueError, match="There are 4900 names, not 4901"):
        make_names(4901)
    with pytest.raises(ValueError, match="Unknown task 'logic'; choose one of"):
        find_problem_task("logic")
