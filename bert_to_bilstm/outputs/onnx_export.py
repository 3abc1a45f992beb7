"""The student as model.onnx, for onnxruntime: on the CPU, one headline at a time, faster than with PyTorch.

ONNX: https://onnx.ai
"""

import io
import warnings
from pathlib import Path
from typing import Any, cast

import torch

from bert_to_bilstm.files import write_bytes
from bert_to_bilstm.models.checkpoints import load_classifier
from bert_to_bilstm.stages import is_first_process


def export_onnx(checkpoint: Path) -> None:
    """Writes model.onnx into a student's checkpoint directory, if it is not there.

    It takes `input_ids` and `attention_mask` (batch, length), as the checkpoint's tokenizer gives them, and gives
    `logits` (batch, classes) in fp32. The same weights give the same bytes.
    """
    if not is_first_process() or (checkpoint / "model.onnx").exists():
        return
    model, _ = load_classifier(checkpoint)
    input_ids, attention_mask = torch.ones(2, 2, 3, dtype=torch.long)  # any batch does
    content = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter (dynamo) takes the length of an LSTM's input for a constant; of the older, torch warns.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (input_ids, attention_mask),
            cast(Any, content),  # which the annotation leaves out
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={
                "input_ids": {0: "batch", 1: "length"},
                "attention_mask": {0: "batch", 1: "length"},
                "logits": {0: "batch"},
            },
            dynamo=False,
        )
    write_bytes(checkpoint / "model.onnx", content.getvalue())
