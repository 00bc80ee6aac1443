# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
An index of documents as C vectors each, searched by late interaction (MaxSim) in LanceDB.

D documents, Q queries, N tokens of a query, C vectors of a document, E width of vectors.
"""

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from filelock import FileLock, Timeout
from huggingface_hub import try_to_load_from_cache
from lancedb.index import IvfSq
from tqdm import tqdm
from transformers.utils import logging

from ..utils.errors import UNREADABLE, first_line
from ..utils.runs import file_digest
from .concept_pooling import ConceptPooling
from .documents import Documents
from .retriever import ConceptRetriever, load_retriever


logger = logging.get_logger(__name__)

TABLE, VECTORS, MEAN, ORIGIN = "documents", "vectors", "mean", b"concept_index"

# Numbers as they are stored; binary: the signs, eight in a byte.
BINARY = "binary"
PRECISIONS = {"float16": pa.float16(), "float32": pa.float32(), BINARY: pa.uint8()}

# Files of weights.
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")

# With fewer documents the means of all are compared.
FEWEST_INDEXED = 20_000

# Means of a partition of their index, on average.
PARTITION = 8192

# Vectors of signs that are multiplied at a time.
SIGNS = 4096

# Documents that are removed at a time.
DELETED = 1000

# Documents that are scored at a time by an exact search.
BLOCK = 1000


def revision_of(path: str) -> str:
    """The beginning of the digest of a model's weights in a folder, without those of checkpoints beside it, or of the
    commit of a model of the Hub."""
    if Path(path).is_dir():
        modules = Path(path, "modules.json")
        parts = [part["path"] for part in json.loads(modules.read_text())] if modules.is_file() else []
        folders = {Path(path, part) for part in ("", *parts)}
        weights = {file for folder in folders for ending in WEIGHTS for file in folder.glob(ending)}
        return file_digest(*sorted(weights))[:12]
    found = None if Path(path).is_absolute() else try_to_load_from_cache(path, "config.json")
    return Path(found).parent.name[:12] if isinstance(found, str) else "unknown"


@dataclass(frozen=True)
class Origin:
    """What made an index: model, its revision, vectors of a document, their width and precision, whether they were
    computed in bfloat16, and the source of the documents."""

    model: str
    revision: str
    num_vectors: int
    width: int
    precision: str
    bf16: bool
    source: str

    def check_same(self, other: "Origin", uri: str) -> None:
        """ValueError if an index at `uri` was made by another model, way or source."""
        for name in (field.name for field in fields(self) if field.name != "model"):
            held, given = getattr(self, name), getattr(other, name)
            if held != given:
                raise ValueError(
                    f"The index {uri} was made with {name} {held!r} by {self.model}, not with {given!r}; give the "
                    "same, or another --index_uri."
                )


@dataclass(frozen=True)
class Hit:
    """A document that was found: its rank from 1, MaxSim score, id and text."""

    rank: int
    score: float
    id: str
    text: str


# -- index


def open_table(uri: str):
    """The table of an index; ValueError if there is none."""
    try:
        if "://" not in uri and not Path(uri).is_dir():
            raise ValueError("no such folder")
        table = lancedb.connect(uri).open_table(TABLE)
        if ORIGIN not in (table.schema.metadata or {}):
            raise ValueError("its table was not made by this package")
        return table
    except UNREADABLE as error:
        raise ValueError(
            f"There is no index at {uri} ({first_line(error)}); make one by examples/index_corpus.py build."
        ) from error


@contextmanager
def writing(uri: str, state: PartialState) -> Iterator[None]:
    """The lock of an index in a folder, which the system frees when the first process ends, however it ends;
    ValueError where another build holds it."""
    local = "://" not in uri and state.is_main_process
    if local:
        Path(uri).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(uri) / ".lock", timeout=0) if local else nullcontext():
            yield
    except Timeout as error:
        raise ValueError(f"Another build writes to {uri}; wait for its end, or give another --index_uri.") from error


class ConceptIndex:
    """
    Documents, their vectors and the mean of these in a table of LanceDB. A search finds candidates by the mean of the
    query's vectors, and ranks them by MaxSim.

        index = ConceptIndex.build("index", load_passages(["notes"]), "sentence-transformers/all-MiniLM-L6-v2")
        index.search(["who rowed out alone?"])[0][0].text

    Args:
        table: of LanceDB.
        origin: what made it.
        model: encodes texts.
    """

    def __init__(self, table, origin: Origin, model: ConceptRetriever):
        self.table, self.origin = table, origin
        self.model = model.to(torch.bfloat16) if origin.bf16 else model

    @classmethod
    def open(cls, uri: str, model_name_or_path: str | None = None) -> "ConceptIndex":
        """
        An index that was built.

        Args:
            uri: folder, or URI of an object store or server, as `lancedb.connect` takes it.
            model_name_or_path: encodes queries; by default the model that made the index, which must be unchanged.

        Raises:
            ValueError: there is no index, its model has changed, or the other model's vectors have another width.
        """
        table = open_table(uri)
        if not table.count_rows():
            raise ValueError(f"The index {uri} holds no document; its build was stopped early: repeat it.")
        origin = Origin(**json.loads(table.schema.metadata[ORIGIN]))
        found = revision_of(model_name_or_path or origin.model)
        if model_name_or_path is None and found != origin.revision:
            raise ValueError(
                f"The model {origin.model} is not the one that made the index (revision {origin.revision}, not "
                f"{found}); give the right one by --model_name_or_path."
            )
        if found != origin.revision:
            logger.warning(
                "Queries are encoded by %s, documents were by %s: answers make sense only where both give the same "
                "vectors, as a student and its teacher do.", model_name_or_path, origin.model,
            )  # fmt: skip
        index = cls(table, origin, load_retriever(model_name_or_path or origin.model))
        width = index.encode_queries(["a"])[0].shape[1]
        if width != origin.width:
            raise ValueError(f"The index holds vectors of width {origin.width}, the model gives {width}.")
        return index

    @classmethod
    def build(
        cls, uri: str, documents: Documents, model_name_or_path: str, num_vectors: int = 8, precision: str = "float16",
        bf16: bool = False, batch_size: int = 32, shard_size: int = 1024,
    ) -> "ConceptIndex":  # fmt: skip
        """
        The index of documents. What is in the index already is not encoded again: a build that was killed goes on, and
        documents that are new are added. Documents of the same source whose text has changed are encoded again, and
        those that are gone are removed. Each of several processes, as `torchrun` starts them, encodes a part.

        Args:
            uri: as in [`open`].
            model_name_or_path: as in [`load_retriever`].
            num_vectors: of a document.
            precision: of the stored vectors: `float16`, `float32`, or `binary`, the signs of numbers.
            bf16: compute in bfloat16.
            batch_size: texts encoded at a time.
            shard_size: documents written at a time, each process in one commit.

        Raises:
            ValueError: the index was made by another model, way or source; another build writes to it; vectors of the
                model are not of length 1; no document has a text; a number or precision is out of range.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"The precision {precision!r} is none of {', '.join(PRECISIONS)}.")
        ConceptPooling(num_vectors)  # raises for a wrong number
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=30))
        model = load_retriever(model_name_or_path)
        path = Path(model_name_or_path)
        name = str(path.resolve()) if path.is_dir() else model_name_or_path
        width = model.encode_query(["a"])[0].shape[1]
        if precision == BINARY and width % 8:
            raise ValueError(f"Signs are stored eight in a byte, but the model's vectors have {width} numbers.")
        origin = Origin(name, revision_of(name), num_vectors, width, precision, bf16, documents.source)
        with writing(uri, state):
            if state.is_main_process:
                try:
                    open_table(uri)
                except ValueError:
                    lancedb.connect(uri).create_table(TABLE, schema=schema_of(origin))
            state.wait_for_everyone()
            table = open_table(uri)
            Origin(**json.loads(table.schema.metadata[ORIGIN])).check_same(origin, uri)
            index = cls(table, origin, model.to(state.device))
            if state.is_main_process:
                index.remove_outdated(documents, shard_size)
                held, start = table.count_rows(), time.perf_counter()
            state.wait_for_everyone()
            table.checkout_latest()
            share = -(-len(documents) // state.num_processes)  # no process may be left without a shard
            index.add(documents, batch_size, max(1, min(shard_size, share)), state)
            state.wait_for_everyone()
            if state.is_main_process:
                seconds = time.perf_counter() - start
                table.checkout_latest()
                if added := table.count_rows() - held:
                    print(
                        f"{added:,} documents added in {seconds:,.1f} s, {added / seconds:,.1f} a second, by "
                        f"{state.num_processes} process(es)."
                    )
                index.finish()
            state.wait_for_everyone()
        table.checkout_latest()
        return index

    def remove_outdated(self, documents: Documents, shard_size: int) -> None:
        """Remove documents whose text has changed or that are gone, of those that `documents` cover."""
        held = {}  # hashes, since the texts may be many
        for batch in self.table.search().select(["id", "text"]).to_batches(shard_size):
            held |= {row["id"]: hash(row["text"]) for row in batch.to_pylist()}
        starts = range(0, len(documents), shard_size) if held else ()
        for start in starts:
            for key, text in documents.part(start, start + shard_size).items():
                if held.get(key) == hash(text):
                    del held[key]
        outdated = [key for key in held if documents.covers(key)]
        for start in range(0, len(outdated), DELETED):
            quoted = (key.replace("'", "''") for key in outdated[start : start + DELETED])
            self.table.delete("id IN ('" + "', '".join(quoted) + "')")
        if outdated:
            print(f"{len(outdated):,} documents of the index have changed or are gone, and were removed from it.")

    def add(self, documents: Documents, batch_size: int, shard_size: int, state: PartialState) -> None:
        """Encode and write this process's share of the documents: whole shards, each in one commit."""
        held = set(self.table.search().select(["id"]).to_arrow()["id"].to_pylist())
        starts = range(state.process_index * shard_size, len(documents), state.num_processes * shard_size)
        sizes = {start: min(shard_size, len(documents) - start) for start in starts}
        options = {"unit": " documents", "disable": not state.is_main_process, "desc": "this process's share"}
        with tqdm(total=sum(sizes.values()), **options) as bar:
            for start, size in sizes.items():
                texts = {key: text for key, text in documents.part(start, start + size).items() if key not in held}
                if texts:
                    vectors = self.encode_documents(list(texts.values()), batch_size)
                    rows = [row for row in zip(texts.items(), vectors, strict=True) if len(row[1])]  # with a token
                    if rows:
                        items, vectors = zip(*rows, strict=True)
                        self.table.add(as_rows(dict(items), vectors, self.table.schema))
                bar.total -= size - len(texts)
                bar.update(len(texts))

    def finish(self) -> None:
        """Join the files that were written, and index the means of `FEWEST_INDEXED` documents and more; ValueError
        where no document was written."""
        if not self.table.count_rows():
            raise ValueError(f"No document of {self.origin.source} has a text.")
        if self.table.count_rows() >= FEWEST_INDEXED and not self.table.list_indices():
            self.table.create_index(MEAN, config=IvfSq(distance_type="cosine", target_partition_size=PARTITION))
        with warnings.catch_warnings():
            # It warns of readers of older versions: a search that is open during a build must be opened again.
            warnings.simplefilter("ignore", UserWarning)
            self.table.optimize(cleanup_older_than=timedelta(0))

    # -- vectors

    def encode_documents(self, texts: list[str], batch_size: int = 32) -> list[torch.Tensor]:
        """The vectors [C, E] of each text, of length 1, float32 on the CPU; ValueError if the model's are not."""
        vectors = self.model.encode_document(texts, batch_size=batch_size, num_vectors=self.origin.num_vectors)
        return unit_vectors(vectors)

    def encode_queries(self, texts: list[str]) -> list[torch.Tensor]:
        """The vectors [N, E] of each query, of length 1, float32 on the CPU; ValueError if the model's are not, or a
        query has no token."""
        vectors = unit_vectors(self.model.encode_query(texts))
        for text, found in zip(texts, vectors, strict=True):
            if not len(found):
                raise ValueError(f"The query {text!r} has no token of the model.")
        return vectors

    # -- search

    def search(self, queries: str | list[str], top_k: int = 10, exact: bool = False) -> list[list[Hit]]:
        """The best documents of each query, of one or several; `exact`: by MaxSim with all documents."""
        queries = [queries] if isinstance(queries, str) else queries
        vectors = self.encode_queries(queries)
        return self.nearest_exactly(vectors, top_k) if exact else [self.nearest(query, top_k) for query in vectors]

    def nearest(
        self, query: torch.Tensor, top_k: int = 10, num_candidates: int = 1500, nprobes: int = 32
    ) -> list[Hit]:
        """
        The best documents of a query by MaxSim, among those whose mean is nearest to the mean of its vectors.

        Args:
            query: vectors [N, E].
            num_candidates: documents that MaxSim ranks.
            nprobes: partitions of the means that are searched, where they are indexed.
        """
        rows = (
            self.table.search(query.mean(dim=0).numpy(), vector_column_name=MEAN)
            .distance_type("cosine")
            .nprobes(nprobes)
            .select([VECTORS, "_distance"])
            .with_row_id(True)
            .limit(max(top_k, num_candidates))
            .to_arrow()
        )
        return self.read([best([query], rows, top_k)[0]])[0]

    def nearest_exactly(self, queries: list[torch.Tensor], top_k: int = 10) -> list[list[Hit]]:
        """The best documents of all documents for each query, given as vectors [N, E]; one pass for all queries."""
        rankings = [[] for _ in queries]
        for batch in self.table.search().select([VECTORS]).with_row_id(True).to_batches(BLOCK):
            found = best(queries, pa.Table.from_batches([batch]), top_k)
            rankings = [sorted(old + new, reverse=True)[:top_k] for old, new in zip(rankings, found, strict=True)]
        return self.read(rankings)

    def read(self, rankings: list[list[tuple[float, int]]]) -> list[list[Hit]]:
        """The documents of rankings of scores and row ids."""
        wanted = sorted({row for ranking in rankings for _, row in ranking})
        rows = self.table.take_row_ids(wanted).select(["id", "text"]).with_row_id().to_arrow().to_pylist()
        texts = {row["_rowid"]: (row["id"], row["text"]) for row in rows}
        return [
            [Hit(rank, score, *texts[row]) for rank, (score, row) in enumerate(ranking, start=1)]
            for ranking in rankings
        ]


def best(queries: list[torch.Tensor], rows: pa.Table, top_k: int) -> list[list[tuple[float, int]]]:
    """For each query [N, E] the best of these rows by MaxSim: scores and row ids."""
    lists, together = rows[VECTORS].combine_chunks(), torch.cat(queries).T
    stored = lists.flatten().flatten().to_numpy(zero_copy_only=False)
    if stored.dtype == np.uint8:
        products = products_of_signs(stored, together)
    else:
        products = torch.tensor(stored, dtype=torch.float32).view(-1, len(together)) @ together
    # As maxsim of sentence-transformers, without padding, which takes four times as long.
    lengths = torch.tensor(lists.value_lengths().to_numpy(), dtype=torch.int64)
    parts = torch.segment_reduce(products, "max", lengths=lengths).split([len(query) for query in queries], dim=1)
    values, places = torch.stack([part.sum(dim=1) for part in parts]).topk(min(top_k, len(rows)), dim=1)
    ids = rows["_rowid"].to_numpy()
    return [
        list(zip(scores, ids[found.numpy()].tolist(), strict=True))
        for scores, found in zip(values.tolist(), places, strict=True)
    ]


def products_of_signs(stored: np.ndarray, vectors: torch.Tensor) -> torch.Tensor:
    """The products [M, Q] of signs ±1/√E, eight in a byte, of M rows one after the other, with vectors [E, Q]."""
    width, total = len(vectors), vectors.sum(dim=0)
    rows = stored.reshape(-1, width // 8)
    # A part at a time, which fits into a processor's cache: three times as fast.
    parts = (rows[start : start + SIGNS] for start in range(0, len(rows), SIGNS))
    sums = torch.cat([torch.from_numpy(np.unpackbits(part, axis=1)).float() @ vectors for part in parts])
    return (2 * sums - total) / width**0.5


def schema_of(origin: Origin) -> pa.Schema:
    """The columns of the table, with what makes it."""
    signs = origin.precision == BINARY
    vector = pa.list_(PRECISIONS[origin.precision], origin.width // (8 if signs else 1))
    mean = pa.list_(pa.float16(), origin.width) if signs else vector
    columns = [("id", pa.string()), ("text", pa.string()), (VECTORS, pa.list_(vector)), (MEAN, mean)]
    return pa.schema(columns, metadata={ORIGIN: json.dumps(asdict(origin))})


def as_rows(texts: dict[str, str], vectors: list[torch.Tensor], schema: pa.Schema) -> pa.Table:
    """Texts by id with their vectors [C, E] as rows of the table."""

    def column(parts, kind):
        numbers = torch.cat(parts).numpy()
        numbers = np.packbits(numbers > 0, axis=1) if kind.value_type == PRECISIONS[BINARY] else numbers
        return pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()).cast(kind.value_type), kind.list_size)

    ends = torch.tensor([0, *map(len, vectors)]).cumsum(0).int().numpy()
    lists = pa.ListArray.from_arrays(ends, column(vectors, schema.field(VECTORS).type.value_type))
    means = column([part.mean(dim=0, keepdim=True) for part in vectors], schema.field(MEAN).type)
    return pa.table([pa.array(list(texts)), pa.array(list(texts.values())), lists, means], schema=schema)


def unit_vectors(vectors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Vectors [N, E] of texts in float32 on the CPU, scaled to length 1; ValueError if they are far from it, since
    the index compares by cosine."""
    found = [part.float().cpu() for part in vectors]
    for part in found:
        if not torch.allclose(part.norm(dim=-1), torch.ones(len(part)), atol=0.02):
            raise ValueError("The model's vectors are not of length 1; end it with a Normalize module.")
    return [torch.nn.functional.normalize(part, dim=-1) for part in found]
