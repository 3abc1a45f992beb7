"""Measures what each part of distillation is worth on the real TNEWS: `make ablation`.

Reads   tnews/, which stage 1 downloads where it is missing, and what the rows name (benchmarks/rows.py)
Writes  benchmarks/results/ablation.csv, a line a finished run; docs/images/ablation.png; tables on the screen; on the
        way, ablation/: for each split a folder with the checkpoints and history.csv of every run

    python -m benchmarks.ablation        from the root of the repository; started again, it goes on where it was stopped

Settings are chosen on the split `held-out`, 5,000 headlines taken out of train; the rows of the split `dev` are trained
on all of train. What counts is the last epoch. On a CPU each core trains a model of its own, which takes less time
than one after the other on all cores.
"""

import json
import multiprocessing
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas
import torch
from datasets import DatasetDict
from torch import Tensor

import distill
import finetune_bert
import prepare_data
import train_bilstm
from benchmarks.measure import machine
from benchmarks.rows import ROWS, Row
from bert_to_bilstm.distillation.labelling import neural_teacher, weighted_mean
from bert_to_bilstm.evaluation.comparison import new_sentences
from bert_to_bilstm.files import new_directory, write_text
from bert_to_bilstm.models.checkpoints import checkpoints, load_classifier
from bert_to_bilstm.models.ngrams import train_ngrams
from bert_to_bilstm.outputs.plots import draw_ablation
from bert_to_bilstm.settings import RULES
from bert_to_bilstm.stages import on_cpu, quiet_libraries, stage
from bert_to_bilstm.text.dataset import DATA, load_data, load_labels, load_rows
from bert_to_bilstm.training.prediction import predict_logits
from bert_to_bilstm.training.run import read_history

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "ablation"
RESULTS = ROOT / "benchmarks" / "results" / "ablation.csv"
PICTURE = ROOT / "docs" / "images" / "ablation.png"
HELD_OUT = 5000  # rows of train
SPLIT_SEED = 42
SPLITS = ("dev", "held-out")  # the second is made of the first
WORKERS = os.cpu_count() or 1 if on_cpu() else 1  # runs at a time, each with one thread
SCRIPTS = {"finetune_bert": finetune_bert, "train_bilstm": train_bilstm, "distill": distill}
DEFAULTS = {  # a row's run leaves nothing behind for the next
    name: {constant: value for constant, value in vars(script).items() if constant.isupper()}
    for name, script in SCRIPTS.items()
}


@dataclass(frozen=True)
class Run:
    """A line of the CSV file: a row with one seed."""

    split: str
    row: str
    seed: int
    accuracy: float  # of the last epoch
    accuracy_new: float  # of the last epoch, on sentences that are not in train
    sentences: int  # that were learnt from
    steps: int
    seconds: float  # of training
    history: str  # the accuracy of each epoch
    constants: str  # of the script that make a run what it is, defaults too, as JSON
    machine: str
    date: str


def last_checkpoint(run: Path) -> str:
    """The checkpoint of the last epoch: no choice is made on the sentences that it is measured on."""
    return str(checkpoints(run)[-1][2])


def script_of(row: Row) -> str:
    """Whose constants a row has."""
    return "distill" if row.script == "ensemble" else row.script


def set_constants(row: Row, seed: int) -> ModuleType:
    """The script of a row with the constants of a run, in the folder of its split."""
    os.chdir(WORK / row.split)
    name = script_of(row)
    own = row.constants | {"SEED": seed, "OUTPUT": Path(row.run(seed))}
    if "TEACHERS" in own:
        own["TEACHERS"] = [last_checkpoint(Path(teacher)) for teacher in own["TEACHERS"]]
    for constant, value in (DEFAULTS[name] | own).items():
        setattr(SCRIPTS[name], constant, value)
    return SCRIPTS[name]


