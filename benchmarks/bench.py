"""Measures our loops against the article's and against transformers' Trainer: `make bench`.

Reads   tnews/, or sample/tnews/ where there is none
Writes  benchmarks/results/{kind of machine}.json, and a table on the screen

    python -m benchmarks.bench        from the root of the repository

Each line has a process of its own, in which both sides work in turn on the same machine, threads, sentences and model
shape, ROUNDS times; the medians are compared. Our training loops find their sentences tokenised, since that is done
once a run; the article's tokenise at every step, which is part of what is measured. Labelling tokenises on both sides.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from itertools import chain, count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

import distill
import finetune_bert
import prepare_data
import train_bilstm
from benchmarks import sides
from benchmarks.measure import compare, in_a_child, in_turn, kind, machine, memory, scaling, share_of_peak, table
from bert_to_bilstm.distillation import labelling
from bert_to_bilstm.files import write_text
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.models.ngrams import train_ngrams
from bert_to_bilstm.outputs.classify import Classifier
from bert_to_bilstm.stages import quiet_libraries
from bert_to_bilstm.text.char_table import builtin_table
from bert_to_bilstm.text.dataset import load_data, load_labels
from bert_to_bilstm.training import batches, device, loop
from bert_to_bilstm.training.prediction import BATCH_SIZE, predict_logits
from bert_to_bilstm.training.run import read_history

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ROUNDS = 3
# A round of a line: ours trains on so many rows, the article's loop so many steps of 16 of them.
STUDENT_ROWS, STUDENT_STEPS = 6400, 60
TEACHERS = {  # and each labels so many
    "BERT-base": {"batch_size": 32, "rows": 256, "steps": 5, "labelled": 1024, "labelled_by_article": 160},
    "tiny BERT": {"batch_size": 64, "rows": 1600, "steps": 40, "labelled": 5120, "labelled_by_article": 1280},
}
CONFIGURATIONS = {
    "BERT-base": {"vocab_size": 21128},  # bert-base-chinese
    "tiny BERT": {  # sample/tiny-bert-chinese
        "vocab_size": 6500,
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    "minute BERT": {  # to label many sentences fast, for memory_of_distilling
        "vocab_size": 6500,
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 128,
    },
}
HALF = 256  # HIDDEN_SIZE of a smaller student
HEADLINES = 30  # classified one by one in a round
STUDENT_HEADLINES, TEACHER_HEADLINES = 10_240, 1024  # classified in large batches in a round
SCALED_ROWS = 3200  # and 2 and 4 times as many
MEMORY_ROWS, MEMORY_EPOCHS = 6400, 6
SHORT = 30  # characters
UNLABELLED_SENTENCES = (100_000, 1_000_000)
TRAIN_ROWS = (50_000, 250_000, 1_000_000)  # that stage 1 prepares and the n-gram model learns
EPOCHS_TO_BEST = 2  # trained for real, on all of the data, until dev accuracy is past ARTICLE_BEST; 0: left out
ARTICLE_BEST, ARTICLE_EPOCHS_TO_BEST = 0.5019, 8  # as published


def target(cpu: float, gpu: float | None) -> float | None:
    """What is to be reached on two CPU cores with AMX, or on one H200."""
    return gpu if torch.cuda.is_available() else cpu


def precision() -> str:
    return "bf16" if device.fast_bf16() else "fp32"


def student_rows(rows: int) -> Dataset:
    return sides.some_rows(rows, train_bilstm.BATCH_SIZE, train_bilstm.BATCH_SIZE * batches.LENGTH_POOL)


def student_training() -> list[dict]:
    rows = student_rows(STUDENT_ROWS)
    ours, other = in_turn(sides.our_student(rows), sides.article_student(rows, STUDENT_STEPS), rounds=ROUNDS)
    return [compare(f"student training, {precision()}", "article", "sentences/s", ours, other, target(8.2, 25))]


def student_training_in_fp32() -> list[dict]:
    """As on hardware without units for bf16."""
    device.fast_bf16 = lambda: False
    [line] = student_training()
    return [line | {"target": target(3.5, None)}]


def training_beside_a_busy_program() -> list[dict]:
    """What is left of the rate where another program keeps one core busy."""
    alone = sides.our_student(student_rows(STUDENT_ROWS))

    def disturbed() -> float:
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
            try:
                return alone()
            finally:
                busy.kill()

    ours, other = in_turn(disturbed, alone, rounds=ROUNDS)
    return [compare("student training beside a busy program", "on its own", "sentences/s", ours, other, 0.67)]


def teacher_training(name: str) -> list[dict]:
    finetune_bert.BATCH_SIZE = TEACHERS[name]["batch_size"]  # as the README has them
    pool = finetune_bert.BATCH_SIZE * batches.LENGTH_POOL
    rows = sides.some_rows(TEACHERS[name]["rows"], finetune_bert.BATCH_SIZE, pool)
    ours, article, trainer = in_turn(
        sides.our_teacher(name, rows),
        sides.article_teacher(name, rows, TEACHERS[name]["steps"]),
        sides.trainer_teacher(name, rows),
        rounds=ROUNDS,
    )
    model, tokenizer = sides.load_teacher(name)
    tokens = sum(map(len, tokenizer(rows["sentence"][:])["input_ids"])) / len(rows)
    share = share_of_peak(model, tokens * statistics.median(ours))
    what = f"fine-tuning {name}, {precision()}"
    return [
        compare(what, "article", "sentences/s", ours, article, target(4, 5), share),
        compare(what, "Trainer", "sentences/s", ours, trainer, target(1.3, 1)),
    ]


def teacher_labelling(name: str) -> list[dict]:
    plain = load_classifier(Path(name), load_labels())
    sentences = sides.some_rows(TEACHERS[name]["labelled"], BATCH_SIZE, labelling.SHARD)["sentence"][:]
    ours, other = in_turn(
        sides.our_labelling(labelling.neural_teacher(Path(name), load_labels()), sentences),
        sides.article_labelling(*plain, sentences[: TEACHERS[name]["labelled_by_article"]]),
        rounds=ROUNDS,
    )
    return [compare(f"labelling with {name}, {precision()}", "article", "sentences/s", ours, other, target(6, 10))]


def inference() -> list[dict]:
    """The student beside BERT-base and the n-gram model, all on the CPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    device.on_cpu = lambda: True  # Apple's GPU, too, is left alone
    student, narrow = sides.load_student(train_bilstm.HIDDEN_SIZE), sides.load_student(HALF)
    teacher = load_classifier(Path("BERT-base"), load_labels())
    sentences = sides.some_rows(STUDENT_HEADLINES, BATCH_SIZE, labelling.SHARD)["sentence"][:]
    fewer = sides.some_rows(TEACHER_HEADLINES, BATCH_SIZE, labelling.SHARD)["sentence"][:]
    headlines, train = sentences[:HEADLINES], load_data()["train"]
    ngrams = train_ngrams(train["sentence"][:], train["label"][:], len(load_labels()))
    ngrams.save(Path("ngrams"))
    times = in_turn(sides.latency_of(*student, headlines), sides.latency_of(*teacher, headlines), rounds=ROUNDS)
    folder, narrow_folder = sides.export(*student), sides.export(*narrow)
    small = in_turn(
        sides.onnx_of(folder, headlines),
        sides.latency_of(*teacher, headlines),
        sides.milliseconds_of(ngrams.predict_logits, headlines),
        sides.onnx_of(narrow_folder, headlines),
        rounds=ROUNDS,
    )
    bits = [
        in_turn(*(sides.onnx_of(folder, some, name, size) for name in ("model.int8.onnx", "model.onnx")), rounds=ROUNDS)
        for some, size in ((headlines, 1), (fewer, 64))
    ]
    starts = in_turn(
        sides.first_answer_of(["classify.py"], folder),
        sides.first_answer_of([ROOT / "predict_test.py", "-"], student_in_model3(folder)),
        rounds=ROUNDS,
    )
    rates = in_turn(
        sides.our_labelling(partial(predict_logits, *student), sentences),
        sides.our_labelling(partial(predict_logits, *teacher), fewer),
        sides.our_labelling(ngrams.predict_logits, sentences),
        sides.our_labelling(partial(predict_logits, *narrow), sentences),
        rounds=ROUNDS,
    )
    sizes = [megabytes(one / "model.int8.onnx") for one in (folder, narrow_folder)]
    ngram_size = megabytes(Path("ngrams"))
    half = f"student of {HALF} units"
    return [
        compare("student on the CPU, one headline", "BERT-base", "ms", times[0], times[1]),
        compare("classify.py, int8, one core, one headline", "BERT-base", "ms", small[0], small[1], 45),
        compare("classify.py, int8, one core, one headline", "fp32", "ms", bits[0][0], bits[0][1]),
        compare("classify.py, int8, one core, batches of 64", "fp32", "ms", bits[1][0], bits[1][1]),
        compare("classify.py, from its start to the first answer", "predict_test.py", "s", starts[0], starts[1]),
        compare(f"student on the CPU, large batches, {precision()}", "BERT-base", "sentences/s", rates[0], rates[1]),
        compare("classify.py, int8, one core, one headline", "n-gram model", "ms", small[0], small[2]),
        compare(f"student on the CPU, large batches, {precision()}", "n-gram model", "sentences/s", rates[0], rates[2]),
        compare("the student's model.int8.onnx", "n-gram model", "MB", [sizes[0]], [ngram_size]),
        compare(f"{half}, classify.py, int8, one core, one headline", "BERT-base", "ms", small[3], small[1], 45),
        compare(f"{half}, large batches, {precision()}", "n-gram model", "sentences/s", rates[3], rates[2]),
        compare(f"{half}, its model.int8.onnx", "n-gram model", "MB", [sizes[1]], [ngram_size]),
    ]


