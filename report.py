"""Compares what the stages left: the best teacher, student alone and distilled student, side by side.

Reads   data/ and whichever of model1/, model2/, model3/ exist
Writes  report/: comparison.csv and comparison.png (dev accuracy by epoch), per_class.csv (precision, recall, F1),
        confusion_matrix.png and errors.csv (of the distilled student, or else of the best model), and price_list.csv
        if PRICE_LIST is set

    python report.py
"""

from math import nan
from pathlib import Path

import pandas
import torch
from datasets import DatasetDict
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from artifacts import (
    best_checkpoint,
    load_classifier,
    load_data,
    load_descriptions,
    load_labels,
    refuse_in_the_way,
    write_text,
)
from pictures import draw_comparison, draw_confusion_matrix, drawable
from price_list import price_list
from running import stage
from training import predict_logits, read_history

MODELS = {
    "teacher": (Path("model1"), "finetune_bert.py"),
    "student alone": (Path("model2"), "train_bilstm.py"),
    "distilled student": (Path("model3"), "distill.py"),
}
MAX_LENGTH = 128  # tokens
BATCH_SIZE = 256
PRICE_LIST = False  # whether to measure what teacher and distilled student cost: size, speed on the CPU (minutes)
OUTPUT = Path("report")
WRITTEN = ("comparison.csv", "comparison.png", "per_class.csv", "confusion_matrix.png", "errors.csv", "price_list.csv")


def find_checkpoints() -> dict[str, Path]:
    """The best checkpoint of each model that has been trained."""
    found = {
        name: best_checkpoint(directory, stage) for name, (directory, stage) in MODELS.items() if directory.is_dir()
    }
    if not found:
        raise SystemExit("no model1/, model2/ or model3/ here: run python finetune_bert.py first.")
    return found


def predict(checkpoints: dict[str, Path], data: DatasetDict, labels: dict[int, str]) -> dict[str, dict[str, Tensor]]:
    """Model → split (valid, train) → logits (sentence, class): all that the report knows of the models."""
    logits = {}
    for name, checkpoint in checkpoints.items():
        model, tokenizer = load_classifier(checkpoint, labels)
        logits[name] = {
            split: predict_logits(model, tokenizer, data[split]["sentence"][:], MAX_LENGTH, BATCH_SIZE)
            for split in ("valid", "train")
        }
    return logits


def new_sentences(data: DatasetDict) -> Tensor:
    """Which sentences of dev are not in train: a truth value for each."""
    seen = set(data["train"]["sentence"])
    return torch.tensor([sentence not in seen for sentence in data["valid"]["sentence"]])


def compare(
    checkpoints: dict[str, Path], logits: dict[str, dict[str, Tensor]], data: DatasetDict, classes: int
) -> pandas.DataFrame:
    """A row a model: accuracy and macro-F1 on dev, all of it and the sentences that train does not hold; on train."""
    new = new_sentences(data)
    truth = {split: torch.tensor(data[split]["label"][:]) for split in ("valid", "train")}

    def accuracy(predicted: Tensor, truth: Tensor) -> float:
        return multiclass_accuracy(predicted, truth, num_classes=classes, average="micro").item() if len(truth) else nan

    def macro_f1(predicted: Tensor, truth: Tensor) -> float:
        return multiclass_f1_score(predicted, truth, num_classes=classes, average="macro").item() if len(truth) else nan

    rows = {}
    for name, checkpoint in checkpoints.items():
        predicted = {split: logits[name][split].argmax(1) for split in truth}
        rows[name] = {
            "checkpoint": str(checkpoint),
            "dev accuracy": accuracy(predicted["valid"], truth["valid"]),
            "dev macro-F1": macro_f1(predicted["valid"], truth["valid"]),
            "accuracy, new": accuracy(predicted["valid"][new], truth["valid"][new]),
            "macro-F1, new": macro_f1(predicted["valid"][new], truth["valid"][new]),
            "train accuracy": accuracy(predicted["train"], truth["train"]),
        }
    return pandas.DataFrame.from_dict(rows, orient="index")


def accuracy_by_epoch(checkpoints: dict[str, Path]) -> pandas.DataFrame:
    """A row an epoch, a column a model: the dev accuracies of the history.csv files. Not all have as many epochs."""
    columns = {}
    for name, checkpoint in checkpoints.items():
        accuracies = {int(row["epoch"]): float(row["valid_accuracy"]) for row in read_history(checkpoint.parent)}
        if not accuracies:  # a checkpoint that was brought here alone
            epoch, accuracy = checkpoint.name.split("-")
            accuracies = {int(epoch): float(accuracy)}
        columns[name] = pandas.Series(accuracies)
    return pandas.DataFrame(columns).rename_axis("epoch")


