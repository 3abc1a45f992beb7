"""Stage 5 of 5: predicts CLUE's test sets, in the form in which CLUE wants them, or a table, or any lines of text.

Reads   the best checkpoint of model3/ (stage 4), for the test sets also data/ (stage 1)
Writes  tnews11_predict.json (test.json, version 1.1) and tnews10_predict.json (test1.0.json), one
        {"id": 0, "label": "108"} a line, in the order of the test set, and both in clue_submission.zip

    python predict_test.py
    python predict_test.py headlines.csv            # → headlines.predictions.csv
    python predict_test.py headlines.xlsx           # or .tsv, .jsonl, .txt → headlines.xlsx.predictions.csv
    python predict_test.py - < headlines.txt        # a headline a line → label, description, confidence, by tabs
"""

from bert_to_bilstm.command_line import begin

if __name__ == "__main__":
    begin("Stage 5 of 5: predict", takes_arguments=True)

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas
import torch
from datasets import DatasetDict
from transformers import PreTrainedTokenizerBase

from bert_to_bilstm.evaluation.explanation import carried_by
from bert_to_bilstm.files import expand, new_file, refuse_in_the_way, write_text
from bert_to_bilstm.models.bilstm import BiLSTMForSequenceClassification
from bert_to_bilstm.models.checkpoints import is_exported, load_classifier
from bert_to_bilstm.outputs.classify import Classifier
from bert_to_bilstm.outputs.clue import check_predictions, write_submission
from bert_to_bilstm.outputs.spreadsheet import BOM, as_csv, as_data
from bert_to_bilstm.settings import settings_of
from bert_to_bilstm.stages import (
    counted,
    is_first_process,
    note,
    output_lost,
    print_utf8,
    progress,
    quiet_libraries,
    stage,
)
from bert_to_bilstm.text.dataset import digests, load_data, load_labels
from bert_to_bilstm.text.tables import (
    JSON,
    SENTENCE_COLUMNS,
    as_text,
    columns_of,
    count_rows,
    find_column,
    read_records,
    suffix_of,
)
from bert_to_bilstm.training.prediction import predict_probabilities
from bert_to_bilstm.training.run import trained_checkpoint

MODEL = ""  # any checkpoint directory, the teacher's too, such as "model1/3-0.5681"; "": the best one of model3/
ENGINE = "onnxruntime"  # runs a student's model.int8.onnx; or "torch", as for a teacher
SENTENCE_COLUMN = ""  # of a table; "": sentence, or text
EXPLAIN = False  # whether to tell what carried an answer, for a table or lines; takes twenty times as long
MINIMUM_CONFIDENCE = 0.0  # a less sure answer is left empty; report.py shows how many those are and how right; the
# test sets, for CLUE, are answered whole
BATCH_SIZE = 256
READ = 65_536  # bytes of standard input at a time
LONGEST_LINE = 1_000_000  # bytes
ROWS = 2048  # of a table that are in memory at a time
ANSWERS = (
    "label",
    "description",
    "confidence",
    "second",
    "second_confidence",
    "third",
    "third_confidence",
    "carried_by",
)
OUTPUTS = {"test": Path("tnews11_predict.json"), "test1.0": Path("tnews10_predict.json")}
SUBMISSION = Path("clue_submission.zip")


def find_model(data: DatasetDict | None = None) -> Path:
    """The checkpoint directory that predicts: MODEL, or the best of model3/, which must be of `data` if given."""
    if MODEL:
        return expand(Path(MODEL))
    return trained_checkpoint(Path("model3"), "distill.py", digests(data) if data else None)


class Predictor(NamedTuple):
    """A model that is ready to predict: sentences → probabilities (sentence, class), and what its classes are."""

    probabilities: Callable[[list[str]], np.ndarray]
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    descriptions: list[str]


def load_predictor(directory: Path, labels: dict[int, str] | None = None) -> Predictor:
    """The model of a checkpoint directory, as ENGINE says; says so where it has to be torch.

    Raises SystemExit where there is none, or one of other classes than `labels` (None: of any).
    """
    model, tokenizer = load_classifier(directory, labels)
    names = [str(label) for _, label in sorted(cast(dict, model.config.id2label).items())]
    described = getattr(model.config, "label_descriptions", None) or {}
    descriptions = [described.get(name, "") for name in names]
    if ENGINE == "onnxruntime" and isinstance(model, BiLSTMForSequenceClassification):
        if is_exported(directory):
            classify = Classifier(directory, torch.get_num_threads())
            return Predictor(classify.probabilities, tokenizer, names, descriptions)
        note(f"{directory} has no model.int8.onnx, which the best gets at the end: predicting with torch.")
    probabilities = partial(predict_probabilities, model, tokenizer, batch_size=BATCH_SIZE)
    return Predictor(probabilities, tokenizer, names, descriptions)


