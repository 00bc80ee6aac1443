# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Checks of numbers among the options of scripts."""


def check_at_least(options, **smallest: int) -> None:
    """ValueError for an option, given by its name and the smallest value that it takes, that has a smaller value. An
    option that is None was not given; of a list each value counts."""
    for name, least in smallest.items():
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and not value >= least:
                raise ValueError(f"--{name} must be at least {least}, not {value}.")
