"""Classifies headlines with the student in this folder. Needs onnxruntime, tokenizers and numpy, and no PyTorch.

python classify.py < headlines.txt          # a headline a line → label, description, confidence, by tabs

from classify import Classifier
Classifier("model3/best")(["Ａ股大漲，NBA開賽"])     # [("114", "news_stock", 0.57)]
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: it would write about this machine into the home

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

BATCH_SIZE = 64


class Classifier:
    """The student in `directory`; `threads`: cores that a batch may use; `model`: or "model.onnx", in fp32."""

    def __init__(self, directory: str | Path, threads: int = 1, model: str = "model.int8.onnx") -> None:
        directory = Path(directory)
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        self.labels = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
        self.descriptions = [config["label_descriptions"].get(label, "") for label in self.labels]
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.enable_padding(pad_id=config["pad_token_id"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        path = str(directory / model)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def probabilities(self, texts: list[str]) -> np.ndarray:
        """The probability of every class: (text, class), classes in the order of `labels`."""
        result = np.empty((len(texts), len(self.labels)), np.float32)
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))  # batches of nearly one length
        for start in range(0, len(texts), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            encoded = self.tokenizer.encode_batch([texts[number] for number in batch])
            inputs = {
                "input_ids": np.array([text.ids for text in encoded], np.int64),
                "attention_mask": np.array([text.attention_mask for text in encoded], np.int64),
            }
            (logits,) = self.session.run(["logits"], inputs)
            powers = np.exp(logits - logits.max(1, keepdims=True))
            result[batch] = powers / powers.sum(1, keepdims=True)
        return result

    def __call__(self, texts: list[str]) -> list[tuple[str, str, float]]:
        """Label, description and confidence of each text."""
        rows = self.probabilities(texts)
        best = [int(row.argmax()) for row in rows]
        return [(self.labels[b], self.descriptions[b], float(row[b])) for b, row in zip(best, rows, strict=True)]


def lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Those of `stream`, or a sentence where they cannot be read."""
    try:
        yield from stream
    except OSError as error:
        sys.exit(f"standard input cannot be read ({error.strerror}): give it a file.")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit("it reads lines from standard input: python classify.py < headlines.txt")
    if sys.stdin is None or sys.stdout is None:  # closed by whoever started this
        sys.exit("standard input or output is closed: python classify.py < headlines.txt gives lines.")
    classify = Classifier(Path(__file__).resolve().parent)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    number = 0
    try:
        for number, line in enumerate(lines(sys.stdin.buffer), start=1):  # each is answered at once
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            ((label, description, confidence),) = classify([text])
            print(*((label, description, f"{confidence:.4f}") if text else ("", "", "")), sep="\t", flush=True)
    except UnicodeDecodeError:
        sys.exit(f"standard input, line {number}: not UTF-8: convert the text to UTF-8 first.")
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush, at exit
        if not isinstance(error, BrokenPipeError):  # there the reader has seen enough, as head has
            sys.exit(f"standard output cannot be written ({error.strerror}).")
    except KeyboardInterrupt:
        sys.exit(1)
