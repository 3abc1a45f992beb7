"""Measures what each part of distillation is worth on the real TNEWS: `make ablation`.

Reads   tnews/, which stage 1 downloads where it is missing, and the file in UNLABELLED
Writes  benchmarks/results/ablation.csv, a line a finished run; images/ablation.png; tables on the screen; on the way,
        ablation/: for each split a folder with the checkpoints and history.csv of every run

    python -m benchmarks.ablation        from the root of the repository; started again, it goes on where it was stopped

Settings are chosen on the split `held-out`, 5,000 headlines taken out of train; `fold-0` and `fold-1` are the halves of
the rest; the rows of the split `dev` are trained on all of train. What counts is the last epoch. On a CPU each core
trains a student of its own, which takes two thirds of the time of one after the other on all cores.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import chdir
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
from bert_to_bilstm.distillation.labelling import load_teacher, mean_logits
from bert_to_bilstm.evaluation.comparison import new_sentences
from bert_to_bilstm.files import new_directory, write_text
from bert_to_bilstm.models.checkpoints import checkpoints, load_classifier
from bert_to_bilstm.outputs.plots import draw_ablation
from bert_to_bilstm.stages import quiet_libraries, stage
from bert_to_bilstm.text.dataset import DATA, load_data, load_labels, load_rows
from bert_to_bilstm.training.prediction import predict_logits
from bert_to_bilstm.training.run import read_history

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "ablation"
RESULTS = ROOT / "benchmarks" / "results" / "ablation.csv"
PICTURE = ROOT / "images" / "ablation.png"
HELD_OUT = 5000  # rows of train
SPLIT_SEED = 42
FOLDS = ("fold-0", "fold-1")
SPLITS = ("dev", "held-out", *FOLDS)  # each made of one before it
WORKERS = 1 if torch.cuda.is_available() else os.cpu_count() or 1  # runs at a time, each with one thread
MAX_LENGTH, BATCH_SIZE = 128, 256  # of what measures a checkpoint
MODEL_NAME = "../../sample/tiny-bert-chinese"  # as a split's folder sees it
UNLABELLED = ["../../unlabelled/headlines.txt"]
SCRIPTS = {"teacher": finetune_bert, "alone": train_bilstm, "distilled": distill}
ALIKE: dict[str, dict] = {  # what all rows of a script share, unless they say otherwise; students: 2,085 steps on dev
    "teacher": {"MODEL_NAME": MODEL_NAME, "BATCH_SIZE": 64, "LEARNING_RATE": 3e-4, "EPOCHS": 4},
    "alone": {"EPOCHS": 5, "DROPOUT": 0.3},
    "distilled": {
        "EPOCHS": 5,
        "EPOCH_SENTENCES": 53_360,
        "DROPOUT": 0.0,
        "LOSS": "mse",
        "EMBEDDINGS_FROM_TEACHER": False,
    },
}
DEFAULTS = {  # a row's run leaves nothing behind for the next
    name: {constant: value for constant, value in vars(script).items() if constant.isupper()}
    for name, script in SCRIPTS.items()
}
SEEDS = (0, 1, 2)
TEACHER_SEEDS = (42, 43, 44)
BOTH = "BERT and student"
BERTS = [f"teacher-{seed}" for seed in TEACHER_SEEDS]
STUDENTS = [f"student-alone-{seed}" for seed in SEEDS]
LONGER_STUDENTS = [f"student-alone-longer-{seed}" for seed in SEEDS]
COMMITTEES = {  # runs whose logits are averaged
    "BERT": BERTS[:1],
    BOTH: BERTS[:1] + STUDENTS[:1],
    "BERT and 2 students": BERTS[:1] + STUDENTS[:1] + LONGER_STUDENTS[:1],
    "3 BERTs and 3 students": BERTS + STUDENTS,
    "3 BERTs and 6 students": BERTS + STUDENTS + LONGER_STUDENTS,
}
OUT_OF_FOLD = "knowledge-out-of-fold"  # where each train sentence has the logits of a teacher not fitted to it


@dataclass(frozen=True)
class Row:
    """Models trained alike but for the seed, and on which split."""

    name: str
    script: str
    constants: dict
    seeds: tuple[int, ...] = (0,)
    split: str = "dev"
    teachers: str = ""  # of COMMITTEES
    knowledge: str = ""  # the folder of the teachers' logits; rows that learn from the same sentences share it


def held_out(
    name: str,
    script: str = "distilled",
    teachers: str = "",
    knowledge: str = "knowledge-headlines",
    seed: int = 0,
    **constants: object,
) -> Row:
    """A row on which settings are chosen: one seed, on the rest of train."""
    sizes = {"EPOCH_SENTENCES": 48_360} if teachers else {}
    return Row(name, script, sizes | constants, (seed,), "held-out", teachers, knowledge)


def dev(name: str, constants: dict, knowledge: str, seeds: tuple[int, ...] = (0,), teachers: str = BOTH) -> Row:
    """A row of distilled students that learn from all of train."""
    return Row(name, "distilled", constants, seeds, "dev", teachers, knowledge)


SOFTENED: dict[str, Any] = {"UNLABELLED": UNLABELLED, "LOSS": "kl"}
ARTICLE: dict[str, Any] = {"BATCH_SIZE": 16, "LEARNING_RATE": 1e-4, "SCHEDULE": "constant"}  # 8 times the steps
LONGER: dict[str, Any] = {"EPOCHS": 15, "DROPOUT": 0.4}
BEST: dict[str, Any] = SOFTENED | {"EMBEDDINGS_FROM_TEACHER": True, "EPOCHS": 15}
ROWS = [
    held_out("teacher", "teacher", seed=TEACHER_SEEDS[0], EPOCHS=3),
    held_out("student alone without dropout", "alone", DROPOUT=0.0),
    held_out("student alone", "alone"),
    held_out("student alone dropout 0.2", "alone", DROPOUT=0.2),
    held_out("student alone dropout 0.5 averaged", "alone", DROPOUT=0.5, AVERAGED_EPOCHS=2),
    held_out("student alone averaged", "alone", SCHEDULE="constant_with_warmup", AVERAGED_EPOCHS=3),
    held_out("student alone rate 0.002", "alone", LEARNING_RATE=0.002),
    held_out("student alone longer", "alone", **LONGER),
    held_out(
        "headlines BERT alone teaches", teachers="BERT", knowledge="knowledge-headlines-BERT", UNLABELLED=UNLABELLED
    ),
    held_out("headlines out of fold", teachers="BERT", knowledge=OUT_OF_FOLD, UNLABELLED=UNLABELLED),
    held_out("headlines", teachers=BOTH, UNLABELLED=UNLABELLED),
    held_out("headlines dropout 0.1", teachers=BOTH, UNLABELLED=UNLABELLED, DROPOUT=0.1),
    held_out("headlines dropout 0.3", teachers=BOTH, UNLABELLED=UNLABELLED, DROPOUT=0.3),
    held_out("headlines embeddings", teachers=BOTH, UNLABELLED=UNLABELLED, EMBEDDINGS_FROM_TEACHER=True),
    held_out("headlines rate 0.002", teachers=BOTH, UNLABELLED=UNLABELLED, LEARNING_RATE=0.002),
    held_out("headlines hard labels 0.3", teachers=BOTH, UNLABELLED=UNLABELLED, HARD_SHARE=0.3),
    held_out("headlines softened", teachers=BOTH, **SOFTENED),
    held_out("headlines softened embeddings longer", teachers=BOTH, **BEST),
    held_out("best of all", teachers="BERT and 2 students", knowledge="knowledge-best", **BEST),
    held_out(
        "headlines augmentations embeddings",
        teachers=BOTH,
        knowledge="knowledge-all",
        UNLABELLED=UNLABELLED,
        AUGMENTATIONS=5,
        EMBEDDINGS_FROM_TEACHER=True,
    ),
    *(Row("teacher", "teacher", {"EPOCHS": 3}, TEACHER_SEEDS[:1], fold) for fold in FOLDS),
    Row("teacher", "teacher", {}, TEACHER_SEEDS),
    Row("student alone", "alone", {}, SEEDS),
    Row("student alone longer", "alone", LONGER, SEEDS),
    dev("train", {}, "knowledge-train", SEEDS),
    dev("augmentations", {"AUGMENTATIONS": 5}, "knowledge-augmented", SEEDS),
    dev("headlines", {"UNLABELLED": UNLABELLED}, "knowledge-headlines", SEEDS),
    dev("headlines softened", SOFTENED, "knowledge-headlines", SEEDS),
    dev("headlines hard labels 0.3", {"UNLABELLED": UNLABELLED, "HARD_SHARE": 0.3}, "knowledge-headlines"),
    dev("headlines embeddings", {"UNLABELLED": UNLABELLED, "EMBEDDINGS_FROM_TEACHER": True}, "knowledge-headlines"),
    dev("masks", {"AUGMENTATIONS": 5, "P_POS": 0.0, "P_NGRAM": 0.0}, "knowledge-masks"),
    dev("words replaced", {"AUGMENTATIONS": 5, "P_MASK": 0.0, "P_NGRAM": 0.0}, "knowledge-words"),
    dev("n-grams", {"AUGMENTATIONS": 5, "P_MASK": 0.0, "P_POS": 0.0}, "knowledge-n-grams"),
    dev("augmentations n_iter 1", {"AUGMENTATIONS": 1}, "knowledge-augmented-1"),
    dev("augmentations n_iter 10", {"AUGMENTATIONS": 10}, "knowledge-augmented-10"),
    dev("augmentations n_iter 20", {"AUGMENTATIONS": 20}, "knowledge-augmented-20"),
    dev("headlines softened embeddings longer", BEST, "knowledge-3-BERTs", SEEDS, teachers="3 BERTs and 3 students"),
    dev("best of all", BEST, "knowledge-best", SEEDS, teachers="3 BERTs and 6 students"),
    dev("train softened embeddings longer", BEST | {"UNLABELLED": []}, "knowledge-train-BERT", teachers="BERT"),
    dev("article", ARTICLE, "knowledge-train-BERT", teachers="BERT"),
]


@dataclass(frozen=True)
class Run:
    """A line of the CSV file: a row with one seed, or teachers measured together."""

    split: str
    row: str
    seed: int
    accuracy: float  # of the last epoch
    accuracy_new: float  # of the last epoch, on sentences that are not in train
    sentences: int  # that were learnt from
    steps: int
    seconds: float  # of training
    history: str  # the accuracy of each epoch
    teachers: str
    constants: str  # that were set, as JSON
    machine: str
    date: str


def folder(row: Row, seed: int) -> Path:
    """Where a run's checkpoints are, in the folder of its split."""
    return Path(f"{row.name.replace(' ', '-')}-{seed}")


