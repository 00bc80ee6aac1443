# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""The card of a repository that is pushed to again: results that it alone has stay, edits of others are no loss."""

import hashlib
import json
import re
from pathlib import Path


# A section of results, which belongs to the evaluation that its title names, whatever else is in the card.
SECTION = re.compile(r"<!-- results: (.*?) -->\n(.*?)<!-- end of results -->\n?", re.DOTALL)
# What stands beside a model, in the model-index of older cards.
OTHER_SYSTEM = re.compile(r" \((untrained|majority class|bag of words \(tf-idf\)|token table)(, .*)?\)$")
# The last line of a card as it is pushed: a digest of what it says beside results.
PUSHED = re.compile(r"\n*<!-- pushed: (\w+) -->\n?")


def result_sections(text: str) -> dict[str, str]:
    """The contents of the sections of results of a card by title."""
    return {match[1]: match[2] for match in SECTION.finditer(text)}


def other_entries(old: list, new: list) -> list:
    """Entries of a model-index for what none of the new ones has measured."""

    def measured(entry):
        data = entry.dataset_type, entry.dataset_config, entry.dataset_split
        return entry.task_type, *data, entry.metric_type

    again = {measured(entry) for entry in new}
    return [entry for entry in old if measured(entry) not in again]


def own_entries(entries: list) -> list:
    """The model's own entries of a model-index: older cards have those of all systems, such as `f1 (untrained)`, the
    model's first. Data sets that are no id on the Hub, or are folders here, lose their path."""
    found, groups = [], {}
    for entry in entries:
        measured = entry.task_type, entry.dataset_type, entry.dataset_config, entry.dataset_split, entry.metric_type
        groups.setdefault(measured, []).append(entry)
    for group in groups.values():
        if any(OTHER_SYSTEM.search(entry.metric_name or "") for entry in group):
            group = group[:1]
            group[0].metric_name = group[0].metric_type
        found += group
    for entry in found:
        local = not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", entry.dataset_type) or Path(entry.dataset_type).exists()
        entry.dataset_type = "own data" if local else entry.dataset_type
        parts = entry.dataset_name.split(",")
        paths = [local or part.strip().startswith(("/", "~", ".")) or Path(part.strip()).exists() for part in parts]
        entry.dataset_name = ",".join(
            re.sub(r"\S.*/", "", part) if path else part for part, path in zip(parts, paths, strict=True)
        )
    return found


def put_section(text: str, title: str, content: str) -> str:
    """A card with a section of results where that of the same title is, else before its limits or at its end."""
    section = f"<!-- results: {title} -->\n{content.strip()}\n<!-- end of results -->\n"
    for match in SECTION.finditer(text):
        if match[1] == title:
            return text[: match.start()] + section + text[match.end() :]
    if place := re.search(r"^## Limits", text, re.MULTILINE) or PUSHED.search(text):
        return f"{text[: place.start()].rstrip()}\n\n{section}\n{text[place.start() :].lstrip()}"
    return f"{text.rstrip()}\n\n{section}"


def _digest(card) -> str:
    """Of metadata and text, without results and without regard to white space."""
    index = ("model-index", "model_name", "eval_results")
    data = {name: value for name, value in card.data.to_dict().items() if name not in index}
    text = PUSHED.sub("", SECTION.sub("", card.text)).split()
    return hashlib.sha256(json.dumps([data, text], sort_keys=True, default=str).encode()).hexdigest()[:16]


def card_to_push(new: str, old: str | None, repo_id: str, overwrite: bool = False) -> tuple[str, list[str]]:
    """
    What goes to the Hub as the card of `repo_id`.

    Args:
        new: the card that is pushed.
        old: the card that is there, if there is one.
        overwrite: whether it may be replaced although somebody has edited it.

    Returns:
        The new card, with the sections of results, and the entries of the model-index, that only the old card has, and
        the titles of these sections.

    Raises:
        ValueError: the old card is not as it was pushed, beside its results.
    """
    from huggingface_hub import ModelCard

    card = ModelCard(PUSHED.sub("\n", new), ignore_metadata_errors=True)
    mark, kept, entries = _digest(card), {}, card.data.eval_results or []
    if old is not None:
        there = ModelCard(old, ignore_metadata_errors=True)
        found, pushed = _digest(there), PUSHED.search(there.text)
        known = found == mark or (pushed is not None and pushed[1] == found)
        if there.text.strip() and not known and not overwrite:
            came = "was edited on the Hub since it was pushed" if pushed else "was not pushed from here"
            raise ValueError(
                f"The card of {repo_id} {came}; --overwrite_card (overwrite_card=True) replaces it, but for its "
                "results; push_to_hub.py --create_pr (create_pr=True) proposes that instead."
            )
        own = result_sections(card.text)
        kept = {title: text for title, text in result_sections(there.text).items() if title not in own}
        for title, content in kept.items():
            card.text = put_section(card.text, title, content)
        entries = entries + other_entries(there.data.eval_results or [], entries)
        card.data.model_name = card.data.model_name or there.data.model_name
    if entries:
        card.data.eval_results = own_entries(entries)
        card.data.model_name = card.data.model_name or repo_id.split("/")[-1]
    return f"{str(card).rstrip()}\n\n<!-- pushed: {mark} -->\n", list(kept)
