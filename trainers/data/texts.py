# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Load texts from the Hub, from files or from the embedded corpus, and choose the columns that hold them."""

import csv
import glob
import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict, Features, IterableDatasetDict, Value
from transformers.utils import logging

from ..utils.errors import first_line


logger = logging.get_logger(__name__)

EMBEDDED_CORPUS = Path(__file__).parent / "embedded_corpus"

# The part of a train split that is held out where there is no validation split; of a stream, its first rows.
VALIDATION_SHARE, MOST_VALIDATION_ROWS, STREAMED_VALIDATION_ROWS = 0.05, 10_000, 1000

# The number of rows of a stream from which the types of its columns are inferred.
TYPED_ROWS = 100

# The loader of `datasets` and its options by the ending of a file. Quotes have no meaning in tsv files, as in GLUE's.
FILE_FORMATS = {
    "txt": ("text", {"encoding": "utf-8-sig"}),
    "json": ("json", {}),
    "jsonl": ("json", {}),
    "csv": ("csv", {}),
    "tsv": ("csv", {"sep": "\t", "quoting": csv.QUOTE_NONE}),
    "parquet": ("parquet", {}),
}


# -- loading


def load_text(
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    train_file: str | None = None,
    validation_file: str | None = None,
    streaming: bool = False,
    seed: int = 0,
    revision: str | None = None,
) -> DatasetDict | IterableDatasetDict:
    """
    Raw text with splits `train` and `validation`. Where the data have no validation split, the test split or a part of
    the train split becomes it.

    Args:
        dataset_name: Hub id or local folder in Hub layout; several are separated by commas, each with its
            configuration after a colon: `Skylion007/openwebtext,wikimedia/wikipedia:20231101.en`. Without it and
            without files: the embedded corpus.
        dataset_config_name: configuration of a single data set.
        train_file, validation_file: files with an ending of `FILE_FORMATS`.
        streaming: read without downloading or converting first.
        seed: of the division into train and validation.
        revision: branch, tag or commit of data sets on the Hub.

    Raises:
        ValueError: a data set or file cannot be read; there is no train split, or one that cannot be divided.
    """
    without_owner = ((dataset_config_name or revision) and not dataset_name) or (validation_file and not train_file)
    if without_owner or (dataset_name and train_file):
        raise ValueError(
            "Give --dataset_name, with its configuration and revision, or --train_file, with or without "
            "--validation_file, not both."
        )
    options = {"streaming": streaming}
    if train_file is not None:
        files = {"train": train_file, "validation": validation_file}
        raw = load_files({split: file for split, file in files.items() if file is not None}, options)
        if validation_file is not None and Path(train_file).samefile(validation_file):
            logger.warning("The validation text is the training text (%s): its results are not held out.", train_file)
    else:
        raw = load_named(dataset_name or str(EMBEDDED_CORPUS), dataset_config_name, options, revision)
    if "train" not in raw:
        raise ValueError(f"The data has no train split, only {sorted(raw)}.")
    if "validation" not in raw and "test" in raw:
        raw["validation"] = raw["test"]
    if "validation" not in raw and streaming:
        raw["validation"] = raw["train"].take(STREAMED_VALIDATION_ROWS)
        raw["train"] = raw["train"].skip(STREAMED_VALIDATION_ROWS)
    elif "validation" not in raw:
        count = min(math.ceil(VALIDATION_SHARE * len(raw["train"])), MOST_VALIDATION_ROWS)
        parts = raw["train"].train_test_split(count, seed=seed)
        raw["train"], raw["validation"] = parts["train"], parts["test"]
    return raw


def load_dataset(name: str, config: str | None = None, **options) -> DatasetDict | IterableDatasetDict:
    """
    As `datasets.load_dataset`, with a cache of its own for each state of a local folder: a folder whose README
    describes configurations would be recognised by its name and README alone, and one that was edited, or another one
    of the same name, would silently give the old rows.
    """
    folder = Path(name)
    if folder.is_dir():
        files = sorted(path for path in folder.resolve().rglob("*") if path.is_file())
        state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
        options["cache_dir"] = str(Path(datasets.config.HF_DATASETS_CACHE, "folders", digest))
    return datasets.load_dataset(name, config, **options)