def last_checkpoint(run: Path) -> str:
    """The checkpoint of the last epoch: no choice is made on the sentences that it is measured on."""
    return str(checkpoints(run)[-1][2])


def committee(row: Row) -> tuple[str, str]:
    """What the CSV file calls the teachers of a row, measured together, and who they are."""
    return f"teachers: {row.teachers}", " + ".join(COMMITTEES[row.teachers])


def set_constants(row: Row, seed: int) -> ModuleType:
    """The script of a row with the constants of a run, in the folder of its split."""
    os.chdir(WORK / row.split)
    script = SCRIPTS[row.script]
    own = {"SEED": seed, "OUTPUT": folder(row, seed)}
    if row.teachers:
        own["TEACHERS"] = [last_checkpoint(Path(name)) for name in COMMITTEES[row.teachers]]
        own["KNOWLEDGE"] = Path(row.knowledge)
    for name, value in (DEFAULTS[row.script] | ALIKE[row.script] | row.constants | own).items():
        setattr(script, name, value)
    return script


def prepare(split: str) -> None:
    """Makes the folder of a split, with its data/."""
    directory = WORK / split
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / DATA).exists():
        return
    if split == "dev":
        os.chdir(directory)
        Path("tnews").symlink_to(ROOT / "tnews")
        prepare_data.main()
        return
    whole, size = (WORK / "held-out", 0.5) if split in FOLDS else (WORK / "dev", HELD_OUT)
    os.chdir(whole)
    learnt, rest = load_data()["train"].train_test_split(test_size=size, seed=SPLIT_SEED).values()
    if split == FOLDS[1]:
        learnt, rest = rest, learnt
    with new_directory(directory / DATA) as data:
        DatasetDict({"train": learnt, "valid": rest}).save_to_disk(str(data))
        for name in ("vocab.txt", "label.csv", "char_table.json"):
            shutil.copy(whole / DATA / name, data / name)
        shutil.copytree(whole / DATA / "tokenizer", data / "tokenizer")


