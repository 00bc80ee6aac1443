# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Text from the Hub, from files or from the embedded corpus, as pieces of tokens for pretraining."""

import random
from collections.abc import Iterator
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict, IterableDatasetDict


EMBEDDED_CORPUS = Path(__file__).parent / "embedded_corpus"

STREAMED_VALIDATION_ROWS = 1000

FILE_FORMATS = {"txt": "text", "json": "json", "jsonl": "json", "csv": "csv", "parquet": "parquet"}


def load_text(
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    train_file: str | None = None,
    validation_file: str | None = None,
    streaming: bool = False,
    validation_split_percentage: float = 5,
    seed: int = 0,
    cache_dir: str | None = None,
    token: str | None = None,
) -> DatasetDict | IterableDatasetDict:
    """
    Raw text with splits `train` and `validation`.

    Args:
        dataset_name: Hub id or local folder in Hub layout; several with commas between, each with its configuration
            after a colon: `Skylion007/openwebtext,wikimedia/wikipedia:20231101.en`. Without it and without files: the
            embedded corpus.
        dataset_config_name: configuration of a single data set.
        train_file, validation_file: txt, json, jsonl, csv or parquet.
        streaming: read without downloading or converting first.
        validation_split_percentage: part of train that becomes `validation` where there is none; of a stream, the
            first `STREAMED_VALIDATION_ROWS` rows.
        seed: of that split.
        cache_dir, token: as in `datasets`.

    Raises:
        ValueError: a data set or file that does not exist, cannot be read or has an unknown ending; no train split;
            several data sets without a common column.
    """
    options = {"cache_dir": cache_dir, "token": token, "streaming": streaming}
    if dataset_name is not None and (train_file or validation_file):
        raise ValueError("Give --dataset_name or --train_file/--validation_file, not both.")
    if train_file is None and validation_file is not None:
        raise ValueError("--validation_file needs a --train_file.")
    if train_file is not None:
        files = {"train": train_file, "validation": validation_file}
        raw = load_files({split: file for split, file in files.items() if file is not None}, options)
    else:
        raw = load_named(dataset_name or str(EMBEDDED_CORPUS), dataset_config_name, options)
    if "train" not in raw:
        raise ValueError(f"The data has no train split, only {sorted(raw)}.")
    if "validation" not in raw and "test" in raw:
        raw["validation"] = raw["test"]
    if "validation" not in raw:
        if streaming:
            raw["validation"] = raw["train"].take(STREAMED_VALIDATION_ROWS)
            raw["train"] = raw["train"].skip(STREAMED_VALIDATION_ROWS)
        else:
            parts = raw["train"].train_test_split(test_size=validation_split_percentage / 100, seed=seed)
            raw["train"], raw["validation"] = parts["train"], parts["test"]
    return raw


def load_named(names: str, config: str | None, options: dict) -> DatasetDict | IterableDatasetDict:
    """Data sets by name, as in `load_text`; several are joined, streams by turns, until the last has ended."""
    found = []
    for item in names.split(","):
        name, colon, own_config = item.strip().partition(":")
        try:
            found.append(datasets.load_dataset(name, own_config if colon else config, **options))
        except Exception as error:
            raise ValueError(f"The data set {name!r} cannot be read: {first_line(error)}") from error
    if len(found) == 1:
        return found[0]
    common = set.intersection(*(set(column_names(raw["train"])) for raw in found))
    if not common:
        raise ValueError(f"The data sets {names} have no column in common.")
    joined = type(found[0])()
    for split in set.intersection(*(set(raw) for raw in found)):
        parts = [raw[split].select_columns(sorted(common)) for raw in found]
        if options["streaming"]:
            joined[split] = datasets.interleave_datasets(parts, stopping_strategy="all_exhausted")
        else:
            joined[split] = datasets.concatenate_datasets(parts)
    return joined


def load_files(files: dict[str, str], options: dict) -> DatasetDict | IterableDatasetDict:
    """Local files, all of one format, told from their endings (a compression's ending may follow)."""
    formats = set()
    for file in files.values():
        if not Path(file).is_file():
            raise ValueError(f"The data file {file} does not exist.")
        endings = [suffix.lstrip(".") for suffix in Path(file).suffixes]
        known = [FILE_FORMATS[ending] for ending in endings if ending in FILE_FORMATS]
        if not known:
            raise ValueError(f"The data file {file} has none of the known endings {sorted(FILE_FORMATS)}.")
        formats.add(known[-1])
    if len(formats) > 1:
        raise ValueError(f"Train and validation files must have one format, not {sorted(formats)}.")
    try:
        return datasets.load_dataset(formats.pop(), data_files=files, **options)
    except Exception as error:
        raise ValueError(f"The data file {' or '.join(files.values())} cannot be read: {first_line(error)}") from error


def column_names(dataset) -> list[str]:
    """Columns of a data set; those of its first row where a stream does not know them."""
    return dataset.column_names or list(next(iter(dataset)))