def megabytes(path: Path) -> float:
    """The size of a file, or of all in a folder."""
    return sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file()) / 1e6


def student_in_model3(checkpoint: Path) -> Path:
    """A working directory whose distilled student is that of `checkpoint`."""
    directory = Path("with-model3")
    shutil.copytree(checkpoint, directory / "model3" / "1-0.0000")
    return directory


def time_and_data(source: Path) -> list[dict]:
    """The time of each step from preparation to prediction on 1, 2 and 4 times the data."""
    parts = [student_rows(SCALED_ROWS * times) for times in (1, 2, 4)]
    sizes, sentences = [len(rows) for rows in parts], [rows["sentence"][:] for rows in parts]
    teacher = labelling.neural_teacher(Path("tiny BERT"), load_labels())
    student = partial(predict_logits, *sides.load_student(train_bilstm.HIDDEN_SIZE))
    quarter = len(load_data()["train"]) // 4
    prepared = [quarter, 2 * quarter, 4 * quarter]
    return [
        growth("preparation", prepared, [partial(rate_of_preparation, source, rows) for rows in prepared]),
        growth("student training, an epoch", sizes, [sides.our_student(rows) for rows in parts]),
        growth("labelling with tiny BERT", sizes, [sides.our_labelling(teacher, some) for some in sentences]),
        growth("prediction", sizes, [sides.our_labelling(student, some) for some in sentences]),
    ]


