"""The sides that `bench.py` compares: each function makes one, a callable that works for a round and returns its rate.

Rates are in sentences a second. The working directory is one in which `bench.py` has prepared `data/` and the teachers.
Ours keep freed memory, as everything that imports `bert_to_bilstm` does; the others give it back, as they do elsewhere.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    get_scheduler,
)

import finetune_bert
import train_bilstm
from benchmarks import article
from bert_to_bilstm.distillation.labelling import Teacher
from bert_to_bilstm.evaluation.cost import latency
from bert_to_bilstm.memory import (
    M_ARENA_MAX,
    M_MMAP_MAX,
    M_TRIM_THRESHOLD,
    c_library,
    keep_freed_memory,
    release_memory,
)
from bert_to_bilstm.models.bilstm import new_student
from bert_to_bilstm.models.checkpoints import load_tokenizer
from bert_to_bilstm.models.pretrained import load_pretrained
from bert_to_bilstm.outputs import classify
from bert_to_bilstm.outputs.onnx_export import quantised, traced
from bert_to_bilstm.text.dataset import STUDENT_TOKENIZER, load_char_table, load_data, load_descriptions, load_labels
from bert_to_bilstm.training import device
from bert_to_bilstm.training.batches import LengthGroupedBatches, make_loader
from bert_to_bilstm.training.device import make_accelerator
from bert_to_bilstm.training.loop import train_epoch

SEED = 42
M_MMAP_THRESHOLD = -3  # as malloc.h has it


def some_rows(rows: int, batch_size: int, out_of: int) -> Dataset:
    """`rows` train rows, in random order, whose batches are padded about as those of all the data are.

    That is, every n-th batch of `out_of` rows, which are what is sorted by length together when all the data is
    batched: `rows` drawn at random would differ more in length.
    """
    generator, train = numpy.random.default_rng(SEED), load_data()["train"]
    train = Dataset.from_dict(train[generator.permutation(len(train))[: max(rows, out_of)]])  # in memory
    by_length = numpy.argsort([len(sentence) for sentence in train["sentence"]], kind="stable")
    batches = [by_length[start : start + batch_size] for start in range(0, len(train), batch_size)]
    wanted = min(max(1, rows // batch_size), len(batches))
    places = (numpy.arange(wanted) + 0.5) * len(batches) / wanted
    chosen = numpy.concatenate([batches[int(place)] for place in places])
    return Dataset.from_dict(train[generator.permutation(chosen)])


def give_back_freed_memory() -> None:
    """Undoes `keep_freed_memory`: glibc does again as in any program that has freed a large tensor."""
    release_memory()
    if library := c_library():
        library.mallopt(M_ARENA_MAX, 0)
        library.mallopt(M_MMAP_MAX, 65_536)
        library.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the most to which it rises by itself, and twice as much
        library.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)


def write_teacher(name: str, configuration: dict[str, Any]) -> None:
    """Makes the checkpoint directory `name`, a BERT with random weights: speed does not depend on them."""
    labels = load_labels()
    numbers = {label: number for number, label in labels.items()}
    config = BertConfig(**configuration, id2label=labels, label2id=numbers)
    BertForSequenceClassification(config).save_pretrained(name)
    vocabulary = Path("data/vocab.txt").read_text(encoding="utf-8").splitlines()[: config.vocab_size]
    BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)}).save_pretrained(name)


def load_student(hidden_size: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A new one, as stage 3 makes it, in eval mode."""
    tokenizer = load_tokenizer(STUDENT_TOKENIZER)
    return new_student(tokenizer, load_labels(), load_descriptions(), hidden_size=hidden_size).eval(), tokenizer


