"""Compares what the stages left: the best teacher, student alone and distilled student, side by side.

Reads   data/ and whichever of model1/, model2/, model3/ exist
Writes  report/: comparison.csv and comparison.png (dev accuracy by epoch), per_class.csv (precision, recall, F1),
        confusion_matrix.png and errors.csv (of the distilled student, or else of the best model), and price_list.csv
        if PRICE_LIST is set

    python report.py
"""

from pathlib import Path

import pandas
import torch
from datasets import DatasetDict
from torch import Tensor

from bert_to_bilstm.evaluation.comparison import accuracy_by_epoch, compare, confusion_matrix, errors, per_class
from bert_to_bilstm.evaluation.cost import price_list
from bert_to_bilstm.files import refuse_in_the_way, write_text
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.outputs.plots import draw_comparison, draw_confusion_matrix
from bert_to_bilstm.stages import stage
from bert_to_bilstm.text.dataset import load_data, load_descriptions, load_labels
from bert_to_bilstm.training.prediction import predict_logits

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
