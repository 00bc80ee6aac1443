# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Training of a retriever: from unlabelled documents, from pairs, or from judgements."""

from dataclasses import dataclass, field

import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers, DefaultBatchSampler
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorDistillKLDivLoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.multi_vector_encoder.scoring import mean_colbert_kd_scores
from sentence_transformers.util import maxsim_pairwise
from transformers import set_seed
from transformers.hf_argparser import HfArg

from ..data.texts import as_texts, iterate_texts, load_split, load_text, text_column
from ..utils.limits import check_at_least
from ..utils.runs import check_output_dir
from .concept_pooling import ConceptPooling
from .evaluation import RetrievalData, load_retrieval_data, rank_by_vectors, rank_by_words
from .retriever import ConceptRetriever, load_token_model, token_encoder
from .trainer import RetrieverTrainer, merged
from .training_data import load_pairs, neighbourhood_rows, ranking_rows


LORA, FULL = "lora", "full"
BM25, MODEL = "bm25", "model"


@dataclass
class ModelArguments:
    """The network and its concepts."""

    model_name_or_path: str = HfArg(
        default="sentence-transformers/all-MiniLM-L6-v2",
        help="A SentenceTransformer of one transformer, a MultiVectorEncoder or a concept checkpoint.",
    )
    num_vectors: list[int] = HfArg(
        default_factory=lambda: [1, 2, 4, 8, 16, 32],
        help="Concepts of a document that are learned, one number a step.",
    )
    backbone_training: str = HfArg(
        default=FULL, metadata={"choices": [LORA, FULL]}, help="What of the transformer is trained."
    )
    backbone_layers: int | None = HfArg(default=None, help="Keep only so many layers, the first ones.")
    max_seq_length: int | None = HfArg(default=None, help="Longest document in tokens; that of the model by default.")
    teacher_name_or_path: str | None = HfArg(
        default=None,
        help="Whose scores by all token vectors are learned, without columns; the model itself by default.",
    )

    def __post_init__(self):
        check_at_least(self, num_vectors=1, backbone_layers=1, max_seq_length=1)


@dataclass
class DataArguments:
    """The texts."""

    dataset_name: str | None = HfArg(default=None, help="Hub id or folder; several of plain text with commas.")
    dataset_config_name: str | None = HfArg(default=None, help="Configuration of the data set.")
    train_file: str | None = HfArg(default=None, help="Own text, or own pairs: txt, csv, tsv, json(l) or parquet.")
    split: str = HfArg(default="train", help="Of pairs or judgements.")
    text_column: str | None = HfArg(default=None, help="Of plain text.")
    columns: list[str] = HfArg(default_factory=list, help="Of pairs and triplets: query, relevant text, others.")
    qrels: bool = HfArg(default=False, help="The data set has BEIR's layout: corpus, queries and qrels.")
    max_documents: int = HfArg(default=20_000, help="Documents of plain text, the first ones.")
    documents_per_query: int = HfArg(default=8, help="Documents in a row of plain text, beside its query.")
    hard_negatives: int = HfArg(default=0, help="Documents in a row of pairs that are not relevant.")
    negatives_by: str = HfArg(default=BM25, metadata={"choices": [BM25, MODEL]}, help="What finds hard negatives.")
    eval_dataset_name: str | None = HfArg(default=None, help="Data in BEIR's layout that are measured in training.")
    eval_split: str = HfArg(default="validation", help="Of the judgements that are measured.")

    def __post_init__(self):
        check_at_least(self, max_documents=2, documents_per_query=2, hard_negatives=0)
        if self.labelled and not (self.train_file or self.dataset_name):
            raise ValueError("Give the pairs or judgements by --dataset_name, or pairs by --train_file.")
        if self.qrels and self.train_file:
            raise ValueError("Judgements are those of a data set: give --dataset_name, not --train_file.")
        if self.hard_negatives and not self.labelled:
            raise ValueError("--hard_negatives are of pairs or judgements: give --columns or --qrels true.")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"--columns names different columns, not {self.columns}.")
        if self.columns and self.qrels:
            raise ValueError("Give --columns of pairs, or --qrels true, not both.")
        if len(self.columns) == 1:
            raise ValueError("--columns names the query and the relevant text, perhaps others; plain text has none.")
        if len(self.columns) > 2 and self.hard_negatives:
            raise ValueError("The third of --columns holds negatives already: give it, or --hard_negatives, not both.")

    @property
    def labelled(self) -> bool:
        return self.qrels or bool(self.columns)