def label(row: Row, seed: int) -> None:
    """Makes the knowledge that a row learns from: rows that share it would be in each other's way."""
    set_constants(row, seed)
    data, teachers = load_data(), distill.find_teachers()
    knowledge = distill.make_knowledge(data, teachers, distill.origin_of_knowledge(data, teachers))
    if row.knowledge == OUT_OF_FOLD:
        logits = out_of_fold_logits()
        replaced = knowledge.map(
            lambda line: {"label": logits.get(line["sentence"], line["label"])}, keep_in_memory=True
        )
        with new_directory(distill.KNOWLEDGE) as target:
            replaced.save_to_disk(str(target))
            shutil.copy(distill.KNOWLEDGE / "origin.json", target)


def out_of_fold_logits() -> dict[str, list[float]]:
    """For each sentence of the folds the logits of the teacher that was trained on the other fold."""
    logits: dict[str, list[float]] = {}
    for fold in FOLDS:
        with chdir(WORK / fold):
            teacher = load_teacher(Path(last_checkpoint(Path(BERTS[0]))), load_labels())
            sentences = load_data()["valid"]["sentence"][:]
        logits |= zip(sentences, mean_logits([teacher], sentences, MAX_LENGTH, BATCH_SIZE).tolist(), strict=True)
    return logits