def prepare(split: str) -> None:
    """Makes the folder of a split, with its data/."""
    directory = WORK / split
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / DATA).exists():
        return
    if split == "dev":
        os.chdir(directory)
        prepare_data.SOURCE = ROOT / "tnews"
        prepare_data.main()
        return
    whole = WORK / "dev"
    os.chdir(whole)
    learnt, rest = load_data()["train"].train_test_split(test_size=HELD_OUT, seed=SPLIT_SEED).values()
    with new_directory(directory / DATA) as data:
        DatasetDict({"train": learnt, "valid": rest}).save_to_disk(str(data))
        for name in ("vocab.txt", "label.csv", "char_table.json"):
            shutil.copy(whole / DATA / name, data / name)
        shutil.copytree(whole / DATA / "tokenizer", data / "tokenizer")


def store_logits(row: Row, seed: int) -> None:
    """Makes the knowledge that a row learns from: rows that share it would be in each other's way."""
    set_constants(row, seed)
    data = load_data()
    teachers = distill.find_teachers(data)
    distill.store_logits(data, teachers, distill.origin_of_knowledge(data, teachers))


def measure_teachers(row: Row, seed: int) -> Run:
    """The n-gram model alone, or together with the teacher of a row, as the report has them."""
    os.chdir(WORK / row.split)
    data = load_data()
    sentences, train = data["valid"]["sentence"][:], data["train"]
    logits = train_ngrams(train["sentence"][:], train["label"][:], len(load_labels())).predict_logits(sentences)
    if row.script == "ensemble":
        set_constants(row, seed)
        weight, [teacher] = distill.NGRAM_WEIGHT, distill.find_teachers(data)
        logits = weighted_mean([(weight, logits), (1 - weight, neural_teacher(teacher, load_labels())(sentences))])
    return result(row, seed, logits, data, sentences=len(train), steps=0, seconds=0, history="")


def train(row: Row, seed: int) -> Run:
    """Trains a run to its end and measures its last checkpoint."""
    script = set_constants(row, seed)
    script.main()
    data, history = load_data(), read_history(script.OUTPUT)
    model, tokenizer = load_classifier(Path(last_checkpoint(script.OUTPUT)))
    sentences = len(load_rows(script.KNOWLEDGE, "")) if row.script == "distill" else len(data["train"])
    epoch = getattr(script, "EPOCH_SENTENCES", 0) or sentences
    return result(
        row,
        seed,
        predict_logits(model, tokenizer, data["valid"]["sentence"][:]),
        data,
        sentences=sentences,
        steps=len(history) * -(-epoch // script.BATCH_SIZE),
        seconds=round(sum(float(epoch["seconds"]) for epoch in history)),
        history=" ".join(epoch["valid_accuracy"] for epoch in history),
    )


def result(row: Row, seed: int, logits: Tensor, data: DatasetDict, **training: Any) -> Run:
    """How right the logits of the split's valid sentences are, and where and when that was found."""
    right = (logits.argmax(1) == torch.tensor(data["valid"]["label"][:])).float()
    about = machine()
    return Run(
        split=row.split,
        row=row.name,
        seed=seed,
        accuracy=round(right.mean().item(), 4),
        accuracy_new=round(right[new_sentences(data)].mean().item(), 4),
        constants=as_json(row),
        machine=about["gpu"] or about["processor"],
        date=about["date"],
        **training,
    )


def as_json(row: Row) -> str:
    """The constants that a row's runs have but for the seed, those that it sets and the defaults of its script."""
    constants = DEFAULTS.get(script_of(row), {}) | row.constants
    acting = {name for name in constants if name in RULES and RULES[name].acts} - {"SEED"}
    if row.script == "ensemble":
        acting = {"NGRAM_WEIGHT", "TEACHERS"}
    told = {name: constants[name] for name in sorted(acting)}
    if "TEACHERS" in row.constants:
        rows = {one.run(seed): one for one in ROWS if one.split == row.split for seed in one.seeds}
        told["TEACHERS"] = {name: json.loads(as_json(rows[name])) for name in row.constants["TEACHERS"]}
    return json.dumps(told, default=str)


def read_results() -> list[Run]:
    """The runs that are finished, of rows and defaults that are still as they were; a line names the others."""
    if not RESULTS.exists():
        return []
    table = pandas.read_csv(RESULTS, keep_default_na=False)
    known = {(row.split, row.name): as_json(row) for row in ROWS}
    runs = [Run(**line) for line in table.to_dict("records")]
    current = [run for run in runs if known.get((run.split, run.row)) == run.constants]
    if others := sorted({f"{run.split}, {run.row}" for run in runs if run not in current}):
        print(f"{RESULTS}: with other constants than now, left out: {'; '.join(others)}.")
    return current


def write_results(runs: list[Run]) -> None:
    """Writes the CSV file, in the order of ROWS."""
    order = {(row.split, row.name): number for number, row in enumerate(ROWS)}
    runs = sorted(runs, key=lambda run: (SPLITS.index(run.split), order[run.split, run.row], run.seed))
    table = pandas.DataFrame([asdict(run) for run in runs], columns=[field.name for field in fields(Run)])
    write_text(RESULTS, table.to_csv(index=False, lineterminator="\n"))


def in_parallel(function: Callable, tasks: list[tuple[Row, int]]) -> Iterator[Any]:
    """What `function` returns for each task, as each is done: WORKERS at a time, or one after the other in here.

    Raises SystemExit after the last where one of several failed.
    """
    if WORKERS == 1:
        yield from (function(*task) for task in tasks)
        return

    def in_a_process(task: tuple[Row, int]) -> Any:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, initializer=quiet_libraries) as process:  # whose end is no other's
            return process.submit(function, *task).result()

    failed = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for future in as_completed([pool.submit(in_a_process, task) for task in tasks]):
            if error := future.exception():
                failed += 1
                told = str(error) if isinstance(error, SystemExit) else "".join(traceback.format_exception(error))
                print(f"a run failed, the others go on: {told}", flush=True)
            else:
                yield future.result()
    if failed:
        raise SystemExit(
            f"{failed} of {len(tasks)} runs failed, as told above: mend that; the same command tries them."
        )