@dataclass
class RetrievalTrainingArguments(MultiVectorEncoderTrainingArguments):
    """[`MultiVectorEncoderTrainingArguments`] with the defaults of a short run."""

    output_dir: str | None = HfArg(default="outputs/retriever", help="Folder of the retriever.")
    learning_rate: float = HfArg(default=5e-5, help="At its highest.")
    per_device_train_batch_size: int = HfArg(default=16, help="Queries of a step.")
    max_steps: int = HfArg(default=300, help="Optimizer steps.")
    warmup_steps: float = HfArg(default=0.05, help="Steps, or their share, until the learning rate is reached.")
    logging_steps: float = HfArg(default=50, help="Steps between two values of the loss.")
    mini_batch_size: int | None = HfArg(default=None, help="Texts in memory at a time, for large batches of pairs.")
    temperature: float = HfArg(default=0.01, help="Of the scores of documents.")
    # The length in training is that of the model, --max_seq_length.
    max_length: None = field(default=None, init=False)


class RowsInOrder(DefaultBatchSampler):
    """Batches of rows as they stand, since those of a step belong together."""

    def __init__(self, dataset, **options):
        super().__init__(range(len(dataset)), **options)


def make_retriever(args: ModelArguments) -> ConceptRetriever:
    """The untrained retriever that the options describe; ValueError for a model that cannot be read."""
    source = load_token_model(args.model_name_or_path, args.backbone_layers)
    counts = args.num_vectors
    # The pooling of a retriever stays.
    options = {} if isinstance(source[-1], ConceptPooling) else {"num_vectors": 8 if 8 in counts else max(counts)}
    model = ConceptRetriever.from_model(source, **options)
    if args.max_seq_length is not None:
        set_length(model, args.max_seq_length)
    if args.backbone_training == LORA:
        from peft import LoraConfig, get_peft_model

        if getattr(model[0].config, "backbone_config", {}) is None:
            raise ValueError("LoRA adapts the layers of a backbone, but this model has only a token table; use full.")
        model[0].model = get_peft_model(model[0].model, LoraConfig(target_modules="all-linear"))
    return model


def set_length(model: ConceptRetriever, length: int) -> None:
    """Let the model read so many tokens of a document; ValueError where it has fewer positions."""
    transformer = model[0]
    longest = getattr(transformer.config, "max_position_embeddings", length)
    for name, part in transformer.model.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            longest = part.num_embeddings - part.padding_idx - 1  # as in RoBERTa: positions begin after padding's row
    if length > longest:
        raise ValueError(f"The model reads {longest} tokens at most, not --max_seq_length {length}.")
    transformer.max_seq_length = length
    if transformer.document_length is not None:
        transformer.document_length = length


def labelled_rows(args: DataArguments, model: ConceptRetriever, seed: int) -> Dataset:
    """Rows of pairs, triplets or judgements with hard negatives."""
    source = args.train_file or args.dataset_name
    if len(args.columns) > 2:
        given = load_split(source, args.dataset_config_name, (args.split,))[0]
        return as_texts(given, args.columns, name=f"triplets of {source}").select_columns(args.columns).shuffle(seed)
    if args.qrels:
        data = load_retrieval_data(source, args.split)
    else:
        data = load_pairs(source, args.dataset_config_name, args.split, args.columns)
    negatives = None
    if args.hard_negatives and args.negatives_by == BM25:
        negatives = rank_by_words(data)
    elif args.hard_negatives:
        queries = model.encode_query([*data.queries.values()])
        documents = model.encode_document([*data.documents.values()])
        negatives = rank_by_vectors(MODEL, data, queries, documents, 0.0, ["float32"])[0]
    return ranking_rows(data, negatives, args.hard_negatives, seed)


def ranking_loss(model: ConceptRetriever, args: RetrievalTrainingArguments) -> torch.nn.Module:
    """The loss of pairs: the relevant text is to have the highest score among the texts of a step."""
    if args.mini_batch_size:
        return CachedMultiVectorMultipleNegativesRankingLoss(model, mini_batch_size=args.mini_batch_size)
    return MultiVectorMultipleNegativesRankingLoss(model)


def unlabelled_rows(
    model_args: ModelArguments, args: DataArguments, model: ConceptRetriever, training: RetrievalTrainingArguments
) -> Dataset:
    """Rows of neighbourhoods of plain text with the teacher's scores."""
    path = model_args.teacher_name_or_path or model_args.model_name_or_path
    teacher = token_encoder(load_token_model(path))
    raw = load_text(args.dataset_name, args.dataset_config_name, args.train_file, seed=training.seed)["train"]
    documents = list(dict.fromkeys(iterate_texts(raw, text_column(raw, args.text_column), args.max_documents)))
    # In half precision, since the vectors of all tokens are many.
    tokens = [part.half().cpu() for part in teacher.encode_document(documents, show_progress_bar=True)]
    means = torch.nn.functional.normalize(torch.stack([part.float().mean(dim=0) for part in tokens]), dim=-1)
    queries = training.train_batch_size * training.world_size * training.gradient_accumulation_steps
    rows = neighbourhood_rows(documents, means, queries, args.documents_per_query, training.max_steps, training.seed)
    return add_teacher_scores(rows, teacher, dict(zip(documents, tokens, strict=True)))


