# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Options of the text that a pretraining run is trained and evaluated on."""

from dataclasses import dataclass

from transformers.hf_argparser import HfArg

from ..utils.distributed import process_index
from ..utils.limits import check_at_least
from .pieces import RARE_TEXT_SHARE, SHORT_PIECE_PROBABILITY, PieceMaker, make_pieces
from .texts import FILE_FORMATS, as_texts, column_names, load_text, text_column


SHUFFLE_BUFFER = 10_000  # pieces of a stream that are shuffled together


@dataclass
class DataTrainingArguments:
    """The text, and how it is cut."""

    dataset_name: str | None = HfArg(default=None, help="Hub id or local folder; the embedded corpus by default.")
    dataset_config_name: str | None = HfArg(default=None, help="Configuration of the data set.")
    dataset_revision: str | None = HfArg(
        default=None, help="Branch, tag or commit of the data set at the Hub: refs/convert/parquet."
    )
    train_file: str | None = HfArg(
        default=None, help=f"Training text, ending in {', '.join(FILE_FORMATS)} (and .gz, if packed)."
    )
    validation_file: str | None = HfArg(
        default=None, help="Validation text; by default 5 percent of train, at most 10,000 rows."
    )
    text_column: str | None = HfArg(
        default=None, help="Column of text; 'text', or the only column of texts, by default."
    )
    streaming: bool = HfArg(default=False, help="Stream the data; needs --max_steps.")
    max_seq_length: int | None = HfArg(
        default=None, help="Longest piece of text in tokens; the checkpoint's limit, or 64, by default."
    )
    rare_text_share: float = HfArg(
        default=RARE_TEXT_SHARE,
        help="Share of training pieces made of what is rare in running text: characters of many scripts, long "
        "numbers, code, one word many times.",
    )
    line_by_line: bool = HfArg(default=False, help="Keep the rows of the data apart.")
    max_train_samples: int | None = HfArg(default=None, help="Most training pieces.")
    max_eval_samples: int | None = HfArg(default=None, help="Most validation pieces.")

    def __post_init__(self):
        check_at_least(self, max_train_samples=1, max_eval_samples=1)

    def read_texts(self, seed: int) -> tuple[dict, str]:
        """Texts of the splits `train` and `validation`, whose rows are drawn with `seed` where the data has none, and
        the column that holds them; ValueError for data that cannot be read, or whose texts cannot be found."""
        raw = load_text(
            self.dataset_name, self.dataset_config_name, self.train_file, self.validation_file, self.streaming,
            seed=seed, revision=self.dataset_revision,
        )  # fmt: skip
        column = text_column(raw["train"], self.text_column)
        if process_index() == 0:
            print(f"Text: column {column!r} of {', '.join(column_names(raw['train']))}.")
        splits = ("train", "validation")
        return {split: as_texts(raw[split], [column], name=f"{split} text") for split in splits}, column

    def cut_texts(self, texts: dict, column: str, tokenizer, seed: int) -> dict:
        """Pieces of the texts of `read_texts` in tokens; of validation without random lengths and rare text.
        ValueError for a split without a token."""
        pieces = {}
        for split, short, rare, limit in (
            ("train", SHORT_PIECE_PROBABILITY, self.rare_text_share, self.max_train_samples),
            ("validation", 0.0, 0.0, self.max_eval_samples),
        ):
            maker = PieceMaker(tokenizer, self.max_seq_length, short, self.line_by_line, seed, rare)
            pieces[split] = make_pieces(texts[split], column, maker)
            if limit is not None:
                pieces[split] = pieces[split].take(limit)
            if next(iter(pieces[split]), None) is None:
                raise ValueError(f"The {split} text has no token.")
        if self.streaming:
            pieces["train"] = pieces["train"].shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER)
        return pieces