def examine(row: Row, seed: int) -> Run:
    """Measures the teachers of a row together."""
    set_constants(row, seed)
    data = load_data()
    teachers = [load_teacher(teacher, load_labels()) for teacher in distill.find_teachers()]
    logits = mean_logits(teachers, data["valid"]["sentence"][:], MAX_LENGTH, BATCH_SIZE)
    name, members = committee(row)
    return Run(
        split=row.split,
        row=name,
        seed=0,
        sentences=0,
        steps=0,
        seconds=0,
        history="",
        teachers=row.teachers,
        constants=members,
        **measure(logits, data),
    )


def train(row: Row, seed: int) -> Run:
    """Trains a run to its end and measures its last checkpoint."""
    script = set_constants(row, seed)
    script.main()
    data, history = load_data(), read_history(script.OUTPUT)
    model, tokenizer = load_classifier(Path(last_checkpoint(script.OUTPUT)))
    logits = predict_logits(model, tokenizer, data["valid"]["sentence"][:], MAX_LENGTH, BATCH_SIZE)
    sentences = len(load_rows(script.KNOWLEDGE, "") if row.teachers else data["train"])
    epoch = getattr(script, "EPOCH_SENTENCES", 0) or sentences
    return Run(
        split=row.split,
        row=row.name,
        seed=seed,
        sentences=sentences,
        steps=len(history) * -(-epoch // script.BATCH_SIZE),
        seconds=round(sum(float(epoch["seconds"]) for epoch in history)),
        history=" ".join(epoch["valid_accuracy"] for epoch in history),
        teachers=row.teachers,
        constants=as_json(row),
        **measure(logits, data),
    )


def measure(logits: Tensor, data: DatasetDict) -> dict[str, Any]:
    """How right the logits of the split's valid sentences are, and where and when that was found."""
    right = (logits.argmax(1) == torch.tensor(data["valid"]["label"][:])).float()
    about = machine()
    return {
        "accuracy": round(right.mean().item(), 4),
        "accuracy_new": round(right[new_sentences(data)].mean().item(), 4),
        "machine": about["gpu"] or about["processor"],
        "date": about["date"],
    }


def as_json(row: Row) -> str:
    return json.dumps(ALIKE[row.script] | row.constants)


def read_results() -> list[Run]:
    """The runs that are finished, of rows that are still as they were."""
    if not RESULTS.exists():
        return []
    table = pandas.read_csv(RESULTS, keep_default_na=False)
    known = {(row.split, row.name, as_json(row)) for row in ROWS}
    known |= {(row.split, *committee(row)) for row in ROWS if row.teachers}
    runs = [Run(**line) for line in table.to_dict("records")]
    return [run for run in runs if (run.split, run.row, run.constants) in known]


def write_results(runs: list[Run]) -> None:
    """The CSV file, in the order of ROWS."""
    order = {(row.split, row.name): number for number, row in enumerate(ROWS)}
    runs = sorted(runs, key=lambda run: (run.split, order.get((run.split, run.row), -1), run.seed))
    table = pandas.DataFrame([asdict(run) for run in runs], columns=[field.name for field in fields(Run)])
    write_text(RESULTS, table.to_csv(index=False, lineterminator="\n"))


def in_parallel(function: Callable, tasks: list[tuple[Row, int]]) -> Iterator[Any]:
    """What `function` returns for each task, as each is done: WORKERS at a time, or one after the other in here."""
    if WORKERS == 1:
        yield from (function(*task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, context, initializer=quiet_libraries, max_tasks_per_child=1) as pool:
        for future in as_completed([pool.submit(function, *task) for task in tasks]):
            yield future.result()


def first_of(rows: Iterable[Row], name: str) -> list[tuple[Row, int]]:
    """One task for each split and value of the field `name`."""
    chosen = {(row.split, getattr(row, name)): (row, row.seeds[0]) for row in rows if row.teachers}
    return list(chosen.values())


def run_all() -> list[Run]:
    """Trains and measures whatever is not in the CSV file yet; returns all of it, in the order of ROWS."""
    for split in SPLITS:
        prepare(split)
    runs = read_results()

    def keep(new: Iterator[Run]) -> None:
        for run in new:
            runs.append(run)
            write_results(runs)
            print(f"{run.split}, {run.row}, seed {run.seed}: {run.accuracy:.4f} ({run.history})", flush=True)

    done = {(run.split, run.row, run.seed) for run in runs}
    tasks = [(row, seed) for row in ROWS for seed in row.seeds if (row.split, row.name, seed) not in done]
    keep(in_parallel(train, [task for task in tasks if not task[0].teachers]))
    distilled = [task for task in tasks if task[0].teachers]
    for task in first_of((row for row, _ in distilled), "knowledge"):
        label(*task)
    together = first_of(ROWS, "teachers")
    keep(in_parallel(examine, [task for task in together if (task[0].split, committee(task[0])[0], 0) not in done]))
    keep(in_parallel(train, distilled))
    return read_results()


def spread(values: pandas.Series, style: str = ".4f") -> str:
    """The mean, and the standard deviation where there are several."""
    return f"{values.mean():{style}}" + (f" ± {values.std():{style.strip('+')}}" if len(values) > 1 else "")


def table(runs: list[Run], split: str) -> str:
    """A line a row of the split, in Markdown: means over the seeds ± their standard deviation.

    `gain`: how many points better than the student alone with the same seed and as many steps.
    """
    titles = ["", "seeds", "accuracy", "of new sentences", "gain", "sentences", "steps", "seconds", "teachers"]
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    frame = pandas.DataFrame(map(asdict, runs))
    frame = frame[frame["split"] == split].set_index("seed")
    alone = frame[frame["row"].isin(["student alone", "student alone longer"])]
    for name in frame["row"].unique():
        found = frame[frame["row"] == name]
        first = found.iloc[0]
        gain, sizes, teachers = "", ["", "", ""], first.constants
        if first.steps:
            sizes = [f"{first.sentences:,}", f"{first.steps:,}", f"{found['seconds'].mean():,.0f}"]
            teachers = first.teachers
            same_steps = alone[alone["steps"] == first.steps]
            if teachers and not same_steps.empty:
                gain = spread(100 * (found["accuracy"] - same_steps["accuracy"]).dropna(), "+.1f")
        scores = [spread(found["accuracy"]), spread(found["accuracy_new"])]
        cells = [name, str(len(found)), *scores, gain, *sizes, teachers]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    quiet_libraries()
    if WORKERS > 1:
        os.environ["OMP_NUM_THREADS"] = "1"
    with stage(WORK):
        runs = run_all()
    frame = pandas.DataFrame(map(asdict, runs)).query("split == 'dev' and steps > 0")
    draw_ablation(PICTURE, {str(name): list(rows["accuracy"]) for name, rows in frame.groupby("row", sort=False)})
    for split in sorted({run.split for run in runs}):
        print(f"\n{split}\n\n{table(runs, split)}")


if __name__ == "__main__":
    main()
