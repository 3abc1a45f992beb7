"""Logits of many sentences."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.models.bilstm import BiLSTMForSequenceClassification
from bert_to_bilstm.stages import progress
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.device import make_accelerator, within_memory

BATCH_SIZE = 256
BERT_ON_CPU = 64  # what a BERT makes of larger batches does not fit into the caches: they take half as long again


@within_memory(
    "close what else uses it, or lower BATCH_SIZE (in predict_test.py, bert_to_bilstm/training/prediction.py)"
)
def predict_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str], batch_size: int = 0
) -> Tensor:
    """Logits (sentence, class) in fp32 on the CPU, in the order of `sentences`; batches are grouped by length.

    `batch_size`: 0 for what suits the model and the device. Several processes share the sentences out; each returns all
    of the logits. Raises SystemExit where the accelerator's memory is full.
    """
    accelerator = make_accelerator()
    is_student = isinstance(model, BiLSTMForSequenceClassification)
    batch_size = batch_size or (BATCH_SIZE if is_student or accelerator.device.type != "cpu" else BERT_ON_CPU)
    places = torch.arange(len(sentences))  # in the input
    loader = make_loader(tokenizer, sentences, places, batch_size)
    logits = torch.zeros(len(sentences), int(model.config.num_labels or 0), device=accelerator.device)
    model = model.to(accelerator.device).eval()
    bar = progress(len(sentences), "predicting", "sentences", leave=False, delay=1)

    def predict(batch: dict[str, Any]) -> None:
        positions, mine, size = batch.pop("labels"), batch.pop("rows"), batch.pop("batch_size")
        with torch.inference_mode(), accelerator.autocast():
            logits[positions[:mine]] = model(**batch).logits[:mine].float()
        bar.update(size)

    with bar:
        for_each(predict, loader, torch.get_num_threads() if accelerator.device.type == "cpu" else 1)
    return accelerator.reduce(logits, "sum").cpu()


def for_each(function: Callable[[dict[str, Any]], None], loader: DataLoader, threads: int) -> None:
    """Calls `function` with every batch, in so many threads of one core each.

    Threads that share out the batches do not wait for each other, as those do that share out every matrix.
    """
    batches: Iterator[dict[str, Any]] = iter(loader)
    lock = Lock()

    def work() -> None:
        while True:
            with lock:
                batch = next(batches, None)
            if batch is None:
                return
            function(batch)

    threads = min(threads, len(loader))
    if threads <= 1:
        work()
        return
    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for future in [pool.submit(work) for _ in range(threads)]:
                future.result()
        finally:  # where one fails, or Ctrl-C comes, the others stop after their batch
            with lock:
                batches = iter(())
            torch.set_num_threads(before)


def predict_probabilities(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str], batch_size: int = 0
) -> np.ndarray:
    """What `predict_logits` gives, as probabilities (sentence, class)."""
    return predict_logits(model, tokenizer, sentences, batch_size).softmax(1).numpy()
