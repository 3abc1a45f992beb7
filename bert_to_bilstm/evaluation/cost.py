"""What a model costs: its size, and its speed on the CPU in fp32, measured on this machine as it is now."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.models.checkpoints import load_classifier
from bert_to_bilstm.stages import counted

SINGLE = 200  # headlines that are classified one by one
BATCHED = 1024  # headlines that are classified in batches
ROUNDS = 3  # times that the batches are measured
BATCH_SIZE = 64


def latency(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentence: str) -> float:
    """Milliseconds from one raw headline to its class."""
    started = time.perf_counter()
    with torch.inference_mode():
        inputs = tokenizer(sentence, truncation=True, return_tensors="pt")
        model(**inputs).logits.argmax().item()
    return 1000 * (time.perf_counter() - started)


def throughput(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str]) -> float:
    """Headlines a second, from raw headlines to classes, in batches grouped by length."""
    started = time.perf_counter()
    by_length = sorted(sentences, key=len)
    with torch.inference_mode():
        for start in range(0, len(by_length), BATCH_SIZE):
            batch = by_length[start : start + BATCH_SIZE]
            inputs = tokenizer(batch, truncation=True, padding=True, return_tensors="pt")
            model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.argmax(1)
    return len(sentences) / (time.perf_counter() - started)


def cost_table(teacher: Path, student: Path, sentences: list[str], labels: dict[int, str]) -> pandas.DataFrame:
    """A row a kind of cost, columns `teacher`, `student`, and `ratio`: how many times smaller or faster the student is.

    Medians; the two models are measured in turns, so that what else the machine does meets both.
    """
    paths = (teacher, student)
    models = [load_classifier(path, labels) for path in paths]
    for loaded in models:
        for sentence in sentences[:10]:  # the first calls are slow
            latency(*loaded, sentence)
    times = [[latency(*loaded, sentence) for loaded in models] for sentence in sentences[:SINGLE]]
    speeds = [[throughput(*loaded, sentences[:BATCHED]) for loaded in models] for _ in range(ROUNDS)]
    parameters = [model.num_parameters() for model, _ in models]
    megabytes = [round((path / "model.safetensors").stat().st_size / 1e6, 1) for path in paths]
    milliseconds = [round(median(column), 2) for column in zip(*times, strict=True)]
    per_second = [round(median(column), 1) for column in zip(*speeds, strict=True)]
    where = f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    smaller: dict[str, Sequence[float]] = {
        "parameters": parameters,
        "MB on disk": megabytes,
        f"ms for one headline ({where})": milliseconds,
    }
    rows: dict[str, list] = {"checkpoint": [*map(str, paths), ""]}
    rows |= {name: [*pair, round(pair[0] / pair[1], 1)] for name, pair in smaller.items()}
    rows[f"headlines a second ({where})"] = [*per_second, round(per_second[1] / per_second[0], 1)]
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=["teacher", "student", "ratio"], dtype=object)
    return table.rename_axis("cost")
