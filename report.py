"""Compares what the stages left: the best teacher, student alone and distilled student, side by side.

Reads   data/ and whichever of model1/, model2/, model3/ exist
Writes  report/: index.html, the page to look at, which holds all of the following; comparison.csv and comparison.png
        (dev accuracy by epoch), per_class.csv (precision, recall, F1), calibration.csv; of the distilled student, or
        else of the best model, confusion_matrix.png, confidence.csv (how many answers are surer than what, and how
        right those are), errors.csv; suspicious.csv (train rows whose label may be wrong); cost.csv if COST is set

    python report.py
"""

from bert_to_bilstm.command_line import begin

if __name__ == "__main__":
    begin("Report: the models side by side")

from functools import partial
from pathlib import Path
from typing import Any

import pandas
import torch
from datasets import DatasetDict
from torch import Tensor

from bert_to_bilstm.distillation.labelling import NGRAMS, weighted_mean
from bert_to_bilstm.evaluation.comparison import (
    accuracy_by_epoch,
    calibration,
    compare,
    confusion_matrix,
    coverage,
    errors,
    new_sentences,
    per_class,
    reliability,
)
from bert_to_bilstm.evaluation.cost import cost_table
from bert_to_bilstm.evaluation.explanation import carried_by
from bert_to_bilstm.evaluation.suspicious import suspicious
from bert_to_bilstm.files import read_json, refuse_in_the_way
from bert_to_bilstm.models.checkpoints import load_classifier, model_fingerprint
from bert_to_bilstm.models.ngrams import NgramClassifier, fitted_and_unseen, load_ngrams, mixed, train_ngrams
from bert_to_bilstm.outputs.page import Page, write_page
from bert_to_bilstm.outputs.plots import WITHOUT_EPOCHS, draw_comparison, draw_confusion_matrix
from bert_to_bilstm.outputs.spreadsheet import write_table
from bert_to_bilstm.settings import settings_of
from bert_to_bilstm.stages import is_first_process, say, stage
from bert_to_bilstm.text.dataset import digests, load_data, load_descriptions, load_labels
from bert_to_bilstm.training.prediction import predict_logits, predict_probabilities
from bert_to_bilstm.training.run import recorded_settings, trained_checkpoint

MODELS = {
    "teacher": (Path("model1"), "finetune_bert.py"),
    "student alone": (Path("model2"), "train_bilstm.py"),
    "distilled student": (Path("model3"), "distill.py"),
}
COST = False  # whether to measure what teacher and distilled student cost: size, speed on the CPU (minutes)
KNOWLEDGE = Path("knowledge")  # of stage 4
OUTPUT = Path("report")
EXPLAINED = 2000  # errors of which is told what carried the answer, those first of which the model is surest
WRITTEN = (
    *("index.html", "comparison.csv", "comparison.png", "per_class.csv", "calibration.csv", "confusion_matrix.png"),
    *("confidence.csv", "errors.csv", "suspicious.csv", "cost.csv"),
)


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


def find_ngrams(data: DatasetDict) -> tuple[NgramClassifier, str | None]:
    """The n-gram model that taught the distilled student, from KNOWLEDGE or trained here, in seconds, and its class
    weights; where no student was taught by one, one without weights.
    """
    class_weights = student_settings().get("ngrams_class_weights")
    expected = {"data": digests(data)["data"], "ngrams_class_weights": class_weights}
    origin = read_json(KNOWLEDGE / "origin.json")
    if isinstance(origin, dict) and origin.get("ngrams") and expected == {name: origin.get(name) for name in expected}:
        return load_ngrams(KNOWLEDGE / NGRAMS), class_weights
    say("training an n-gram model to compare with ...")
    train = data["train"]
    return train_ngrams(train["sentence"][:], train["label"][:], len(load_labels()), class_weights), class_weights


def student_settings() -> dict[str, Any]:
    """What the distilled student's run.json says."""
    return recorded_settings(MODELS["distilled student"][0]) or {}


def ngram_weight(teacher: Path) -> float:
    """The n-gram model's weight in what taught the distilled student, where that was these two and no others, or 0."""
    settings = student_settings()
    taught_by = list(settings.get("teachers", {}).values())
    if taught_by and taught_by != [model_fingerprint(teacher)]:
        say(f"others than {teacher} taught the distilled student: its teachers together have no row.")
        return 0
    return settings.get("ngrams") or 0


def predict(
    checkpoints: dict[str, Path],
    ngrams: NgramClassifier,
    fitted: Tensor,
    unseen: Tensor,
    data: DatasetDict,
    labels: dict[int, str],
) -> tuple[dict[str, dict[str, Tensor]], dict[str, int]]:
    """Model → split (valid, train) → logits (sentence, class); model → how many parameters it has.

    The first two are what a model has to beat: always the most frequent class, and the linear model of n-grams.
    "ensemble": this and the teacher, as they taught the distilled student together. `fitted`, `unseen`: what the n-gram
    model says of train, and what those say that have not seen the sentence.
    """
    frequencies = torch.tensor(data["train"]["label"][:]).bincount(minlength=len(labels)).float()
    logits = {
        "most frequent class": {split: frequencies.expand(len(data[split]), -1) for split in ("valid", "train")},
        "n-gram model": {"valid": ngrams.predict_logits(data["valid"]["sentence"][:]), "train": fitted},
    }
    parameters = {"n-gram model": ngrams.weights.size}
    for name, checkpoint in checkpoints.items():
        say(f"reading {sum(len(data[split]) for split in ('valid', 'train')):,} sentences with {checkpoint} ...")
        model, tokenizer = load_classifier(checkpoint, labels)
        parameters[name] = model.num_parameters()
        logits[name] = {
            split: predict_logits(model, tokenizer, data[split]["sentence"][:]) for split in ("valid", "train")
        }
        if name == "teacher" and (weight := ngram_weight(checkpoint)):
            linear = logits["n-gram model"] | {"train": mixed(fitted, unseen)}
            logits["ensemble"] = {
                split: weighted_mean([(weight, linear[split]), (1 - weight, logits["teacher"][split])])
                for split in ("valid", "train")
            }
            parameters["ensemble"] = parameters["teacher"] + parameters["n-gram model"]
    return logits, parameters


