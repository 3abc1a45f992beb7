"""Logits of many sentences."""

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
        quiet = not accelerator.is_main_process or len(loader) < 2
        for batch in tqdm(loader, desc="predicting", disable=quiet, leave=False):
            positions, mine = batch.pop("labels"), batch.pop("rows")
            batch.pop("batch_size")
            logits[positions[:mine]] = model(**batch).logits[:mine].float()
    return accelerator.reduce(logits, "sum").cpu()