def add_teacher_scores(rows: Dataset, teacher: MultiVectorEncoder, tokens: dict[str, torch.Tensor]) -> Dataset:
    """
    The rows of texts with a teacher's scores of their documents as `label`: the mean MaxSim of a query's tokens.

    Args:
        rows: a column of queries, and others of documents.
        tokens: the teacher's vectors [N, E] of the documents.
    """
    query, *documents = rows.column_names
    texts = {name: rows[name][:] for name in rows.column_names}
    different = list(dict.fromkeys(texts[query]))
    asked = dict(zip(different, teacher.encode_query(different, show_progress_bar=True), strict=True))
    queries = [asked[text].float().cpu() for text in texts[query]]
    scores = [
        maxsim_pairwise(queries, [tokens[text].float() for text in texts[name]], length_normalize=True)
        for name in documents
    ]
    return Dataset.from_dict({**texts, "label": torch.stack(scores, dim=1).tolist()})


class NestedBudgets(torch.nn.Module):
    """
    A loss for one model of several numbers of concepts, of which each step draws one (Matryoshka: Kusupati et al.
    2022).

    Args:
        loss: of sentence-transformers' form.
        pooling: of the model that the loss trains.
        num_vectors: numbers of concepts.
    """

    def __init__(self, loss: torch.nn.Module, pooling: ConceptPooling, num_vectors: list[int]):
        super().__init__()
        self.loss, self.pooling, self.num_vectors = loss, pooling, num_vectors

    def forward(self, sentence_features, labels=None) -> torch.Tensor:
        # It stays until the next step, since losses that cache gradients encode again in the backward pass.
        self.pooling.drawn_vectors = self.num_vectors[int(torch.randint(len(self.num_vectors), ()))]
        return self.loss(sentence_features, labels)


def make_evaluator(data: RetrievalData) -> MultiVectorInformationRetrievalEvaluator:
    """nDCG@10, recall@100 and MRR@10 during training, where each relevant document counts the same."""
    relevant = {query: set(found) for query, found in data.judgements.items()}
    return MultiVectorInformationRetrievalEvaluator(
        data.queries, data.documents, relevant, name=data.name, ndcg_at_k=[10], mrr_at_k=[10], accuracy_at_k=[1],
        precision_recall_at_k=[100], map_at_k=[100], write_csv=False,
    )  # fmt: skip


def check_effect(data_args: DataArguments, args: RetrievalTrainingArguments) -> None:
    """ValueError for options of pairs where the text is plain, and the other way round."""
    temperature = RetrievalTrainingArguments.__dataclass_fields__["temperature"].default
    if data_args.labelled and args.temperature != temperature:
        raise ValueError("--temperature is of a teacher's scores, which pairs and judgements do not have.")
    if not data_args.labelled and args.mini_batch_size:
        raise ValueError("--mini_batch_size is of pairs or judgements: give --columns or --qrels true.")
    if not data_args.labelled and args.max_steps < 1:
        raise ValueError("Plain text is drawn for each step: give their number by --max_steps.")


def train(model_args: ModelArguments, data_args: DataArguments, args: RetrievalTrainingArguments) -> ConceptRetriever:
    """
    Train a retriever and save it in `args.output_dir`.

    Raises:
        ValueError: data or a model that cannot be read, too few texts, options without effect, or a folder that holds
            another run.
    """
    check_output_dir(args.output_dir, resumes=bool(args.resume_from_checkpoint))
    check_effect(data_args, args)
    set_seed(args.seed)
    model = make_retriever(model_args)
    held_out = data_args.eval_dataset_name and load_retrieval_data(data_args.eval_dataset_name, data_args.eval_split)
    if data_args.labelled:
        rows, loss = labelled_rows(data_args, model, args.seed), ranking_loss(model, args)
        args.batch_sampler = BatchSamplers.NO_DUPLICATES
    else:
        rows = unlabelled_rows(model_args, data_args, model, args)
        loss = MultiVectorDistillKLDivLoss(model, similarity_fct=mean_colbert_kd_scores, temperature=args.temperature)
        args.batch_sampler = RowsInOrder
    if held_out and args.eval_strategy == "no":
        args.set_evaluate("steps", args.logging_steps, delay=0)
    trainer = RetrieverTrainer(
        model=model, args=args, train_dataset=rows, loss=NestedBudgets(loss, model[-1], model_args.num_vectors),
        evaluator=make_evaluator(held_out) if held_out else None,
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    model[0].model = merged(model[0].model)
    if trainer.is_world_process_zero():
        model.save_pretrained(args.output_dir)
        print(f"retriever: {args.output_dir}")
    return model
