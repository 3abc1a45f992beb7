"""The student without PyTorch: model.onnx, model.int8.onnx of a quarter of its size, and classify.py, which runs it.

ONNX: https://onnx.ai. Weights of 8 bits: Jacob et al. 2018, arXiv 1712.05877; dynamic: the inputs' scale is found as
they come. The card says what is left of the accuracy.
"""

import io
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from bert_to_bilstm.files import write_bytes, write_text
from bert_to_bilstm.models.checkpoints import EXPORTED, best_checkpoint, checkpoints, is_exported, load_classifier
from bert_to_bilstm.outputs import classify
from bert_to_bilstm.stages import is_first_process, wait_until

CARD = """## Without PyTorch

`python classify.py < headlines.txt` in this folder; it needs onnxruntime, tokenizers and numpy, and runs
model.int8.onnx: accuracy on the {count:,} dev sentences **{accuracy:.4f}**.
"""


def export_best(directory: Path, valid: Dataset) -> None:
    """Writes EXPORTED into the best checkpoint of a student's training, if they are not there, and the accuracy of
    model.int8.onnx on `valid` into its card; a training whose checkpoints have been removed has none.
    """
    if checkpoints(directory):
        best = best_checkpoint(directory, "")
        export_onnx(best, valid)
        wait_until(lambda: is_exported(best))  # what the first process does


def export_onnx(checkpoint: Path, valid: Dataset) -> None:
    """What `export_best` does, in a checkpoint directory.

    Both models take `input_ids` and `attention_mask` (batch, length), as the checkpoint's tokenizer gives them, and
    give `logits` (batch, classes) in fp32. The same weights give the same bytes.
    """
    if not is_first_process() or is_exported(checkpoint):
        return
    model, _ = load_classifier(checkpoint)
    content = traced(model)
    write_bytes(checkpoint / "classify.py", Path(classify.__file__).read_bytes())
    write_bytes(checkpoint / "model.onnx", content)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for name in ("config.json", "tokenizer.json"):
            shutil.copy(checkpoint / name, folder)
        (folder / "model.int8.onnx").write_bytes(quantised(content))
        rows = classify.Classifier(folder, torch.get_num_threads()).probabilities(valid["sentence"][:])
        accuracy = float((rows.argmax(1) == np.array(valid["label"][:])).mean())
        card = (checkpoint / "README.md").read_text(encoding="utf-8").partition(CARD.partition("\n")[0])[0]
        write_text(checkpoint / "README.md", card + CARD.format(count=len(valid), accuracy=accuracy))
        # Last: with it everything is there.
        write_bytes(checkpoint / "model.int8.onnx", (folder / "model.int8.onnx").read_bytes())
    size = sum((checkpoint / name).stat().st_size for name in EXPORTED)
    print(f"{checkpoint}/: {', '.join(EXPORTED)}, for use without PyTorch, {size / 1e6:,.0f} MB more.")


def traced(model: PreTrainedModel) -> bytes:
    """model.onnx."""
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
    return content.getvalue()


def quantised(content: bytes) -> bytes:
    """model.int8.onnx, of model.onnx."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # after classify.py has silenced it

    with tempfile.TemporaryDirectory() as directory:
        whole, small = Path(directory, "model.onnx"), Path(directory, "model.int8.onnx")
        whole.write_bytes(content)
        logging.disable(logging.WARNING)  # one for each tensor of another type than float, which stays as it is
        try:
            quantize_dynamic(whole, small, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)
        return small.read_bytes()
