"""Compares what the stages left: the best teacher, student alone and distilled student, side by side.

Reads   data/ and whichever of model1/, model2/, model3/ exist

    python report.py
"""

from functools import partial
from pathlib import Path

import pandas
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from artifacts import best_checkpoint, load_classifier, load_data, load_labels, quiet_libraries
from training import predict_logits

MODELS = {
    "teacher": (Path("model1"), "finetune_bert.py"),
    "student alone": (Path("model2"), "train_bilstm.py"),
    "distilled student": (Path("model3"), "distill.py"),
}
MAX_LENGTH = 128  # tokens
BATCH_SIZE = 256


def compare() -> pandas.DataFrame:
    """A row a model: accuracy and macro-F1 on dev, all of it and the sentences that train does not hold; on train."""
    data, labels = load_data(), load_labels()
    seen = set(data["train"]["sentence"])
    new = torch.tensor([sentence not in seen for sentence in data["valid"]["sentence"]])
    truth = {split: torch.tensor(data[split]["label"][:]) for split in ("valid", "train")}
    accuracy = partial(multiclass_accuracy, num_classes=len(labels), average="micro")
    f1_score = partial(multiclass_f1_score, num_classes=len(labels), average="macro")
    rows = {}
    for name, (directory, stage) in MODELS.items():
        if not directory.is_dir():
            continue
        checkpoint = best_checkpoint(directory, stage)
        model, tokenizer = load_classifier(checkpoint, labels)
        predicted = {
            split: predict_logits(model, tokenizer, data[split]["sentence"][:], MAX_LENGTH, BATCH_SIZE).argmax(1)
            for split in truth
        }
        rows[name] = {
            "checkpoint": str(checkpoint),
            "dev accuracy": accuracy(predicted["valid"], truth["valid"]).item(),
            "dev macro-F1": f1_score(predicted["valid"], truth["valid"]).item(),
            "accuracy, new": accuracy(predicted["valid"][new], truth["valid"][new]).item(),
            "macro-F1, new": f1_score(predicted["valid"][new], truth["valid"][new]).item(),
            "train accuracy": accuracy(predicted["train"], truth["train"]).item(),
        }
    if not rows:
        raise SystemExit("no model1/, model2/ or model3/ here: run python finetune_bert.py first.")
    return pandas.DataFrame.from_dict(rows, orient="index")


def main() -> None:
    quiet_libraries()
    print(compare().to_string(float_format="{:.4f}".format))
    print("new: dev rows whose sentence is not in train")


if __name__ == "__main__":
    main()