def load_named(
    names: str, config: str | None, options: dict, revision: str | None = None
) -> DatasetDict | IterableDatasetDict:
    """Data sets by name, as in `load_text`. Several are concatenated; streams are interleaved until the last ends.
    `options` are of `datasets.load_dataset`."""
    found = []
    for item in names.split(","):
        name, colon, own_config = item.strip().partition(":")
        try:
            raw = load_dataset(name, own_config if colon else config, revision=revision, **options)
        except Exception as error:
            raise ValueError(f"The data set {name!r} cannot be read: {first_line(error)}") from error
        for rows in raw.values():
            check_fields(rows, name)
        found.append(raw)
    if len(found) == 1:
        return found[0]
    common = set.intersection(*(set(column_names(raw["train"])) for raw in found))
    if not common:
        raise ValueError(f"The data sets {names} have no column in common.")
    joined = type(found[0])()
    for split in set.intersection(*(set(raw) for raw in found)):
        parts = [raw[split].select_columns(sorted(common)) for raw in found]
        if options.get("streaming"):
            joined[split] = datasets.interleave_datasets(parts, stopping_strategy="all_exhausted")
        else:
            joined[split] = datasets.concatenate_datasets(parts)
    return joined


def load_files(files: dict[str, str], options: dict, written: bool = False) -> DatasetDict | IterableDatasetDict:
    """
    Local files, one for each split, in the formats of their endings; the ending of a compression may follow. Each
    split is loaded separately, so that formats and columns may differ.

    Args:
        options: of `datasets.load_dataset`.
        written: whether each cell of csv files is a text, as in [`text_cells`].

    Raises:
        ValueError: a file that does not exist, has an unknown ending or cannot be read.
    """
    raw = IterableDatasetDict() if options.get("streaming") else DatasetDict()
    for split, file in files.items():
        endings = [suffix.lstrip(".").lower() for suffix in Path(file).suffixes]
        known = [FILE_FORMATS[ending] for ending in endings if ending in FILE_FORMATS]
        if not known:
            raise ValueError(f"The data file {file} has none of the known endings {sorted(FILE_FORMATS)}.")
        kind, own_options = known[-1]
        load = partial(
            datasets.load_dataset, kind, data_files={split: glob.escape(str(file))}, split=split, **own_options,
            **options,
        )  # fmt: skip
        try:
            raw[split] = load(**text_cells(load(streaming=True)) if written and kind == "csv" else {})
            check_fields(raw[split], file)
        except Exception as error:
            raise ValueError(f"The data file {file} cannot be read: {first_line(error)}") from error
    return raw


def load_split(source: str, config: str | None, splits: tuple[str, ...]) -> tuple[Dataset, str]:
    """
    The rows of one split of a data set or file, and the name of the split.

    Args:
        source, config: Hub id, local folder, or file of a format that [`load_files`] reads; configuration.
        splits: in order of preference; a file is the first of them.

    Raises:
        ValueError: no such data or configuration, or none of the splits.
    """
    if Path(source).is_file():
        data = load_files({splits[0]: source}, {}, written=True)
    else:
        data = load_named(source, config, {"streaming": False})
    found = next((name for name in splits if name in data), None)
    if found is None:
        raise ValueError(f"{source} has no split {' or '.join(splits)}, only {list(data)}; choose one by --split.")
    return data[found], found


def text_cells(rows) -> dict:
    """
    Options of `datasets.load_dataset` with which each cell of csv files, given as `rows` loaded without these options,
    stays the text in the file. By default the reader turns `007` into 7, `1.10` into 1.1, and `NA` and `null` into
    missing values. An empty cell is missing.
    """
    features = features_of(rows)
    if not features or "__index_level_0__" in features:  # refused by `check_fields`
        return {}
    types = {name: Value("string") if isinstance(kind, Value) else kind for name, kind in features.items()}
    return {"features": Features(types), "keep_default_na": False, "na_values": [""]}