def growth(what: str, sizes: list[int], rates: list[Callable[[], float]]) -> dict:
    """A line of how long so many sentences take; each of `rates` measures how many a second."""
    taken = in_turn(*rates, rounds=ROUNDS)
    seconds = [size / statistics.median(figures) for size, figures in zip(sizes, taken, strict=True)]
    said = f"{sizes[2] / sizes[0]:.3g} times the data takes {seconds[2] / seconds[0]:.3g} times as long"
    return scaling(f"{what}, so many sentences", "s", sizes, seconds, said)


def rate_of_preparation(source: Path, rows: int) -> float:
    """Rows a second of stage 1 on the first rows of train."""
    train = (source / "train.json").read_text(encoding="utf-8").splitlines(True)
    return rows / seconds_of_preparation(source, train[:rows])


def seconds_of_preparation(source: Path, train: Iterable[str]) -> float:
    """Of stage 1, with the lines `train` in its train file; the rest of the data is as it is."""
    with tempfile.TemporaryDirectory() as part:
        shutil.copytree(source, Path(part, "tnews"))
        with open(Path(part, "tnews/train.json"), "w", encoding="utf-8") as file:
            file.writelines(train)
        with chdir(part):
            started = time.perf_counter()
            prepare(Path("tnews"))
            return time.perf_counter() - started


