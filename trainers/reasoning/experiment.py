# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""Train systems on a generated task with several seeds; table and picture of what they answer."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, set_seed
from transformers.hf_argparser import HfArg

from ..evaluation.plots import NEUTRAL, make_figure, save_picture, style_axes
from ..evaluation.results import (
    Result,
    average_seeds,
    by_task,
    make_table,
    read_report,
    tabulate_systems,
    track_results,
    write_results,
)
from ..models.loading import load_model
from ..utils.distributed import print_once
from ..utils.limits import check_at_least
from ..utils.plain_text import markdown, markdown_table, screen
from ..utils.runs import folder_name
from ..utils.script import run_facts
from .concepts import map_concepts, plot_concepts
from .data import make_names, make_tokenizer, problem_text
from .evaluation import guess, make_test, measure_answers
from .problems import PROBLEM_TASKS, find_problem_task
from .prosqa import answer_prosqa, read_prosqa
from .systems import RECURSIVE, SYSTEMS, TITLES, NetworkSizes
from .training import ProblemTrainer, ProblemTrainingArguments


FLOORS = {"guess by a bag of words": False, "guess by places of words": True}
CANDIDATES = "guess one of the candidates"
HEAD_SIZE = 32
MAPPED = 8  # problems whose concepts are followed
PROSQA = "ProsQA"
HALTED, ITERATIONS = "recursive, halted by agreement", "iterations until answers agree"


@dataclass
class ProblemArguments:
    """The generated task, the systems and the test."""

    task_name: list[str] = HfArg(default_factory=lambda: ["chains"], help=f"One of {sorted(PROBLEM_TASKS)}.")
    systems: list[str] = HfArg(
        default_factory=lambda: list(SYSTEMS), metadata={"choices": list(SYSTEMS)}, help="Networks that are trained."
    )
    encoder_type: str = HfArg(default="content", help="Kind of concept layer.")
    hidden_size: int | None = HfArg(default=None, help="Width of all networks; that of the task by default.")
    num_attention_heads: int | None = HfArg(default=None, help="Attention heads; one for 32 channels by default.")
    name_num: int = HfArg(default=64, help="Names in problems; more where the longest problems need more.")
    concepts_per_fact: float = HfArg(default=1.0, help="Concepts for each fact, in training and test.")
    test_steps: list[int] = HfArg(
        default_factory=lambda: [1, 2, 4, 6, 8, 10, 12], help="Numbers of steps of the questions in the test."
    )
    num_iterations: list[int] = HfArg(
        default_factory=lambda: [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32], help="K in the test."
    )
    max_eval_samples: int = HfArg(default=256, help="Test problems for each number of steps.")
    dataset_name: str | None = HfArg(
        default=None, help="ProsQA, Hub id or folder, which networks that learn the task ontology answer, too."
    )

    def __post_init__(self):
        check_at_least(
            self, hidden_size=2, num_attention_heads=1, name_num=1, concepts_per_fact=0.01, test_steps=1,
            num_iterations=1, max_eval_samples=1,
        )  # fmt: skip
        if len(self.task_name) != 1:
            raise ValueError(f"Networks are trained on one generated task, not on {self.task_name}.")
        if self.dataset_name is not None and self.task_name != ["ontology"]:
            raise ValueError("--dataset_name, of ProsQA, goes with --task_name ontology.")


