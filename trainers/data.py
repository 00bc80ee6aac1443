# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Text from the Hub, from files or from the embedded corpus: where it is, and which columns of it are texts."""

import codecs
import csv
import glob
import logging
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict, Features, IterableDatasetDict, Value
from datasets.arrow_writer import SchemaInferenceError
from datasets.exceptions import DatasetGenerationCastError, DatasetGenerationError
from huggingface_hub.errors import StrictDataclassError
from pyarrow import ArrowInvalid, types
from safetensors import SafetensorError

from .distributed import process_index
from .runs import make_folder


logger = logging.getLogger(__name__)

EMBEDDED_CORPUS = Path(__file__).parent / "embedded_corpus"

STREAMED_VALIDATION_ROWS = 1000

# So many rows of a stream tell the types of its columns where it does not know them.
TYPED_ROWS = 100

# By a file's ending: the loader of `datasets` and its options. Quotes mean nothing in tsv files, as in those of GLUE.
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
    validation_split_percentage: float = 5,
    seed: int = 0,
    cache_dir: str | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> DatasetDict | IterableDatasetDict:
    """
    Raw text with splits `train` and `validation`.

    Args:
        dataset_name: Hub id or local folder in Hub layout; several with commas between, each with its configuration
            after a colon: `Skylion007/openwebtext,wikimedia/wikipedia:20231101.en`. Without it and without files: the
            embedded corpus.
        dataset_config_name: configuration of a single data set.
        train_file, validation_file: files with an ending of `FILE_FORMATS`.
        streaming: read without downloading or converting first.
        validation_split_percentage: part of train that becomes `validation` where there is none; of a stream, the
            first `STREAMED_VALIDATION_ROWS` rows.
        seed: of that split.
        cache_dir, token: as in `datasets`.
        revision: branch, tag or commit of the data sets, which are at the Hub.

    Raises:
        ValueError: a data set or file that does not exist, cannot be read or has an unknown ending; no train split,
            or one that cannot be divided; a stream without rows; several data sets without a common column.
    """
    if cache_dir is not None:
        make_folder(cache_dir, "cache")
    options = {"cache_dir": cache_dir, "token": token, "streaming": streaming}
    if dataset_name is not None and (train_file or validation_file):
        raise ValueError("Give --dataset_name or --train_file/--validation_file, not both.")
    for option, value in (("dataset_revision", revision), ("dataset_config_name", dataset_config_name)):
        if value is not None and dataset_name is None:
            raise ValueError(f"--{option} needs a --dataset_name.")
    if train_file is None and validation_file is not None:
        raise ValueError("--validation_file needs a --train_file.")
    if train_file is not None:
        files = {"train": train_file, "validation": validation_file}
        raw = load_files({split: file for split, file in files.items() if file is not None}, options)
        if validation_file is not None and Path(train_file).samefile(validation_file) and process_index() == 0:
            logger.warning("The validation text is the training text (%s): its results are not held out.", train_file)
    else:
        raw = load_named(dataset_name or str(EMBEDDED_CORPUS), dataset_config_name, options, revision)
    source = train_file or dataset_name or "the embedded corpus"
    if "train" not in raw:
        raise ValueError(f"The data has no train split, only {sorted(raw)}.")
    if "validation" not in raw and "test" in raw:
        raw["validation"] = raw["test"]
    if "validation" not in raw:
        divide = divide_stream if streaming else divide_rows
        raw["train"], raw["validation"] = divide(raw["train"], source, validation_split_percentage, seed)
    return raw


def divide_rows(rows: Dataset, source: str, percentage: float, seed: int) -> tuple[Dataset, Dataset]:
    """Training and validation rows of one split; ValueError if one of them would be empty."""
    if not 0 < percentage < 100:
        raise ValueError(
            f"validation_split_percentage must lie between 0 and 100, not {percentage}: {source} has no validation "
            "split, which is therefore taken from its train split. Or give --validation_file."
        )
    if len(rows) < 2:
        if not text_columns(rows):
            text_column(rows)  # says what the row holds
        raise ValueError(
            f"{source} has {len(rows)} row{'s' * (len(rows) != 1)}, which cannot be divided: give --validation_file, "
            "or one text a line."
        )
    held_out = min(math.ceil(len(rows) * percentage / 100), len(rows) - 1)
    parts = rows.train_test_split(test_size=held_out, seed=seed)
    return parts["train"], parts["test"]


