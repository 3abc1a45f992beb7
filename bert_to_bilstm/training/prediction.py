"""Logits of many sentences."""

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.stages import progress
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.device import make_accelerator

BATCH_SIZE = 256


def predict_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str], batch_size: int = BATCH_SIZE
) -> Tensor:
    """Logits (sentence, class) in fp32 on the CPU, in the order of `sentences`; batches are grouped by length.

    Several processes share the sentences out; each returns all of the logits.
    """
    accelerator = make_accelerator()
    loader = make_loader(
        tokenizer, sentences, torch.arange(len(sentences)), batch_size
    )  # label: the place in the input
    logits = torch.zeros(len(sentences), int(model.config.num_labels or 0), device=accelerator.device)
    model = model.to(accelerator.device).eval()
    with torch.inference_mode(), accelerator.autocast():
        bar = progress(len(sentences), "predicting", "sentences", leave=False, delay=1)
        for batch in loader:
            positions, mine, size = batch.pop("labels"), batch.pop("rows"), batch.pop("batch_size")
            logits[positions[:mine]] = model(**batch).logits[:mine].float()
            bar.update(size)
        bar.close()
    return accelerator.reduce(logits, "sum").cpu()


def predict_probabilities(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str], batch_size: int = BATCH_SIZE
) -> np.ndarray:
    """What `predict_logits` gives, as probabilities (sentence, class)."""
    return predict_logits(model, tokenizer, sentences, batch_size).softmax(1).numpy()