def memory_over_epochs() -> list[dict]:
    """Memory of stage 3, on a part of the data, after each epoch."""
    resident, validate = [], loop.validate

    def validate_and_look(accelerator: Any, model: PreTrainedModel, loader: DataLoader) -> tuple[Tensor, Tensor]:
        resident.append(memory("VmRSS"))
        return validate(accelerator, model, loader)

    few = DatasetDict(train=student_rows(MEMORY_ROWS), valid=load_data()["valid"])
    train_bilstm.load_data, loop.validate = lambda: few, validate_and_look
    train_bilstm.EPOCHS, train_bilstm.OUTPUT = MEMORY_EPOCHS, Path("memory")
    train_bilstm.main()
    said = f"{resident[-1] - resident[0]:+.0f} MB since epoch 1"
    return [scaling("memory of student training after each epoch", "MB", range(1, MEMORY_EPOCHS + 1), resident, said)]


def memory_of_distilling(sentences: int) -> float:
    """The most memory, in MB, that stage 4 takes with so many unlabelled headlines and a short training.

    Long headlines are left out: the few batches of a short training would have them or not, and these take the most.
    """
    data = load_data()
    short = [number for number, sentence in enumerate(data["train"]["sentence"]) if len(sentence) <= SHORT]
    data["train"] = data["train"].select(short)
    distill.load_data, train = lambda: data, data["train"]["sentence"][:]
    text = Path(f"{sentences}.txt")
    with open(text, "w", encoding="utf-8") as file:
        for number, headline in enumerate(islice(cycle(train), sentences)):
            file.write(headline + chr(0x4E00 + number // len(train)) + "\n")  # what stands there twice is left out
    distill.TEACHERS, distill.NGRAM_TEACHER, distill.UNLABELLED = ["minute BERT"], False, [text]
    distill.EPOCHS, distill.EPOCH_SENTENCES = 1, MEMORY_ROWS
    distill.KNOWLEDGE, distill.OUTPUT = Path(f"knowledge-{sentences}"), Path(f"distilled-{sentences}")
    distill.main()
    return memory("VmHWM")


def memory_and_data() -> list[dict]:
    most = [in_a_child(quietly, memory_of_distilling, sentences) for sentences in UNLABELLED_SENTENCES]
    said = f"{most[-1] - most[0]:+.0f} MB; at most 300 wanted"
    return [scaling("most memory of stage 4 with so many unlabelled sentences", "MB", UNLABELLED_SENTENCES, most, said)]


def many_rows(rows: int) -> tuple[list[str], list[int]]:
    """So many headlines, which begin as one of train and end as another, and the labels of their beginnings."""
    train = load_data()["train"]
    sentences, labels = train["sentence"][:], cycle(train["label"][:])
    ends = chain.from_iterable(sentences[number:] + sentences[:number] for number in count())
    new = [f"{start[:10]}{end[10:]}" for start, end in islice(zip(cycle(sentences), ends, strict=False), rows)]
    return new, list(islice(labels, rows))


def prepare_many(source: Path, rows: int) -> tuple[float, float]:
    """Seconds that stage 1 takes for so many train rows, and the most memory, in MB, until then."""
    labels = load_labels()
    train = (
        json.dumps({"sentence": sentence, "label": labels[label]}, ensure_ascii=False) + "\n"
        for sentence, label in zip(*many_rows(rows), strict=True)
    )
    return seconds_of_preparation(source, train), memory("VmHWM")


def learn_ngrams(rows: int) -> tuple[float, float]:
    """Seconds that the n-gram model takes to learn so many rows, and the most memory, in MB, until then."""
    sentences, labels = many_rows(rows)
    started = time.perf_counter()
    train_ngrams(sentences, labels, len(load_labels()))
    return time.perf_counter() - started, memory("VmHWM")


def many_train_rows(what: str, function: Callable, *arguments: object) -> list[dict]:
    """Lines of the time and the memory that `function` takes for TRAIN_ROWS."""
    seconds, most = zip(*(in_a_child(quietly, function, *arguments, rows) for rows in TRAIN_ROWS), strict=True)
    return [
        scaling(f"time of {what}", "s", TRAIN_ROWS, seconds, f"{TRAIN_ROWS[-1] / seconds[-1]:,.0f} rows a second"),
        scaling(f"most memory of {what}", "MB", TRAIN_ROWS, most, f"{most[-1] - most[0]:+,.0f} MB"),
    ]


def seconds_to_the_articles_best(source: Path) -> list[dict]:
    """Stages 1 and 3 for real, on all of the data, against what the article's settings would take at its loop's rate.

    Our validations are counted, the article's are not.
    """
    rates = [sides.article_student(student_rows(STUDENT_ROWS), STUDENT_STEPS)() for _ in range(ROUNDS)]
    started = time.perf_counter()
    prepare(source)
    preparation = time.perf_counter() - started
    train_bilstm.EPOCHS = EPOCHS_TO_BEST
    train_bilstm.main()
    ours = time.perf_counter() - started
    accuracy = max(float(row["valid_accuracy"]) for row in read_history(train_bilstm.OUTPUT))
    if accuracy < ARTICLE_BEST:
        raise SystemExit(f"{EPOCHS_TO_BEST} epochs gave {accuracy}, not {ARTICLE_BEST}: raise EPOCHS_TO_BEST.")
    samples = ARTICLE_EPOCHS_TO_BEST * len(load_data()["train"])
    theirs = [preparation + samples / rate for rate in rates]
    note = f"ours trained once, to {accuracy}; the article's extrapolated: {samples:,} samples at its measured rate"
    valid, best = load_data()["valid"], best_checkpoint(train_bilstm.OUTPUT, "")
    truth = np.array(valid["label"][:])
    accuracies = [
        float((Classifier(best, model=name).probabilities(valid["sentence"][:]).argmax(1) == truth).mean())
        for name in ("model.onnx", "model.int8.onnx")
    ]
    said = f"{100 * (accuracies[1] - accuracies[0]):+.2f} points"
    return [
        compare(f"student alone to {ARTICLE_BEST} on dev", "article", "s", [ours], theirs, target(10, 25), note),
        scaling("its accuracy on dev with weights of so many bits, share of 1", "", (32, 8), accuracies, said),
    ]


def prepare(source: Path) -> None:
    """Stage 1 in the working directory, without HanLP, whose first start is a download of 600 MB."""
    prepare_data.SOURCE, prepare_data.read_char_table = source, builtin_table
    prepare_data.main()


def quietly(function: Callable, *arguments: object) -> Any:
    """Calls it without what the stages print, and without their progress bars."""
    quiet_libraries()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return function(*arguments)


def find_tasks(source: Path) -> list[tuple]:
    """A function and its arguments for each process, in the order of the table, the longest last."""
    return [
        (student_training,),
        (student_training_in_fp32,),
        (training_beside_a_busy_program,),
        *((teacher_training, name) for name in TEACHERS),
        *((teacher_labelling, name) for name in TEACHERS),
        (inference,),
        (time_and_data, source),
        (memory_over_epochs,),
        (memory_and_data,),
        (many_train_rows, "stage 1, preparing so many train rows", prepare_many, source),
        (many_train_rows, "the n-gram model, learning so many rows", learn_ngrams),
        *([(seconds_to_the_articles_best, source)] if EPOCHS_TO_BEST and source.parent == ROOT else []),
    ]


def write_result(lines: list[dict], data: str) -> dict:
    """Writes the JSON file of this kind of machine, and returns what stands in it."""
    result: dict = {"machine": machine(), "data": data, "rounds": ROUNDS, "lines": lines}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    write_text(RESULTS / f"{kind(result['machine'])}.json", text)
    return result


def main() -> None:
    source = next((path for path in (ROOT / "tnews", ROOT / "sample" / "tnews") if path.exists()), None)
    if not source:
        raise SystemExit("tnews/ is missing: python prepare_data.py downloads it.")
    lines: list[dict] = []
    result: dict = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        quietly(prepare, source)
        data = f"{source.relative_to(ROOT)}, {len(load_data()['train']):,} train sentences"
        for name, configuration in CONFIGURATIONS.items():
            sides.write_teacher(name, configuration)
        for function, *arguments in find_tasks(source):
            print(function.__name__, *(getattr(one, "__name__", one) for one in arguments), "…", flush=True)
            lines += in_a_child(quietly, function, *arguments)
            result = write_result(lines, data)
        os.chdir(ROOT)
    print(table(result))


if __name__ == "__main__":
    main()