def check_fields(dataset, source: str) -> None:
    """ValueError for csv text whose cells do not stand below their names: its rows have more fields than the header,
    and pandas takes the first ones as an index; or its separator is not that of the ending."""
    if getattr(dataset.info, "builder_name", None) != "csv":
        return
    columns = column_names(dataset)
    if "__index_level_0__" in columns:
        raise ValueError(f"Rows of {source} have more fields than its header.")
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise ValueError(f"{source} has the single column {columns[0]!r}: its separator is not that of its ending.")


# -- columns of text


def features_of(dataset) -> Features:
    """Types of the columns; inferred from the first `TYPED_ROWS` rows for a stream that does not know them."""
    return dataset.features or Dataset.from_list(list(dataset.take(TYPED_ROWS))).features


def column_names(dataset) -> list[str]:
    """Columns of a data set or stream."""
    return list(features_of(dataset))


def text_columns(features: Features) -> list[str]:
    """The columns that hold texts."""
    types = {name: getattr(feature, "dtype", None) for name, feature in features.items()}
    return [name for name, dtype in types.items() if dtype in ("string", "large_string")]


def check_text_column(dataset, name: str, data: str = "data") -> None:
    """ValueError unless a data set, called `data` in messages, has a column `name` of texts."""
    features = features_of(dataset)
    found = text_columns(features)
    if name not in features:
        raise ValueError(f"There is no column {name!r} in the {data}; the columns are {list(features)}.")
    if name not in found:
        others = f"the columns of text are {found}" if found else "no column holds texts"
        raise ValueError(f"In the {data} the column {name!r} holds {features[name]}, not texts; {others}.")


def text_column(dataset, name: str | None = None) -> str:
    """
    The column that holds the text: `name`, else "text", else the only column of texts.

    Raises:
        ValueError: `name` does not exist or holds no texts; without it, none or several columns hold texts.
    """
    features = features_of(dataset)
    if name is not None or "text" in features:
        check_text_column(dataset, name or "text")
        return name or "text"
    found = text_columns(features)
    if not found:
        raise ValueError(f"No column holds texts: {features}.")
    if len(found) > 1:
        raise ValueError(f"Which column holds the text? --text_column {' | '.join(found)}.")
    return found[0]


def as_texts(dataset, columns: Iterable[str], keep: Iterable[str] = (), name: str = "data"):
    """
    A data set or stream, called `name` in messages, with the columns `columns` of texts, and the unchanged columns
    `keep`. A missing text becomes the empty one; those of a data set are counted in a warning.

    Raises:
        ValueError: as `check_text_column`, or all texts of a column are missing.
    """
    columns = list(columns)
    for column in columns:
        check_text_column(dataset, column, name)
    dataset = dataset.select_columns([*columns, *keep])
    if isinstance(dataset, Dataset):
        # Of the whole table, also where the data set is a selection of its rows.
        missing = [dataset.data.column(column).null_count for column in columns]
        if not any(missing):
            return dataset
        if max(missing) == len(dataset.data):
            raise ValueError(f"All texts of a column of the {name} are missing; its columns are {columns}.")
        logger.warning("%s texts of the %s are missing and count as empty.", f"{sum(missing):,}", name)
    return dataset.map(partial(fill_missing, columns=columns), batched=True, features=dataset.features)


def fill_missing(rows: dict[str, list], columns: list[str]) -> dict[str, list]:
    return rows | {column: [cell or "" for cell in rows[column]] for column in columns}


def iterate_texts(dataset, column: str, limit: int | None = None) -> Iterator[str]:
    """The texts of at most `limit` rows."""
    rows = as_texts(dataset, [column])
    for row in rows if limit is None else rows.take(limit):
        yield row[column]
