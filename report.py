"""Compares what the stages left: the best teacher, student alone and distilled student, side by side.

Reads   data/ and whichever of model1/, model2/, model3/ exist
Writes  report/: comparison.csv and comparison.png (dev accuracy by epoch), per_class.csv (precision, recall, F1),
        confusion_matrix.png and errors.csv (of the distilled student, or else of the best model), and cost.csv
        if COST is set

    python report.py
"""

from bert_to_bilstm.command_line import begin

if __name__ == "__main__":
    begin("Report: the models side by side")

from pathlib import Path

import torch
from datasets import DatasetDict
from torch import Tensor

from bert_to_bilstm.distillation.labelling import NGRAMS
from bert_to_bilstm.evaluation.comparison import accuracy_by_epoch, compare, confusion_matrix, errors, per_class
from bert_to_bilstm.evaluation.cost import cost_table
from bert_to_bilstm.files import read_json, refuse_in_the_way
from bert_to_bilstm.models.checkpoints import load_classifier
from bert_to_bilstm.models.ngrams import NgramClassifier, load_ngrams, train_ngrams
from bert_to_bilstm.outputs.plots import draw_comparison, draw_confusion_matrix
from bert_to_bilstm.outputs.spreadsheet import write_table
from bert_to_bilstm.settings import settings_of
from bert_to_bilstm.stages import is_first_process, stage
from bert_to_bilstm.text.dataset import digests, load_data, load_descriptions, load_labels
from bert_to_bilstm.training.prediction import predict_logits
from bert_to_bilstm.training.run import trained_checkpoint

MODELS = {
    "teacher": (Path("model1"), "finetune_bert.py"),
    "student alone": (Path("model2"), "train_bilstm.py"),
    "distilled student": (Path("model3"), "distill.py"),
}
BATCH_SIZE = 256
COST = False  # whether to measure what teacher and distilled student cost: size, speed on the CPU (minutes)
KNOWLEDGE = Path("knowledge")  # of stage 4
OUTPUT = Path("report")
WRITTEN = ("comparison.csv", "comparison.png", "per_class.csv", "confusion_matrix.png", "errors.csv", "cost.csv")


def find_checkpoints(data: DatasetDict) -> dict[str, Path]:
    """The best checkpoint of each model that has been trained; they must be of `data`."""
    expected = digests(data)
    found = {
        name: trained_checkpoint(directory, script, expected)
        for name, (directory, script) in MODELS.items()
        if directory.is_dir()
    }
    if not found:
        raise SystemExit("no model1/, model2/ or model3/ here: run python finetune_bert.py first.")
    return found


def find_ngrams(data: DatasetDict) -> NgramClassifier | None:
    """The n-gram model in KNOWLEDGE, if it is there and was trained on `data`."""
    origin = read_json(KNOWLEDGE / "origin.json")
    if not isinstance(origin, dict) or origin.get("data") != digests(data)["data"] or not origin.get("ngrams"):
        return None
    return load_ngrams(KNOWLEDGE / NGRAMS)


def predict(checkpoints: dict[str, Path], data: DatasetDict, labels: dict[int, str]) -> dict[str, dict[str, Tensor]]:
    """Model → split (valid, train) → logits (sentence, class): all that the report knows of the models.

    The first two are what a model has to beat: always the most frequent class, and a linear model of n-grams, that of
    stage 4 or, before that, one trained here, which takes seconds.
    """
    train = data["train"]
    frequencies = torch.tensor(train["label"][:]).bincount(minlength=len(labels)).float()
    ngrams = find_ngrams(data) or train_ngrams(train["sentence"][:], train["label"][:], len(labels))
    logits = {
        "most frequent class": {split: frequencies.expand(len(data[split]), -1) for split in ("valid", "train")},
        "n-gram model": {split: ngrams.predict_logits(data[split]["sentence"][:]) for split in ("valid", "train")},
    }
    for name, checkpoint in checkpoints.items():
        model, tokenizer = load_classifier(checkpoint, labels)
        logits[name] = {
            split: predict_logits(model, tokenizer, data[split]["sentence"][:], BATCH_SIZE)
            for split in ("valid", "train")
        }
    return logits


def compare_models() -> None:
    data, labels, descriptions = load_data(), load_labels(), load_descriptions()
    checkpoints = find_checkpoints(data)
    refuse_in_the_way([OUTPUT / name for name in WRITTEN], [OUTPUT])
    logits = predict(checkpoints, data, labels)
    if not is_first_process():
        return
    table = compare(checkpoints, logits, data, len(labels))
    print(table.to_string(float_format="{:.4f}".format))
    print("new: dev rows whose sentence is not in train")
    best = table.loc[list(checkpoints), "dev accuracy"].idxmax()
    shown = "distilled student" if "distilled student" in checkpoints else best
    truth = torch.tensor(data["valid"]["label"][:])
    matrix = confusion_matrix(logits[shown]["valid"], truth, labels, descriptions)
    by_epoch = accuracy_by_epoch(checkpoints)
    by_epoch.insert(0, "n-gram model", table.loc["n-gram model", "dev accuracy"])
    write_table(OUTPUT / "comparison.csv", by_epoch)
    draw_comparison(OUTPUT / "comparison.png", by_epoch)
    write_table(
        OUTPUT / "per_class.csv", per_class({name: logits[name] for name in by_epoch}, truth, labels, descriptions)
    )
    draw_confusion_matrix(OUTPUT / "confusion_matrix.png", matrix, f"{shown}, {checkpoints[shown]}")
    write_table(OUTPUT / "errors.csv", errors(shown, logits, data, labels, descriptions))
    if COST:
        if not {"teacher", "distilled student"} <= set(checkpoints):
            print("the costs need model1/ and model3/: left out.")
        else:
            sentences = data["valid"]["sentence"][:]
            costs = cost_table(checkpoints["teacher"], checkpoints["distilled student"], sentences, labels)
            print(f"\n{costs.to_string()}\n")
            write_table(OUTPUT / "cost.csv", costs)
    print(f"{OUTPUT}/: {', '.join(sorted(path.name for path in OUTPUT.iterdir()))}")


def main() -> None:
    settings_of(globals())
    with stage(OUTPUT):
        compare_models()


if __name__ == "__main__":
    main()