def predict_test_sets() -> None:
    """Writes the prediction files and the zip, all of them checked first."""
    refuse_in_the_way([*OUTPUTS.values(), SUBMISSION], [])
    data, labels = load_data(), load_labels()
    splits = [split for split in OUTPUTS if split in data]
    if not splits:
        print("data/ has no test set to predict; python predict_test.py headlines.csv predicts a table.")
        return
    directory = find_model(data)
    predictor = load_predictor(directory, labels)
    texts = {}
    for split in splits:
        best = predictor.probabilities(data[split]["sentence"][:]).argmax(1)
        predictions = [labels[number] for number in best.tolist()]
        ids = data[split]["id"][:]
        rows = [{"id": number, "label": label} for number, label in zip(ids, predictions, strict=True)]
        check_predictions(OUTPUTS[split].name, rows, ids, labels.values())
        texts[split] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not is_first_process():
        return
    for split, text in texts.items():
        write_text(OUTPUTS[split], text)
        print(f"{OUTPUTS[split]}: {counted(len(data[split]), 'prediction')} of {directory} for the test set {split}")
    write_submission(SUBMISSION, {OUTPUTS[split].name: text for split, text in texts.items()})
    print(f"{SUBMISSION}: these, as https://www.cluebenchmarks.com takes them of TNEWS")


def read_batches(stream: BufferedReader) -> Iterator[list[str]]:
    """Up to BATCH_SIZE lines of `stream` at a time, as soon as there are any: a line that comes alone doesn't wait.

    Raises SystemExit, after the lines before it, at one that is not UTF-8 or too long.
    """
    count, rest = 0, b""
    while block := read_some(stream):
        *lines, rest = (rest + block).split(b"\n")
        for start in range(0, len(lines), BATCH_SIZE):
            yield from decode(lines[start : start + BATCH_SIZE], count + start)
        count += len(lines)
        if len(rest) > LONGEST_LINE:
            raise SystemExit(f"standard input, line {count + 1}: longer than {LONGEST_LINE:,} bytes: cut it.")
    if rest:
        yield from decode([rest], count)


def read_some(stream: BufferedReader) -> bytes:
    """What there is, at most READ bytes; waits until there is something. Raises SystemExit where it cannot be read."""
    try:
        return stream.read1(READ)
    except OSError as error:
        raise SystemExit(f"standard input cannot be read ({error.strerror}): give it a file.") from None


