"""Logits of many sentences."""

from typing import cast

import torch
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.device import make_accelerator


def predict_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str], max_length: int, batch_size: int
) -> Tensor:
    """Logits (sentence, class) in fp32 on the CPU, in the order of `sentences`; batches are grouped by length."""
    accelerator = make_accelerator()
    rows = Dataset.from_dict({"sentence": sentences, "label": range(len(sentences))})  # label: the place in the input
    loader = accelerator.prepare(make_loader(tokenizer, rows, max_length, batch_size))
    logits = torch.empty(len(sentences), cast(int, model.config.num_labels))
    model = model.to(accelerator.device).eval()
    with torch.inference_mode(), accelerator.autocast():
        quiet = not accelerator.is_main_process or len(loader) < 2
        for batch in tqdm(loader, desc="predicting", disable=quiet, leave=False):
            positions = batch.pop("labels")
            scores, positions = accelerator.gather_for_metrics((model(**batch).logits.float(), positions))
            logits[positions.cpu()] = scores.cpu()
    return logits