class Experiment:
    """
    Systems on one task.

    Args:
        args: task, systems and test.
        training_args: options of the training, in whose `output_dir` every run has a folder.
    """

    def __init__(self, args: ProblemArguments, training_args: ProblemTrainingArguments):
        self.name = args.task_name[0]
        self.task = find_problem_task(self.name)
        width = args.hidden_size or self.task.hidden_size
        heads = args.num_attention_heads or max(1, width // HEAD_SIZE)
        self.args = args = replace(args, hidden_size=width, num_attention_heads=heads)
        self.training_args = training_args = training_args.for_task(self.task)
        self.folder = Path(training_args.output_dir or Path("outputs") / f"reasoning_{self.name}")
        most = max(*args.test_steps, training_args.trained_steps)
        self.names = make_names(max(args.name_num, self.task.names(most)))
        self.tokenizer = make_tokenizer(self.task, self.names)
        longest = self.task.problem(0, 0, most, self.names)
        tokenizer, facts = self.tokenizer, max(len(longest), self.concepts(len(longest)))
        self.sizes = NetworkSizes(
            len(tokenizer), tokenizer.pad_token_id, tokenizer.mask_token_id, facts,
            len(longest) * (len(longest[0].words) + 1), args.hidden_size, args.num_attention_heads,
            training_args.most_iterations, args.encoder_type,
        )  # fmt: skip
        count = args.max_eval_samples
        self.prosqa = [] if args.dataset_name is None else read_prosqa(args.dataset_name, self.names)
        self.tests = {steps: make_test(self.task, 0, count, steps, self.names) for steps in sorted(args.test_steps)}

    def concepts(self, facts: int) -> int:
        """C for so many facts."""
        return max(1, round(self.args.concepts_per_fact * facts))

    def train(self, system: str, seed: int, folder: Path) -> PreTrainedModel:
        """A trained network in eval mode; a run that was interrupted is resumed."""
        args = replace(self.training_args, output_dir=str(folder), seed=seed, report_to=["none"])
        set_seed(seed)
        trainer = ProblemTrainer(
            SYSTEMS[system](self.sizes), args, task=self.task, names=self.names, concepts=self.concepts,
            processing_class=self.tokenizer,
        )  # fmt: skip
        trainer.train(resume_from_checkpoint="last" if any(folder.glob("checkpoint-*")) else None)
        trainer.save_model()
        trainer.save_state()
        return trainer.model.eval()

    def measure(self, model: PreTrainedModel, system: str) -> list[Result]:
        """What a network answers."""
        args, results = self.args, []
        for steps, problems in self.tests.items():
            found = measure_answers(
                model, problems, self.tokenizer, steps, args.num_iterations,
                self.training_args.per_device_eval_batch_size, self.concepts(len(problems[0])),
            )  # fmt: skip
            shared = {"task": self.name, "split": split_name(steps), "count": len(problems)}
            for number, share in found.by_iterations.items():
                name = TITLES[system] if number is None else f"{TITLES[system]}, K={number}"
                results.append(Result(metric="accuracy", system=name, value=share, **shared))
            if found.halted is not None:
                results.append(Result(metric="accuracy", system=HALTED, value=found.halted, **shared))
                mean = Result(metric=ITERATIONS, system=HALTED, value=found.iterations, primary=False, **shared)
                results.append(mean)
        return results + (self.measure_prosqa(model, system) if self.prosqa else [])

    def measure_prosqa(self, model: PreTrainedModel, system: str) -> list[Result]:
        """Which of two candidates a network takes, by the steps of ProsQA's questions and over all."""
        counts, results = self.args.num_iterations, []
        right = answer_prosqa(model, self.prosqa, self.tokenizer, counts)
        steps = torch.tensor([facts[-1].steps for facts in self.prosqa])
        chosen = {split_name(number): steps == number for number in sorted(set(steps.tolist()))}
        for split, rows in {**chosen, "all": steps > 0}.items():
            for place, found in enumerate(right[:, rows].double().mean(dim=1).tolist()):
                name = TITLES[system] if len(right) == 1 else f"{TITLES[system]}, K={counts[place]}"
                results.append(Result(PROSQA, split, "accuracy", name, found, None, int(rows.sum())))
        return results

    def floors(self) -> list[Result]:
        """What can be answered without reasoning."""
        results = []
        for steps, problems in self.tests.items():
            shares = {name: guess(problems, steps, by_place) for name, by_place in FLOORS.items()}
            if self.task.candidates is not None:
                shares[CANDIDATES] = 1 / self.task.candidates
            results += [
                Result(self.name, split_name(steps), "accuracy", name, share, None, len(problems))
                for name, share in shares.items()
            ]
        return results

    def run(self, system: str, seed: int) -> list[Result]:
        """Results of a system with a seed, those of its folder if it is finished."""
        folder = self.run_folder(system, seed)
        path = folder / "results.json"
        shown = problem_text(self.tests[min(self.tests)][0])  # another one if the task has changed since
        facts = {"problems": asdict(self.args), "training": self.options(), "seed": seed, "example": shown}
        facts = json.loads(json.dumps(facts))
        facts["problems"]["systems"] = [system]
        for told in (path, started := folder / "run.json"):
            if told.is_file():
                report = read_report(told)
                if {name: report.get(name) for name in facts} != facts:
                    raise ValueError(f"{told} is of a run with other options: choose another --output_dir.")
        if path.is_file():
            return read_report(path)["results"]
        if self.training_args.process_index == 0:
            write_results(started, [], facts)
        print_once(f"{self.name}: {TITLES[system]}, seed {seed}, {self.training_args.max_steps:,} steps in {folder}")
        results = self.measure(self.train(system, seed, folder), system)
        if self.training_args.process_index == 0:
            write_results(path, results, facts)
        return results

    def concept_parts(self, seed: int) -> list[str]:
        """What concepts of the recursive encoder do over its iterations, with a picture, for the report."""
        steps = self.training_args.trained_steps
        model = load_model(self.run_folder(RECURSIVE, seed)).to(self.training_args.device).eval()
        problems = make_test(self.task, 0, MAPPED, steps, self.names)
        maps = map_concepts(model, problems, self.tokenizer, self.training_args.most_iterations)
        plot_concepts(maps, f"{self.name}: concepts over the iterations", self.folder / "concepts.png")
        values = {name: part.tolist() for name, part in maps._asdict().items()}
        (self.folder / "concepts.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
        return [
            "## Concepts over the iterations",
            "![Concepts over the iterations](concepts.png)",
            "Top: how much of its attention the concept of a fact gives to others of the same answer, by the steps of "
            "both. Bottom: share of answers that are wrong at the end if another concept of the same answer is zero "
            f"after an iteration. Means of {MAPPED} problems of {split_name(steps)}, seed {seed}. Of the answers of "
            f"other groups at most {100 * float(maps.lost_elsewhere.max()):.1f} % are then wrong.",
        ]

    def run_folder(self, system: str, seed: int) -> Path:
        return self.folder / folder_name(f"{system}-{seed}")

    def options(self) -> dict:
        """Options on which the training depends."""
        names = (
            "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
            "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "adam_beta1", "adam_beta2",
            "adam_epsilon", "max_grad_norm", "optim", "trained_steps", "learned_share", "extra_iterations",
        )  # fmt: skip
        return {name: getattr(self.training_args, name) for name in names}


def split_name(steps: int) -> str:
    return f"{steps} step{'s' * (steps > 1)}"


def run_experiment(args: ProblemArguments, training_args: ProblemTrainingArguments) -> list[Result]:
    """
    Train and test all systems with all seeds, print the table, and write `results.json`, `README.md` and the picture
    into the output folder. Finished runs are taken from it, an interrupted one is resumed.
    """
    experiment = Experiment(args, training_args)
    args, training_args = experiment.args, experiment.training_args
    seeds, results, by_seed = training_args.seeds or [training_args.seed], [], {}
    for system in args.systems:
        runs = [experiment.run(system, seed) for seed in seeds]
        by_seed |= {(TITLES[system], seed): run for seed, run in zip(seeds, runs, strict=True)}
        results += average_seeds(result for run in runs for result in run)
    results += experiment.floors()
    folder, title = experiment.folder, f"{experiment.name}: answers by steps"
    tables = {task: tabulate_systems(rows) for task, rows in by_task(results).items()}
    if training_args.process_index == 0:
        for task, table in tables.items():
            screen(200).print(make_table(f"{task}: answers by steps", *table))
        facts = run_facts(
            args, training_args.to_dict(), {"example": problem_text(experiment.tests[min(args.test_steps)][0])}
        )
        write_results(folder / "results.json", results, facts)
        parts = [f"# {markdown(title)}", f"Means over seeds {', '.join(map(str, seeds))} ± standard deviations."]
        parts.append(markdown_table(*tables[experiment.name], text_columns=2))
        if RECURSIVE in args.systems:
            plot_iterations(results, training_args, title, folder / "iterations.png")
            parts.append("![Accuracy by iterations](iterations.png)")
            if args.concepts_per_fact == 1 and experiment.task.common_answer:
                parts += experiment.concept_parts(seeds[0])
        parts += ["## Seeds", markdown_table(*tabulate_seeds(by_seed, training_args.most_iterations), text_columns=2)]
        if PROSQA in tables:
            parts += [
                f"## {PROSQA}",
                "Trained on generated problems alone.",
                markdown_table(*tables[PROSQA], text_columns=2),
            ]
        (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"results: {folder / 'results.json'}")
        track_results(results, training_args.report_to, folder.name, str(folder), facts)
    return results


def tabulate_seeds(by_seed: dict[tuple[str, int], list[Result]], iterations: int) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a table of accuracies: a row for each system and seed, at `iterations` if it has such."""
    rows, splits = [], []
    for (system, seed), results in by_seed.items():
        names = {result.system for result in results if result.metric == "accuracy"}
        counted = [int(name.rpartition("=")[2]) for name in names if name.startswith(f"{system}, K=")]
        nearest = min(counted, key=lambda count: abs(count - iterations), default=None)
        name = system if nearest is None else f"{system}, K={nearest}"
        shown = [result for result in results if result.system == name and result.metric == "accuracy"]
        shown = [result for result in shown if result.task != PROSQA]
        splits = [result.split for result in shown]
        rows.append([name, str(seed), *(result.shown() for result in shown)])
    return ["system", "seed", *splits], rows


def plot_iterations(results: list[Result], args: ProblemTrainingArguments, title: str, path: Path) -> None:
    """The accuracy of the recursive encoder against K, a line for each number of steps."""
    figure, (axes,) = make_figure(1, title, width=6.4, height=4.4)
    own = [result for result in results if result.task != PROSQA]
    found = [result for result in own if result.system.startswith(f"{TITLES[RECURSIVE]}, K=")]
    splits = list(dict.fromkeys(result.split for result in found))
    for number, split in enumerate(splits):
        points = [(int(r.system.rpartition("=")[2]), 100 * r.value) for r in found if r.split == split]
        beyond = int(split.split()[0]) > args.trained_steps
        colour = (0.1 + 0.8 * number / max(1, len(splits) - 1), 0.35, 0.85 - 0.75 * number / max(1, len(splits) - 1))
        label = split + ", longer than in training" * beyond
        axes.plot(*zip(*points, strict=True), "o--" if beyond else "o-", color=colour, label=label, markersize=4)
    floors = [100 * result.value for result in own if result.system in (*FLOORS, CANDIDATES)]
    axes.axhline(max(floors), color=NEUTRAL, linestyle=":", label="best guess")
    axes.axvline(args.most_iterations, color=NEUTRAL, linewidth=0.8)
    axes.set_xscale("log", base=2)
    ticks = sorted({int(result.system.rpartition("=")[2]) for result in found})
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.set(xlabel="iterations K (vertical line: most in training)", ylabel="answers right, %", ylim=(-2, 102))
    style_axes(axes)
    save_picture(figure, path)
