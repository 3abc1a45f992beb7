"""The tables of the report: models side by side, by class, and where they are wrong."""

from math import nan
from pathlib import Path

import pandas
import torch
from datasets import DatasetDict
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from bert_to_bilstm.training.run import read_history

BINS = 10  # of confidence


def new_sentences(data: DatasetDict) -> Tensor:
    """Which sentences of dev are not in train: a truth value for each."""
    seen = set(data["train"]["sentence"])
    return torch.tensor([sentence not in seen for sentence in data["valid"]["sentence"]])


def compare(
    checkpoints: dict[str, Path],
    parameters: dict[str, int],
    logits: dict[str, dict[str, Tensor]],
    data: DatasetDict,
    classes: int,
) -> pandas.DataFrame:
    """A row a model: accuracy and macro-F1 on dev, all of it and the sentences that train does not hold; on train; how
    many `parameters` it has, as text.
    """
    new = new_sentences(data)
    truth = {split: torch.tensor(data[split]["label"][:]) for split in ("valid", "train")}

    def accuracy(predicted: Tensor, truth: Tensor) -> float:
        return multiclass_accuracy(predicted, truth, num_classes=classes, average="micro").item() if len(truth) else nan

    def macro_f1(predicted: Tensor, truth: Tensor) -> float:
        return multiclass_f1_score(predicted, truth, num_classes=classes, average="macro").item() if len(truth) else nan

    rows = {}
    for name, splits in logits.items():
        predicted = {split: splits[split].argmax(1) for split in truth}
        rows[name] = {
            "checkpoint": str(checkpoints.get(name, "")),
            "dev accuracy": accuracy(predicted["valid"], truth["valid"]),
            "dev macro-F1": macro_f1(predicted["valid"], truth["valid"]),
            "accuracy, new": accuracy(predicted["valid"][new], truth["valid"][new]),
            "macro-F1, new": macro_f1(predicted["valid"][new], truth["valid"][new]),
            "train accuracy": accuracy(predicted["train"], truth["train"]),
            "parameters": f"{parameters[name]:,}" if name in parameters else "",
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
    """A row a model and class: precision, recall and F1 on dev, and `support`, the sentences of the class in dev.

    A score is missing where nothing is to be counted: precision of a class that is never answered, recall of one that
    dev does not hold, F1 where both is so.
    """
    classes = pandas.DataFrame({"label": labels.values()})
    classes["label_desc"] = classes["label"].map(descriptions)
    tables = []
    for name, splits in logits.items():
        precision, recall, f1, support = precision_recall_fscore_support(
            truth, splits["valid"].argmax(1), labels=range(len(labels)), zero_division=nan
        )
        tables.append(classes.assign(precision=precision, recall=recall, f1=f1, support=support, model=name))
    return pandas.concat(tables).set_index("model")


def confusion_matrix(logits: Tensor, truth: Tensor, labels: dict[int, str]) -> pandas.DataFrame:
    """How many sentences of each true class (row) are taken for each class (column), by their labels."""
    counts = multiclass_confusion_matrix(logits, truth, num_classes=len(labels))
    return pandas.DataFrame(counts.numpy(), index=list(labels.values()), columns=list(labels.values()))


def reliability(logits: Tensor, truth: Tensor) -> pandas.DataFrame:
    """A row a tenth of confidence, `from` to `to`: `count` of sentences, their `mean confidence` and `accuracy`.

    The last two are missing where there is no sentence. Reliability diagrams: Guo et al. 2017, arXiv 1706.04599.
    """
    confidence, predicted = logits.softmax(1).max(1)
    answers = pandas.DataFrame({"mean confidence": confidence.double(), "accuracy": (predicted == truth).double()})
    bins = answers.groupby((confidence * BINS).long().clamp(max=BINS - 1).numpy())
    table = bins.mean().reindex(range(BINS))
    table.insert(0, "from", [number / BINS for number in range(BINS)])
    table.insert(1, "to", [(number + 1) / BINS for number in range(BINS)])
    table.insert(2, "count", bins.size().reindex(range(BINS), fill_value=0))
    return table


def calibration(models: dict[str, tuple[Tensor, float]], truth: Tensor) -> pandas.DataFrame:
    """A row a model: its `temperature`, and how far confidence and accuracy lie apart without and with it, in the mean:
    the expected calibration error in bins of confidence (Guo et al. 2017).

    `models`: name → logits (sentence, class) as the model gives them, and what they were divided by.
    """
    rows = {}
    for name, (logits, temperature) in models.items():
        without, with_it = (
            multiclass_calibration_error(given, truth, num_classes=logits.shape[1], n_bins=BINS).item()
            for given in ((logits * temperature).softmax(1), logits.softmax(1))
        )
        rows[name] = {"temperature": temperature, "ECE without it": without, "ECE": with_it}
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def coverage(logits: Tensor, truth: Tensor) -> pandas.DataFrame:
    """A row a `threshold`, 0.00 to 0.99: the share of sentences `answered`, those of at least that confidence, and the
    `accuracy` of these answers, missing where there is none."""
    confidence, predicted = logits.softmax(1).max(1)
    right = (predicted == truth).double()
    rows = [
        {"threshold": threshold, "answered": sure.double().mean().item(), "accuracy": right[sure].mean().item()}
        for threshold in (number / 100 for number in range(100))
        for sure in [confidence >= threshold]
    ]
    return pandas.DataFrame(rows)


def errors(
    name: str,
    logits: dict[str, dict[str, Tensor]],
    data: DatasetDict,
    labels: dict[int, str],
    descriptions: dict[str, str],
) -> pandas.DataFrame:
    """The dev rows that model `name` gets wrong, those first of which it is surest; beside its answers the teacher's.

    `row` and `sentence`: where it stands in the file that stage 1 read, and as it is written there.
    """
    truth = torch.tensor(data["valid"]["label"][:])
    table = data["valid"].select_columns(["row", "written"]).to_pandas().set_index("row")
    table = table.rename(columns={"written": "sentence"})
    table["label"] = [labels[number] for number in truth.tolist()]
    table["label_desc"] = table["label"].map(descriptions)
    for model in dict.fromkeys([name, "teacher"]):
        if model in logits:
            confidence, predicted = logits[model]["valid"].softmax(1).max(1)
            table[model] = [labels[number] for number in predicted.tolist()]
            table[f"{model} label_desc"] = table[model].map(descriptions)
            table[f"{model} confidence"] = confidence.numpy()
    wrong = table[table[name] != table["label"]]
    return wrong.sort_values(f"{name} confidence", ascending=False, kind="stable")