def compare_models() -> None:
    data, labels, descriptions = load_data(), load_labels(), load_descriptions()
    checkpoints = find_checkpoints(data)
    refuse_in_the_way([OUTPUT / name for name in WRITTEN], [OUTPUT])
    ngrams, class_weights = find_ngrams(data)
    train = data["train"]
    say(f"asking n-gram models of the {len(train):,} train sentences that they have not seen ...")
    fitted, unseen = fitted_and_unseen(ngrams, train["sentence"][:], train["label"][:], class_weights)
    logits, parameters = predict(checkpoints, ngrams, fitted, unseen, data, labels)
    table = compare(checkpoints, parameters, logits, data, len(labels))
    say(table.to_string(float_format="{:.4f}".format))
    say("new: dev rows whose sentence is not in train")
    best = table.loc[list(checkpoints), "dev accuracy"].idxmax()
    shown = "distilled student" if "distilled student" in checkpoints else best
    wrong = errors(shown, logits, data, labels, descriptions)
    wrong["carried by"] = explain(checkpoints[shown], wrong["sentence"].tolist())
    if not is_first_process():  # so far they have shared out what the models read
        return
    truth = torch.tensor(data["valid"]["label"][:])
    constant = [name for name in WITHOUT_EPOCHS if name in logits]
    by_epoch = accuracy_by_epoch(checkpoints)
    for place, name in enumerate(constant):
        by_epoch.insert(place, name, table.loc[name, "dev accuracy"])
    teacher = logits["teacher"]["train"] if "teacher" in logits else None
    page = Page(
        shown=shown,
        checkpoint=str(checkpoints[shown]),
        descriptions=descriptions,
        new=int(new_sentences(data).sum()),
        models=table,
        by_epoch=by_epoch,
        constant=constant,
        per_class=per_class({name: logits[name] for name in by_epoch}, truth, labels, descriptions),
        confusion=confusion_matrix(logits[shown]["valid"], truth, labels),
        reliability=reliability(logits[shown]["valid"], truth),
        coverage=coverage(logits[shown]["valid"], truth),
        calibration=calibration(
            {name: (logits[name]["valid"], temperature_of(checkpoints.get(name))) for name in by_epoch}, truth
        ),
        errors=wrong,
        suspicious=suspicious(data, unseen, teacher, labels, descriptions),
        cost=measure_costs(checkpoints, data, labels) if COST else None,
    )
    write_table(OUTPUT / "comparison.csv", by_epoch)
    draw_comparison(OUTPUT / "comparison.png", by_epoch)
    write_table(OUTPUT / "per_class.csv", page.per_class)
    draw_confusion_matrix(
        OUTPUT / "confusion_matrix.png", page.confusion, descriptions, f"{shown}, {checkpoints[shown]}"
    )
    write_table(OUTPUT / "calibration.csv", page.calibration)
    write_table(OUTPUT / "confidence.csv", page.coverage.set_index("threshold"))
    write_table(OUTPUT / "errors.csv", page.errors)
    write_table(OUTPUT / "suspicious.csv", page.suspicious)
    if page.cost is not None:
        write_table(OUTPUT / "cost.csv", page.cost)
    write_page(OUTPUT / "index.html", page)
    print(f"{OUTPUT}/: {', '.join(name for name in WRITTEN if name != 'cost.csv' or page.cost is not None)}")
    print(f"open {OUTPUT / 'index.html'} in a browser.")


def temperature_of(checkpoint: Path | None) -> float:
    """What the logits of a student were divided by; 1 of other models."""
    config = read_json(checkpoint / "config.json") if checkpoint else {}
    return config.get("calibration_temperature", 1.0)


def explain(checkpoint: Path, sentences: list[str]) -> list[str]:
    """What carried the answers to the first EXPLAINED sentences."""
    model, tokenizer = load_classifier(checkpoint)
    say(f"asking {checkpoint} what carried its answers to {min(EXPLAINED, len(sentences)):,} sentences ...")
    told = carried_by(partial(predict_probabilities, model, tokenizer), tokenizer, sentences[:EXPLAINED])
    return [*told, *[""] * (len(sentences) - len(told))]


def measure_costs(checkpoints: dict[str, Path], data: DatasetDict, labels: dict[int, str]) -> pandas.DataFrame | None:
    """The costs of teacher and distilled student, on the screen too; None where one of them is missing."""
    if not {"teacher", "distilled student"} <= set(checkpoints):
        print("the costs need model1/ and model3/: left out.")
        return None
    costs = cost_table(checkpoints["teacher"], checkpoints["distilled student"], data["valid"]["sentence"][:], labels)
    print(f"\n{costs.to_string()}\n")
    return costs


def main() -> None:
    settings_of(globals())
    with stage(OUTPUT):
        compare_models()


if __name__ == "__main__":
    main()
