# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""What single concepts do over the iterations, and ProsQA, by other ways to the same numbers."""

import pytest
import torch
from datasets import Dataset
from transformers import set_seed

from trainers.reasoning.concepts import lost_answers, map_concepts, plot_concepts, without_each
from trainers.reasoning.data import make_batch, make_names, make_tokenizer
from trainers.reasoning.evaluation import make_test
from trainers.reasoning.problems import PROBLEM_TASKS
from trainers.reasoning.prosqa import answer_prosqa, as_problem, read_prosqa
from trainers.reasoning.systems import RECURSIVE, SYSTEMS, NetworkSizes

from ..modeling.zoo import stir


NAMES = make_names(64)
ROW = {
    "question": "Every shumpus is a rempus. Every rempus is an impus. Alex is a shumpus. Tom is a yimpus. "
    "Is Alex an impus or yimpus?",
    "steps": ["Alex is a shumpus.", "Every shumpus is a rempus.", "Every rempus is an impus."],
    "answer": "Alex is an impus.",
}


def make_network(task, facts=16):
    tokenizer = make_tokenizer(PROBLEM_TASKS[task], NAMES)
    sizes = NetworkSizes(
        len(tokenizer), tokenizer.pad_token_id, tokenizer.mask_token_id, facts=facts, tokens=8 * facts, hidden_size=32
    )
    set_seed(0)
    return stir(SYSTEMS[RECURSIVE](sizes)).eval(), tokenizer


def test_maps_are_means_over_pairs_of_concepts():
    model, tokenizer = make_network("chains")
    problems = make_test(PROBLEM_TASKS["chains"], 0, 2, 3, NAMES)
    maps = map_concepts(model, problems, tokenizer, 4)
    assert maps.attention.shape == maps.lost.shape == (4, 3, 3) and maps.lost_elsewhere.shape == (4,)
    # Of one problem, element by element.
    facts = problems[0]
    batch = make_batch([facts], tokenizer)
    model.set_attn_implementation("eager")
    encoded = model.encoder(batch.input_ids, concept_num=12, num_iterations=4, output_attentions=True)
    attention = encoded.attentions[2][0].mean(dim=0)
    places = {(fact.answer, fact.steps): place for place, fact in enumerate(facts)}
    groups = {fact.answer for fact in facts}
    expected = torch.stack([attention[places[group, 3], places[group, 1]] for group in groups]).mean()
    own = map_concepts(model, problems[:1], tokenizer, 4)
    torch.testing.assert_close(own.attention[2, 2, 0], expected.double(), atol=1e-6, rtol=1e-5)
    both = (own.attention + map_concepts(model, problems[1:], tokenizer, 4).attention) / 2
    torch.testing.assert_close(maps.attention, both)


def test_lost_answers_are_those_of_a_state_set_to_zero():
    model, tokenizer = make_network("chains")
    batch = make_batch(make_test(PROBLEM_TASKS["chains"], 0, 1, 2, NAMES), tokenizer)
    # What the network says is right, so that it has something to lose.
    said = model(input_ids=batch.input_ids, concept_num=8, num_iterations=3).logits.argmax(dim=-1)
    batch = batch._replace(labels=torch.where(batch.labels == -100, -100, said))
    lost = lost_answers(model, batch, 3)
    assert lost.shape == (3, 8, 8)
    assert lost[2].diagonal().all() and lost[2].sum() < 32  # its own, and some that the decoder reads it for
    for concept in (0, 5):
        with without_each(model, 1):
            logits = model(input_ids=batch.input_ids.expand(8, -1), concept_num=8, num_iterations=3).logits
        given = batch.at_questions(logits[concept : concept + 1]).argmax(dim=-1)[0]
        assert torch.equal(lost[0, :, concept], given != batch.answers[0])


def test_the_picture_of_the_maps(tmp_path):
    model, tokenizer = make_network("deduction")
    maps = map_concepts(model, make_test(PROBLEM_TASKS["deduction"], 0, 1, 2, NAMES), tokenizer, 2)
    plot_concepts(maps, "deduction", tmp_path / "concepts.png")
    assert (tmp_path / "concepts.png").stat().st_size > 10_000


def test_rows_of_prosqa_are_problems_with_other_words(tmp_path):
    facts = as_problem(ROW, NAMES)
    shumpus, rempus, impus, alex, tom, yimpus = NAMES[:6]
    assert [fact.words for fact in facts] == [
        (shumpus, "is", rempus, "proves"), (rempus, "is", impus, "proves"), (alex, "is", shumpus, "proves"),
        (tom, "is", yimpus, "proves"), (impus, "is", "option", "proves"),
        (yimpus, "is", "option", "proves"), ("who", "is", alex, "proves"),
    ]  # fmt: skip
    assert (facts[-1].answer, facts[-1].steps) == (impus, 3)
    Dataset.from_list([ROW, ROW]).to_parquet(tmp_path / "validation.parquet")
    assert read_prosqa(str(tmp_path), NAMES) == [facts, facts]
    with pytest.raises(ValueError, match="has 6 different words, more than --name_num 5"):
        as_problem(ROW, NAMES[:5])
    with pytest.raises(ValueError, match="This is no row of ProsQA"):
        as_problem(ROW | {"question": "No cat is red. " + ROW["question"]}, NAMES)


def test_the_more_probable_candidate_is_the_answer():
    model, tokenizer = make_network("ontology")
    facts = as_problem(ROW, NAMES)
    right = answer_prosqa(model, [facts, facts], tokenizer, [1, 3])
    assert right.shape == (2, 2) and torch.equal(right[:, 0], right[:, 1])
    batch = make_batch([facts], tokenizer)
    for place, number in enumerate((1, 3)):
        logits = model(input_ids=batch.input_ids, concept_num=7, num_iterations=number).logits[0, -1]
        answer, other = tokenizer.convert_tokens_to_ids([NAMES[2], NAMES[5]])
        assert bool(right[place, 0]) == bool(logits[answer] > logits[other])
    small, _ = make_network("ontology", facts=4)
    with pytest.raises(ValueError, match="makes 7 facts, the network reads 4"):
        answer_prosqa(small, [facts], tokenizer, [1])