def decode(lines: list[bytes], before: int) -> Iterator[list[str]]:
    """The texts of `lines`, whose first is line `before` + 1 of standard input; of those before a bad one at least."""
    texts = []
    for number, line in enumerate(lines, start=before + 1):
        try:
            texts.append(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
        except UnicodeDecodeError:
            if texts:
                yield texts
            raise SystemExit(f"standard input, line {number}: not UTF-8: convert the text to UTF-8 first.") from None
    yield texts


def predict_lines(stream: BufferedReader) -> None:
    """Prints label, description and confidence of every line of `stream`, with tabs between; of a blank line, only
    the tabs.
    """
    predictor = load_predictor(find_model())
    for texts in read_batches(stream):
        for text, answer in zip(texts, answers(predictor, texts).itertuples(index=False), strict=True):
            why = [answer.carried_by] if EXPLAIN else []
            print(answer.label, answer.description, f"{answer.confidence:.4f}" if text else "", *why, sep="\t")
        sys.stdout.flush()


def answers(predictor: Predictor, texts: list[str]) -> pandas.DataFrame:
    """A row a text: its label, description and confidence, the second and third best label with theirs, and, if EXPLAIN
    is set, what carried it.

    The first is empty where it is less sure than MINIMUM_CONFIDENCE, all are where there is no text.
    """
    rows = predictor.probabilities(texts)
    order = np.argsort(-rows, axis=1, kind="stable")
    table: dict[str, Any] = {}
    for place, name in enumerate(["label", "second", "third"][: rows.shape[1]]):
        best = order[:, place]
        table[name] = np.array(predictor.labels, dtype=object)[best]
        if name == "label":
            table["description"] = np.array(predictor.descriptions, dtype=object)[best]
        confidence = "confidence" if name == "label" else f"{name}_confidence"
        table[confidence] = np.take_along_axis(rows, best[:, None], axis=1)[:, 0]
    if EXPLAIN:
        table["carried_by"] = carried_by(predictor.probabilities, predictor.tokenizer, texts)
    result = pandas.DataFrame(table)
    result.loc[result["confidence"] < MINIMUM_CONFIDENCE, ["label", "description"]] = ""
    blank = [not text.strip() for text in texts]
    for column in result:
        result.loc[blank, column] = None if "confidence" in column else ""
    return result


def output_of(path: Path) -> Path:
    """Where the predictions of a table go: beside it, under its name; with its suffix where that is not .csv."""
    return path.with_name(f"{path.stem if path.suffix == '.csv' else path.name}.predictions.csv")


def refuse_others(output: Path, columns: list[str]) -> None:
    """Raises SystemExit where the file to be written is there and not the predictions of a table of such `columns`."""
    if output.exists():
        header: list[str] = []
        with open(output, encoding="utf-8-sig", errors="replace", newline="") as file, suppress(csv.Error):
            header = next(csv.reader(file), [])
        own, answers = header[: len(columns)], header[len(columns) :]
        ours = {free_name(name, columns) for name in ANSWERS}
        if own != list(map(as_data, columns)) or not answers or not set(answers) <= ours:
            raise SystemExit(f"{output} is there and holds something else than predictions of it: move it away.")


def all_columns(path: Path) -> list[str]:
    """The columns of all rows, in the order in which they come: in JSON each row has its own."""
    return list(dict.fromkeys(as_text(name) for _, record in read_records(path) for name in record))


def predict_table(path: Path) -> None:
    """Writes the rows of a table with the answers beside them to {name}.predictions.csv: Excel opens it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SystemExit(f"one process predicts a table: run python predict_test.py {path}, without accelerate launch.")
    output = output_of(path)
    refuse_in_the_way([output], [])
    records = read_records(path)
    first = next(records)  # a table that cannot be read is told before the model is loaded
    remedy = "name it so, or name it in SENTENCE_COLUMN at the top of predict_test.py"
    column = find_column(*first, columns_of(path, SENTENCE_COLUMN, SENTENCE_COLUMNS), remedy)
    header = all_columns(path) if suffix_of(path) in JSON else list(first[1])
    refuse_others(output, header)
    directory = find_model()
    predictor = load_predictor(directory)
    rows = (record for _, record in chain([first], records))
    number = empty = 0
    with new_file(output) as file, progress(count_rows(path), str(path), "rows") as bar:
        while part := list(islice(rows, ROWS)):
            cells = [{as_text(name): as_text(cell) for name, cell in row.items()} for row in part]
            table = pandas.DataFrame(cells, columns=header, dtype=object).fillna("")
            found = answers(predictor, table[column].tolist())
            empty += (found["label"] == "").sum()
            found.columns = [free_name(name, header) for name in found.columns]
            text = as_csv(pandas.concat([table, found], axis=1), header=not number)
            file.write((text if number else BOM + text).encode("utf-8"))
            number += len(part)
            bar.update(len(part))
    print(f"{output}: {counted(number, 'row')}, {empty:,} of them without an answer, predicted by {directory}")


def free_name(name: str, taken: list[str]) -> str:
    """The name, with `predicted_` in front as long as a column is called so."""
    return free_name(f"predicted_{name}", taken) if name in taken else name


def main(arguments: Sequence[str] = ()) -> None:
    settings_of(globals())
    if not arguments:
        with stage(SUBMISSION, then="report.py"):
            predict_test_sets()
    elif len(arguments) == 1 and not arguments[0].startswith("-"):
        path = expand(arguments[0])
        if not path.is_file():
            raise SystemExit(f"{path} is not a file that is there: name a table (a model: in MODEL, at the top).")
        with stage(output_of(path)):
            predict_table(path)
    elif list(arguments) == ["-"]:
        quiet_libraries()
        print_utf8()
        try:
            predict_lines(cast(BufferedReader, sys.stdin.buffer))
        except OSError as error:
            output_lost()
            if not isinstance(error, BrokenPipeError):  # there the reader has seen enough, as head has
                raise SystemExit(f"standard output cannot be written ({error.strerror}).") from None
    else:
        raise SystemExit(
            "python predict_test.py predicts the test sets, python predict_test.py headlines.csv a table, "
            "python predict_test.py - standard input."
        )


if __name__ == "__main__":
    main(sys.argv[1:])