def divide_stream(rows, source: str, percentage: float, seed: int) -> tuple:
    """The first `STREAMED_VALIDATION_ROWS` rows of a stream are its validation rows; ValueError if that is all, or if
    they cannot be read."""
    train = rows.skip(STREAMED_VALIDATION_ROWS)
    try:
        first = next(iter(train), None)
    except Exception as error:
        raise ValueError(f"The stream of {source} cannot be read: {first_line(error)}") from error
    if first is None:
        raise ValueError(
            f"The stream of {source} has no row beyond the first {STREAMED_VALIDATION_ROWS:,}, which are the "
            "validation text: give --validation_file, or leave --streaming out."
        )
    return train, rows.take(STREAMED_VALIDATION_ROWS)


def load_named(
    names: str, config: str | None, options: dict, revision: str | None = None
) -> DatasetDict | IterableDatasetDict:
    """Data sets by name, as in `load_text`; several are joined, streams by turns, until the last has ended."""
    found = []
    for item in names.split(","):
        name, colon, own_config = item.strip().partition(":")
        if revision is not None and Path(name).exists():
            raise ValueError(f"{name} is a local folder; --dataset_revision is for data sets at the Hub.")
        if Path(name).is_file():
            raise ValueError(f"{name} is a file, not a data set; give it by --train_file.")
        try:
            raw = datasets.load_dataset(name, own_config if colon else config, revision=revision, **options)
        except Exception as error:
            hint = ""
            if "scripts are no longer supported" in str(error):
                hint = " (the Hub has most such data sets as parquet files: --dataset_revision refs/convert/parquet)"
            raise ValueError(f"The data set {name!r} cannot be read: {first_line(error)}{hint}") from error
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
        if options["streaming"]:
            joined[split] = datasets.interleave_datasets(parts, stopping_strategy="all_exhausted")
        else:
            joined[split] = datasets.concatenate_datasets(parts)
    return joined


def load_files(files: dict[str, str], options: dict, written: bool = False) -> DatasetDict | IterableDatasetDict:
    """
    Local files, one for each split, whose formats are told from their endings (a compression's ending may follow).

    The splits are loaded on their own, so that their formats and columns may differ.

    Args:
        options: of `datasets.load_dataset`.
        written: whether each cell of csv files is a text, as in [`text_cells`].

    Raises:
        ValueError: a file that does not exist, is empty, has an unknown ending or cannot be read; the message names
            it and says why.
    """
    raw = IterableDatasetDict() if options.get("streaming") else DatasetDict()
    for split, file in files.items():
        if not Path(file).is_file():
            folder = "is a folder, not a file; give it by --dataset_name" if Path(file).is_dir() else "does not exist"
            raise ValueError(f"The data file {file} {folder}.")
        endings = [suffix.lstrip(".").lower() for suffix in Path(file).suffixes]
        known = [FILE_FORMATS[ending] for ending in endings if ending in FILE_FORMATS]
        if not known:
            raise ValueError(f"The data file {file} has none of the known endings {sorted(FILE_FORMATS)}.")
        with open(file, "rb") as stream:
            start = stream.read(1000)
        if not start:
            raise ValueError(f"The data file {file} is empty.")
        kind, own_options = known[-1]
        if (encoding := foreign_encoding(start)) and endings[-1] in FILE_FORMATS and kind != "parquet":
            raise ValueError(f"The data file {file} cannot be read: its encoding is {encoding}; save it as UTF-8.")
        try:
            load = partial(
                datasets.load_dataset, kind, data_files={split: glob.escape(str(file))}, split=split, **own_options,
                **options,
            )  # fmt: skip
            raw[split] = load(**text_cells(load(streaming=True)) if written and kind == "csv" else {})
            found = has_rows(raw[split], kind)
        except Exception as error:
            empty = isinstance(cause_of(error), StopIteration | SchemaInferenceError)
            if not empty and "corresponds to no data" not in str(error):
                raise ValueError(f"The data file {file} cannot be read: {first_line(error)}") from error
            found = False
        if not found:
            raise ValueError(f"The data file {file} has no row.")
        check_fields(raw[split], file)
    return raw


def text_cells(rows) -> dict:
    """
    Options of `datasets.load_dataset` by which each cell of csv files is the text that stands there: a reader would
    make 7 of `007`, 1.1 of `1.10`, and nothing of `NA` or `null`. An empty cell is missing.

    Args:
        rows: of these files, read without them; a stream will do.
    """
    features = rows.features or Dataset.from_list(list(rows.take(TYPED_ROWS))).features
    if not features or "__index_level_0__" in features:  # what is wrong with them is told elsewhere
        return {}
    types = {name: Value("string") if isinstance(kind, Value) else kind for name, kind in features.items()}
    return {"features": Features(types), "keep_default_na": False, "na_values": [""]}