def text_column(dataset, name: str | None = None) -> str:
    """The column that holds text: `name`, else "text", else the first one; ValueError when `name` is not there."""
    columns = column_names(dataset)
    if name is not None and name not in columns:
        raise ValueError(f"There is no column {name!r}; the columns are {columns}.")
    return name or ("text" if "text" in columns else columns[0])


def iterate_texts(dataset, column: str, limit: int | None = None) -> Iterator[str]:
    """The texts of at most `limit` rows."""
    for number, row in enumerate(dataset):
        if limit is not None and number >= limit:
            return
        yield row[column] or ""


def special_ends(tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(full) - len(bare) + 1) if full[i : i + len(bare)] == bare)
    return full[:start], full[start + len(bare) :]


class PieceMaker:
    """
    Cuts text into pieces of tokens; used with `Dataset.map(batched=True)`.

    The rows of a batch are joined (with the separator token between) and cut every `max_length` tokens, so that
    nothing is lost and nothing padded; a share `short_piece_probability` of the pieces is shorter, down to 4 tokens,
    so that the model knows texts of every length (as in BERT's pretraining). With `line_by_line` rows are not
    joined.

    Args:
        tokenizer: a fast tokenizer.
        max_length: longest piece with its special tokens.
        short_piece_probability: see above.
        line_by_line: see above.
        seed: of the lengths.
    """

    def __init__(self, tokenizer, max_length: int, short_piece_probability: float, line_by_line: bool, seed: int):
        self.tokenizer, self.line_by_line, self.seed = tokenizer, line_by_line, seed
        self.before, self.after = special_ends(tokenizer)
        self.length = max_length - len(self.before) - len(self.after)
        if self.length < 4:
            raise ValueError(f"max_seq_length {max_length} leaves no room for text beside the special tokens.")
        self.short_piece_probability = short_piece_probability

    def __call__(self, texts: list[str], indices: list[int]) -> dict[str, list[list[int]]]:
        rows = self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        draw = random.Random(self.seed * 1_000_003 + indices[0])
        if not self.line_by_line:
            separator = [] if self.tokenizer.sep_token_id is None else [self.tokenizer.sep_token_id]
            rows = [[token for row in rows if row for token in [*row, *separator]]]
        pieces = []
        for row in rows:
            start = 0
            while start < len(row):
                short = draw.random() < self.short_piece_probability
                length = draw.randint(4, self.length) if short else self.length
                pieces.append([*self.before, *row[start : start + length], *self.after])
                start += length
        return {"input_ids": pieces}


class PairMaker:
    """
    Tokens of texts and of those that mean the same; used with `Dataset.map(batched=True)`.

    Args:
        tokenizer: a fast tokenizer.
        max_length: longest text with its special tokens; longer ones are cut, and `cut_tokens` tells by how much.
    """

    def __init__(self, tokenizer, max_length: int):
        self.tokenizer, self.max_length = tokenizer, max_length
        before, after = special_ends(tokenizer)
        self.before, self.after = before, after

    def __call__(self, texts: list[str], others: list[str]) -> dict[str, list]:
        columns = {"input_ids": [], "pair_input_ids": [], "cut_tokens": []}
        for pair in zip(texts, others, strict=True):
            rows = self.tokenizer(list(pair), add_special_tokens=False, return_attention_mask=False, verbose=False)
            room = self.max_length - len(self.before) - len(self.after)
            ids = [[*self.before, *row[:room], *self.after] for row in rows["input_ids"]]
            columns["input_ids"].append(ids[0])
            columns["pair_input_ids"].append(ids[1])
            columns["cut_tokens"].append(sum(max(0, len(row) - room) for row in rows["input_ids"]))
        return columns


def make_pairs(dataset, column: str, other: str, maker: PairMaker, num_proc: int | None = None):
    """Apply a [`PairMaker`]; the result has the columns `input_ids`, `pair_input_ids` and `cut_tokens`."""
    columns = column_names(dataset)
    if other not in columns:
        raise ValueError(f"There is no column {other!r}; the columns are {columns}.")
    options = {} if not isinstance(dataset, Dataset) else {"num_proc": num_proc, "desc": "Tokenizing pairs of texts"}
    return dataset.map(maker, input_columns=[column, other], batched=True, remove_columns=columns, **options)


def make_pieces(dataset, column: str, maker: PieceMaker, num_proc: int | None = None):
    """Apply a [`PieceMaker`] to a data set or a stream; the result has the column `input_ids`."""
    options = {} if not isinstance(dataset, Dataset) else {"num_proc": num_proc, "desc": "Cutting text into pieces"}
    columns = column_names(dataset)
    return dataset.map(
        maker, with_indices=True, input_columns=[column], batched=True, remove_columns=columns, **options
    )


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).strip().split("\n")[0] or type(error).__name__
