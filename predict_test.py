"""Stage 5 of 5: predicts CLUE's test sets, in the form in which CLUE wants them, or any lines of text.

Reads   data/ (stage 1) and the best checkpoint of model3/ (stage 4)
Writes  tnews11_predict.json (test.json, version 1.1) and tnews10_predict.json (test1.0.json), one
        {"id": 0, "label": "108"} a line, in the order of the test set, and both in clue_submission.zip

    python predict_test.py
    python predict_test.py - < headlines.txt        # a headline a line → label, description, confidence, by tabs
"""

from bert_to_bilstm.command_line import begin

if __name__ == "__main__":
    begin("Stage 5 of 5: predict", takes_arguments=True)

import json
import os
import sys
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import cast

from datasets import DatasetDict
from torch import Tensor

from bert_to_bilstm.files import expand, refuse_in_the_way, write_text
from bert_to_bilstm.models.checkpoints import load_classifier
from bert_to_bilstm.outputs.clue import check_predictions, write_submission
from bert_to_bilstm.settings import settings_of
from bert_to_bilstm.stages import is_first_process, print_utf8, quiet_libraries, stage
from bert_to_bilstm.text.dataset import digests, load_data, load_labels
from bert_to_bilstm.training.prediction import predict_logits
from bert_to_bilstm.training.run import trained_checkpoint

MODEL = ""  # any checkpoint directory, the teacher's too, such as "model1/3-0.5681"; "": the best one of model3/
BATCH_SIZE = 256
READ = 65_536  # bytes of standard input at a time
LONGEST_LINE = 1_000_000  # bytes
OUTPUTS = {"test": Path("tnews11_predict.json"), "test1.0": Path("tnews10_predict.json")}
SOURCES = {"test": "test.json", "test1.0": "test1.0.json"}
SUBMISSION = Path("clue_submission.zip")


def find_model(data: DatasetDict | None = None) -> Path:
    """The checkpoint directory that predicts: MODEL, or the best of model3/, which must be of `data` if given."""
    if MODEL:
        return expand(Path(MODEL))
    return trained_checkpoint(Path("model3"), "distill.py", digests(data) if data else None)


def predict_test_sets() -> None:
    """Writes the prediction files and the zip, all of them checked first."""
    refuse_in_the_way([*OUTPUTS.values(), SUBMISSION], [])
    data, labels = load_data(), load_labels()
    splits = [split for split in OUTPUTS if split in data]
    if not splits:
        raise SystemExit("data/ has no test set: put test.json into tnews/ and run python prepare_data.py again.")
    directory = find_model(data)
    model, tokenizer = load_classifier(directory, labels)
    texts = {}
    for split in splits:
        logits = predict_logits(model, tokenizer, data[split]["sentence"][:], BATCH_SIZE)
        predictions = [labels[number] for number in logits.argmax(1).tolist()]
        ids = data[split]["id"][:]
        rows = [{"id": number, "label": label} for number, label in zip(ids, predictions, strict=True)]
        check_predictions(OUTPUTS[split].name, rows, ids, labels.values())
        texts[split] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not is_first_process():
        return
    for split, text in texts.items():
        write_text(OUTPUTS[split], text)
        print(f"{OUTPUTS[split]}: {len(data[split]):,} predictions of {directory} for {SOURCES[split]}")
    write_submission(SUBMISSION, {OUTPUTS[split].name: text for split, text in texts.items()})
    print(f"{SUBMISSION}: to be uploaded at https://www.cluebenchmarks.com")


def read_batches(stream: BufferedReader) -> Iterator[list[str]]:
    """Up to BATCH_SIZE lines of `stream` at a time, as soon as there are any: a line that comes alone doesn't wait.

    Raises SystemExit, after the lines before it, at one that is not UTF-8 or too long.
    """
    count, rest = 0, b""
    while block := stream.read1(READ):  # waits until there is something, and takes what there is
        *lines, rest = (rest + block).split(b"\n")
        for start in range(0, len(lines), BATCH_SIZE):
            yield from decode(lines[start : start + BATCH_SIZE], count + start)
        count += len(lines)
        if len(rest) > LONGEST_LINE:
            raise SystemExit(f"standard input, line {count + 1}: longer than {LONGEST_LINE:,} bytes: cut it.")
    if rest:
        yield from decode([rest], count)


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
    model, tokenizer = load_classifier(find_model())
    labels = cast(dict[int, str], model.config.id2label)
    descriptions = getattr(model.config, "label_descriptions", {})
    for texts in read_batches(stream):
        logits = predict_logits(model, tokenizer, texts, BATCH_SIZE)
        for text, confidence, number in zip(texts, *map(Tensor.tolist, logits.softmax(1).max(1)), strict=True):
            answer = (labels[number], descriptions.get(labels[number], ""), f"{confidence:.4f}")
            print(*(answer if text else ("", "", "")), sep="\t")
        sys.stdout.flush()


def main(arguments: Sequence[str] = ()) -> None:
    settings_of(globals())
    if not arguments:
        with stage(SUBMISSION, then="report.py"):
            predict_test_sets()
    elif list(arguments) == ["-"]:
        quiet_libraries()
        print_utf8()
        try:
            predict_lines(cast(BufferedReader, sys.stdin.buffer))
        except BrokenPipeError:  # the reader has seen enough, as head has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush, at exit
        except KeyboardInterrupt:
            raise SystemExit(130) from None  # as the shell has it
    else:
        raise SystemExit("python predict_test.py predicts the test sets, python predict_test.py - standard input.")


if __name__ == "__main__":
    main(sys.argv[1:])