def foreign_encoding(start: bytes) -> str | None:
    """The encoding of a text, if its first bytes are not UTF-8 but tell another one: by a mark, or by zero bytes, of
    which UTF-32 has three for most characters, and UTF-16 one for each Latin letter, always on the same side."""
    marks = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
             codecs.BOM_UTF16_BE: "UTF-16"}  # fmt: skip
    found = next((name for mark, name in marks.items() if start.startswith(mark)), None)
    zeros = [start[side::2].count(0) / max(len(start) // 2, 1) for side in (0, 1)]
    if found is None and max(zeros) > 0.3:
        found = "UTF-32" if min(zeros) > 0.3 else "UTF-16"
    return found


def has_rows(dataset, kind: str) -> bool:
    """Whether there are rows; raises what reading them would raise: of a stream the first ones, of json, whose bytes
    nobody has decoded yet, all."""
    if not isinstance(dataset, Dataset):
        return bool(list(dataset.take(TYPED_ROWS)))
    if kind == "json":
        for number, rows in enumerate(dataset.with_format("arrow").iter(TYPED_ROWS)):
            try:
                rows.validate(full=True)
            except ArrowInvalid:
                dataset[number * TYPED_ROWS : (number + 1) * TYPED_ROWS]  # decodes, and says what is wrong
                raise
    return len(dataset) > 0


def check_fields(dataset, source: str) -> None:
    """
    Refuse csv text in which names and cells do not stand one below the other.

    Raises:
        ValueError: rows with more fields than the header (pandas takes their first fields for an index, so that the
            cells lie below the wrong names), or a separator other than the one that was expected.
    """
    if getattr(dataset.info, "builder_name", None) != "csv":
        return
    columns = column_names(dataset)
    if "__index_level_0__" in columns:
        raise ValueError(
            f"Rows of {source} have more fields than its header; remove the separator at their end, put quotes around "
            "fields that hold one, or name the column."
        )
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise ValueError(
            f"{source} has one column, {columns[0]!r}: its separator is not that of its ending, a comma in .csv and "
            "a tab in .tsv."
        )


# -- columns of text


def features_of(dataset) -> Features:
    """Types of the columns; those of its first `TYPED_ROWS` rows where a stream does not know them."""
    if dataset.features is not None:
        return dataset.features
    try:
        return Dataset.from_list(list(dataset.take(TYPED_ROWS))).features
    except Exception as error:
        raise ValueError(f"The stream cannot be read: {first_line(error)}") from error


def column_names(dataset) -> list[str]:
    """Columns of a data set or stream."""
    return list(features_of(dataset))


def type_name(feature) -> str:
    """What a column holds: "texts", "numbers", "lists", "dictionaries", "nothing", "mixed values", "images", …"""
    kind = type(feature).__name__
    if kind == "Json":
        return "mixed values"
    if kind in ("Image", "Audio", "Video", "Pdf", "Nifti"):
        return f"{kind.lower()}s"
    arrow = Features(column=feature).arrow_schema.field("column").type
    checks = {
        "texts": (types.is_string, types.is_large_string),
        "numbers": (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal),
        "lists": (types.is_list, types.is_large_list, types.is_fixed_size_list),
        "dictionaries": (types.is_struct,),
        "nothing": (types.is_null,),
    }
    return next((name for name, tests in checks.items() if any(test(arrow) for test in tests)), f"{arrow} values")


def text_columns(dataset) -> list[str]:
    """The columns that hold texts."""
    return [name for name, feature in features_of(dataset).items() if type_name(feature) == "texts"]


def check_text_column(dataset, name: str, data: str = "data") -> None:
    """
    Refuse a column that cannot be read as texts; numbers can.

    Args:
        data: what the data set is, in messages.

    Raises:
        ValueError: there is no column `name`, or it holds something else.
    """
    features = features_of(dataset)
    if name not in features:
        raise ValueError(f"There is no column {name!r} in the {data}; the columns are {list(features)}.")
    held = type_name(features[name])
    if held not in ("texts", "numbers", "mixed values"):
        found = text_columns(dataset)
        others = f"the columns of text are {found}" if found else "no column holds texts"
        raise ValueError(f"In the {data} the column {name!r} holds {held}, not texts; {others}.")


def text_column(dataset, name: str | None = None) -> str:
    """
    The column that holds the text: `name`, else "text", else the only column of texts.

    Raises:
        ValueError: `name` is not there or cannot be read as texts; without it, none or several columns hold texts.
    """
    features = features_of(dataset)
    if name is None and "text" in features:
        name = "text"
    if name is not None:
        check_text_column(dataset, name)
        return name
    found = text_columns(dataset)
    if not found:
        held = ", ".join(f"{column!r} holds {type_name(feature)}" for column, feature in features.items())
        raise ValueError(f"No column holds texts: {held}.")
    if len(found) > 1:
        raise ValueError(f"Which column holds the text? --text_column {' | '.join(found)}.")
    return found[0]


def as_texts(dataset, columns: Iterable[str], keep: Iterable[str] = (), name: str = "data"):
    """
    A data set or stream of the columns `columns`, in which each cell is a string, and `keep`, as they are.

    A missing text is the empty one, and a warning tells how many there are; a number is its digits.

    Args:
        columns: that hold texts.
        keep: further columns.
        name: of the data, in messages.

    Raises:
        ValueError: as `check_text_column`, or all texts of a column are missing. In a stream, and in columns of mixed
            values, cells are checked when they are read.
    """
    columns = list(columns)
    for column in columns:
        check_text_column(dataset, column, name)
    features = features_of(dataset)
    dataset = dataset.select_columns([*columns, *keep])
    odd = [column for column in columns if type_name(features[column]) != "texts"]
    if isinstance(dataset, Dataset):
        for column in columns:
            parts = dataset.select_columns(column).with_format("arrow").iter(10_000)
            missing = sum(part[column].null_count for part in parts)
            if missing and missing == len(dataset):
                raise ValueError(f"All texts of the {name} are missing: its column {column!r} is empty.")
            if missing:
                odd.append(column)
                if process_index() == 0:
                    logger.warning(
                        "Column %r of the %s: %s of %s texts are missing and count as empty.", column, name,
                        f"{missing:,}", f"{len(dataset):,}",
                    )  # fmt: skip
        if not odd:
            return dataset
    types = {column: Value("large_string") if column in columns else features[column] for column in [*columns, *keep]}
    counted = isinstance(dataset, Dataset)
    options = {"desc": "Reading texts"} if counted else {}
    return dataset.map(TextCells(columns, name, told=counted), batched=True, features=Features(types), **options)


@dataclass
class TextCells:
    """
    Makes strings of cells; used with `Dataset.map(batched=True)`.

    Args:
        columns: that hold texts.
        name: of the data.
        told: whether it is known that texts are missing; otherwise the first one is told.
    """

    columns: list[str]
    name: str
    told: bool

    def __call__(self, rows: dict[str, list]) -> dict[str, list]:
        if not self.told and any(cell is None for column in self.columns for cell in rows[column]):
            logger.warning("Texts of the %s are missing and count as empty.", self.name)
            self.told = True
        return rows | {column: [self.read(cell, column) for cell in rows[column]] for column in self.columns}

    @staticmethod
    def read(cell, column: str) -> str:
        if cell is None:
            return ""
        if isinstance(cell, float) and cell.is_integer():  # whole numbers beside missing ones
            return str(int(cell))
        if isinstance(cell, str | int | float | Decimal):
            return str(cell)
        kinds = {list: "a list", dict: "a dictionary"}
        raise ValueError(f"The column {column!r} holds {kinds.get(type(cell), type(cell).__name__)}, not a text.")


def iterate_texts(dataset, column: str, limit: int | None = None) -> Iterator[str]:
    """The texts of at most `limit` rows."""
    rows = as_texts(dataset, [column])
    for row in rows if limit is None else rows.take(limit):
        yield row[column]


def cause_of(error: BaseException) -> BaseException:
    """The error itself, or the one below errors that only say that something failed."""
    while error.__cause__ is not None:
        vague = isinstance(error, DatasetGenerationError | StrictDataclassError)
        if str(error).strip() and (not vague or isinstance(error, DatasetGenerationCastError)):
            break
        error = error.__cause__
    return error


# What reading a checkpoint, a model or a tokenizer raises where its files are not what they should be.
UNREADABLE = (OSError, ValueError, RuntimeError, ImportError, LookupError, SafetensorError)


def first_line(error: BaseException) -> str:
    """The cause of an error in one line; a line that does not end a sentence, or is very short, is joined to the next
    one."""
    cause = cause_of(error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(cause, DatasetGenerationCastError):
        lines = lines[1:]
    last = next((number for number, line in enumerate(lines) if not re.search(r"([:,]| or)$", line)), 0)
    line = " ".join(lines[: max(last, len(lines[0]) < 40) + 1]) if lines else ""
    if line and isinstance(cause, KeyError):
        line = f"the entry {line} is missing"
    if isinstance(cause, UnicodeDecodeError):
        line += " (save it as UTF-8)"
    return line or type(cause).__name__