def per_class(
    logits: dict[str, dict[str, Tensor]], truth: Tensor, labels: dict[int, str], descriptions: dict[str, str]
) -> pandas.DataFrame:
    """A row a model and class: precision, recall and F1 on dev, and `support`, the sentences of the class in dev."""
    functions = {"precision": multiclass_precision, "recall": multiclass_recall, "f1": multiclass_f1_score}
    classes = pandas.DataFrame({"label": labels.values()})
    classes["label_desc"] = classes["label"].map(descriptions)
    tables = []
    for name, splits in logits.items():
        scores = {
            score: function(splits["valid"], truth, num_classes=len(labels), average="none").numpy()
            for score, function in functions.items()
        }
        support = truth.bincount(minlength=len(labels)).numpy()
        tables.append(classes.assign(**scores, support=support).assign(model=name))
    return pandas.concat(tables).set_index("model")


def confusion_matrix(
    logits: Tensor, truth: Tensor, labels: dict[int, str], descriptions: dict[str, str]
) -> pandas.DataFrame:
    """The share of each true class (row) that is taken for each class (column), by what the classes are called."""
    counts = multiclass_confusion_matrix(logits, truth, num_classes=len(labels))
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)  # dev may lack a class
    names = [
        # a description, or else a label, that the font can write
        next(name for name in (descriptions[label], label, str(number)) if name and drawable(name))
        for number, label in labels.items()
    ]
    return pandas.DataFrame(shares.numpy(), index=names, columns=names)


def errors(
    name: str, logits: dict[str, dict[str, Tensor]], data: DatasetDict, labels: dict[int, str]
) -> pandas.DataFrame:
    """The dev rows that model `name` gets wrong, those first of which it is surest; beside its answers the teacher's.

    `row` counts the rows of dev from 1, as the lines of dev.json.
    """
    truth = torch.tensor(data["valid"]["label"][:])
    table = pandas.DataFrame({"row": range(1, len(truth) + 1), "sentence": data["valid"]["sentence"][:]})
    table = table.set_index("row")
    table["label"] = [labels[number] for number in truth.tolist()]
    for model in dict.fromkeys(["teacher", name]):
        if model in logits:
            confidence, predicted = logits[model]["valid"].softmax(1).max(1)
            table[model] = [labels[number] for number in predicted.tolist()]
            table[f"{model} confidence"] = confidence.numpy()
    wrong = table[table[name] != table["label"]]
    return wrong.sort_values(f"{name} confidence", ascending=False, kind="stable")


def write_csv(name: str, table: pandas.DataFrame) -> None:
    """Writes `table` to `report/{name}`; the mark at its start tells Excel that it is UTF-8."""
    write_text(OUTPUT / name, "\ufeff" + table.to_csv(float_format="%.4f", lineterminator="\n"))


def compare_models() -> None:
    data, labels, descriptions = load_data(), load_labels(), load_descriptions()
    checkpoints = find_checkpoints()
    by_epoch = accuracy_by_epoch(checkpoints)
    refuse_in_the_way([OUTPUT / name for name in WRITTEN], [OUTPUT])
    logits = predict(checkpoints, data, labels)
    table = compare(checkpoints, logits, data, len(labels))
    print(table.to_string(float_format="{:.4f}".format))
    print("new: dev rows whose sentence is not in train")
    shown = "distilled student" if "distilled student" in checkpoints else table["dev accuracy"].idxmax()
    truth = torch.tensor(data["valid"]["label"][:])
    matrix = confusion_matrix(logits[shown]["valid"], truth, labels, descriptions)
    write_csv("comparison.csv", by_epoch)
    draw_comparison(OUTPUT / "comparison.png", by_epoch)
    write_csv("per_class.csv", per_class(logits, truth, labels, descriptions))
    draw_confusion_matrix(OUTPUT / "confusion_matrix.png", matrix, f"{shown}, {checkpoints[shown]}")
    write_csv("errors.csv", errors(shown, logits, data, labels))
    if PRICE_LIST:
        if not {"teacher", "distilled student"} <= set(checkpoints):
            print("the price list needs model1/ and model3/: left out.")
        else:
            sentences = data["valid"]["sentence"][:]
            prices = price_list(checkpoints["teacher"], checkpoints["distilled student"], sentences, labels)
            print(f"\n{prices.to_string()}\n")
            write_csv("price_list.csv", prices)
    print(f"{OUTPUT}/: {', '.join(sorted(path.name for path in OUTPUT.iterdir()))}")


def main() -> None:
    with stage(OUTPUT):
        compare_models()


if __name__ == "__main__":
    main()