def run_all() -> list[Run]:
    """Trains and measures whatever is not in the CSV file yet; returns all of it, in the order of ROWS."""
    for split in SPLITS:
        prepare(split)
    runs = read_results()
    done = {(run.split, run.row, run.seed) for run in runs}
    tasks = [(row, seed) for row in ROWS for seed in row.seeds if (row.split, row.name, seed) not in done]

    def keep(function: Callable, *scripts: str) -> None:
        for run in in_parallel(function, [task for task in tasks if task[0].script in scripts]):
            runs.append(run)
            write_results(runs)
            print(f"{run.split}, {run.row}, seed {run.seed}: {run.accuracy:.4f} ({run.history})", flush=True)

    keep(train, "finetune_bert", "train_bilstm")
    keep(measure_teachers, "ngrams", "ensemble")
    distilled = [task for task in tasks if task[0].script == "distill"]
    for task in {(row.split, row.constants["KNOWLEDGE"]): (row, seed) for row, seed in distilled}.values():
        store_logits(*task)
    keep(train, "distill")
    return read_results()


def spread(values: pandas.Series) -> str:
    """The mean, and the standard deviation where there are several."""
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def table(runs: list[Run], split: str) -> str:
    """A line a row of the split, in Markdown: means over the seeds ± their standard deviation."""
    titles = ["", "seeds", "accuracy", "**not in train**", "sentences", "steps", "seconds"]
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    frame = pandas.DataFrame(map(asdict, runs))
    for name, found in frame[frame["split"] == split].groupby("row", sort=False):
        first = found.iloc[0]
        steps = [f"{first.steps:,}", f"{found['seconds'].mean():,.0f}"] if first.steps else ["", ""]
        accuracies = [spread(found["accuracy"]), f"**{spread(found['accuracy_new'])}**"]
        lines.append(f"| {' | '.join([str(name), str(len(found)), *accuracies, f'{first.sentences:,}', *steps])} |")
    return "\n".join(lines)


def main() -> None:
    quiet_libraries()
    if WORKERS > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    with stage(WORK):
        runs = run_all()
    frame = pandas.DataFrame(map(asdict, runs)).query("split == 'dev'")
    draw_ablation(PICTURE, {str(name): list(rows["accuracy"]) for name, rows in frame.groupby("row", sort=False)})
    for split in sorted({run.split for run in runs}):
        print(f"\n{split}\n\n{table(runs, split)}")


if __name__ == "__main__":
    main()