def load_teacher(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As stage 2 loads it."""
    return load_pretrained(
        name,
        load_labels(),
        load_descriptions(),
        load_char_table().normalizer(),
        finetune_bert.MAX_LENGTH,
        device.fast_bf16(),
    )


def epochs_of_ours(
    model: PreTrainedModel, loader: DataLoader, learning_rate: float, max_grad_norm: float = 0.0
) -> Callable[[], float]:
    """Our loop: a round is one more epoch over `loader`."""
    accelerator = make_accelerator()
    batches = loader.batch_sampler
    assert isinstance(batches, LengthGroupedBatches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
    schedule = get_scheduler("constant", optimizer)
    model, optimizer = accelerator.prepare(model, optimizer)
    loss = partial(cross_entropy, reduction="none")
    epochs = count(1)

    def measure() -> float:
        keep_freed_memory()
        batches.epoch = next(epochs)
        started = time.perf_counter()
        train_epoch(accelerator, model, loader, optimizer, schedule, loss, max_grad_norm, tqdm(disable=True))
        return batches.epoch_size / (time.perf_counter() - started)

    return measure


def steps_of_the_articles(loop: Iterator[float], steps: int) -> Callable[[], float]:
    """One of the article's training loops: a round is so many steps more."""

    def measure() -> float:
        give_back_freed_memory()
        started = time.perf_counter()
        for _ in islice(loop, steps):
            pass
        return steps * article.BATCH_SIZE / (time.perf_counter() - started)

    return measure


def our_student(rows: Dataset) -> Callable[[], float]:
    tokenizer = load_tokenizer(STUDENT_TOKENIZER)
    loader = make_loader(tokenizer, rows["sentence"], rows["label"], train_bilstm.BATCH_SIZE, SEED)
    return epochs_of_ours(
        new_student(tokenizer, load_labels(), load_descriptions(), hidden_size=train_bilstm.HIDDEN_SIZE),
        loader,
        train_bilstm.LEARNING_RATE,
    )


def article_student(rows: Dataset, steps: int) -> Callable[[], float]:
    tokenizer = load_tokenizer(STUDENT_TOKENIZER)
    model = article.Student(len(tokenizer), len(load_labels()))
    return steps_of_the_articles(article.train_student(model, tokenizer, rows, make_accelerator().device), steps)


def our_teacher(name: str, rows: Dataset) -> Callable[[], float]:
    model, tokenizer = load_teacher(name)
    loader = make_loader(tokenizer, rows["sentence"], rows["label"], finetune_bert.BATCH_SIZE, SEED)
    return epochs_of_ours(model, loader, finetune_bert.LEARNING_RATE, finetune_bert.MAX_GRAD_NORM)


def article_teacher(name: str, rows: Dataset, steps: int) -> Callable[[], float]:
    model, tokenizer = BertForSequenceClassification.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    return steps_of_the_articles(article.train_teacher(model, tokenizer, rows, make_accelerator().device), steps)


def trainer_teacher(name: str, rows: Dataset) -> Callable[[], float]:
    """transformers' Trainer and layers with our attention, batch size, precision, optimizer and length grouping: an
    epoch a round.
    """
    ours, tokenizer = load_teacher(name)
    attention = ours.config._attn_implementation
    model = BertForSequenceClassification.from_pretrained(name, attn_implementation=attention)
    encoded = rows.map(
        lambda batch: tokenizer(batch["sentence"], truncation=True, max_length=finetune_bert.MAX_LENGTH),
        batched=True,
        remove_columns=["sentence"],
    )
    trainer = Trainer(
        model,
        TrainingArguments(
            "trainer",
            per_device_train_batch_size=finetune_bert.BATCH_SIZE,
            num_train_epochs=1,
            learning_rate=finetune_bert.LEARNING_RATE,
            lr_scheduler_type="constant",
            max_grad_norm=finetune_bert.MAX_GRAD_NORM,
            bf16=device.fast_bf16(),
            train_sampling_strategy="group_by_length",
            use_cpu=make_accelerator().device.type == "cpu",
            dataloader_pin_memory=torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=encoded.add_column("length", [len(ids) for ids in encoded["input_ids"]]),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer.remove_callback(PrinterCallback)

    def measure() -> float:
        give_back_freed_memory()
        return trainer.train().metrics["train_samples_per_second"]

    return measure


def our_labelling(teacher: Teacher, sentences: list[str]) -> Callable[[], float]:
    def measure() -> float:
        keep_freed_memory()
        return rate_of(lambda: teacher(sentences))

    return measure


def article_labelling(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str]
) -> Callable[[], float]:
    device = make_accelerator().device

    def measure() -> float:
        give_back_freed_memory()
        return rate_of(lambda: torch.cat(list(article.label(model, tokenizer, sentences, device))))

    return measure


def rate_of(predict: Callable[[], torch.Tensor]) -> float:
    started = time.perf_counter()
    logits = predict()
    return len(logits) / (time.perf_counter() - started)


def latency_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str]) -> Callable[[], float]:
    """One sentence after the other, in fp32; milliseconds a sentence."""
    return lambda: fmean(latency(model, tokenizer, sentence) for sentence in sentences)


def milliseconds_of(
    predict: Callable[[list[str]], object], sentences: list[str], batch: int = 1
) -> Callable[[], float]:
    """The sentences in batches of so many; milliseconds a sentence."""

    def measure() -> float:
        started = time.perf_counter()
        for start in range(0, len(sentences), batch):
            predict(sentences[start : start + batch])
        return (time.perf_counter() - started) / len(sentences) * 1000

    return measure


def export(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
    """A folder with what the best student's checkpoint has."""
    folder = Path(f"exported-{model.config.hidden_size}")
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    content = traced(model)
    (folder / "model.onnx").write_bytes(content)
    (folder / "model.int8.onnx").write_bytes(quantised(content))
    shutil.copy(classify.__file__, folder)
    return folder


def onnx_of(folder: Path, sentences: list[str], name: str = "model.int8.onnx", batch: int = 1) -> Callable[[], float]:
    """As `milliseconds_of`, by onnxruntime on one core."""
    return milliseconds_of(classify.Classifier(folder, model=name).probabilities, sentences, batch)


def first_answer_of(command: Sequence[str | Path], folder: Path) -> Callable[[], float]:
    """Seconds from the start of a process that reads lines to its first answer."""

    def measure() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], input=b"5G\n", cwd=folder, capture_output=True, check=True)
        return time.perf_counter() - started

    return measure
