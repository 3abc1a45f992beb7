"""What the teachers say of the transfer set: their logits, kept in `knowledge/`.

It works in pieces and leaves each piece on disk, so that memory does not grow with the number of sentences and a
run that was stopped goes on. All of it stands in `{knowledge}-shards/` until the whole takes its place as `knowledge/`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor

from bert_to_bilstm.distillation.transfer_set import FEATURES, with_masks_as
from bert_to_bilstm.files import new_directory, read_json, refuse_foreign_files, remove_files, write_text
from bert_to_bilstm.models.bilstm import BiLSTMForSequenceClassification
from bert_to_bilstm.models.checkpoints import load_classifier
from bert_to_bilstm.models.ngrams import KINDS, NgramClassifier, train_logits
from bert_to_bilstm.stages import claim, is_first_process, say, time_left, wait_until
from bert_to_bilstm.text.dataset import ROWS, load_rows
from bert_to_bilstm.training.device import fast_bf16
from bert_to_bilstm.training.prediction import BATCH_SIZE, predict_logits

SHARD = 20_000  # sentences labelled between two savings
NGRAMS = "ngrams"  # the n-gram model's folder in knowledge/
# The files of this stage: what else lies beside them is the user's.
NGRAM_FILES = (f"{NGRAMS}/weights.safetensors", *(f"{NGRAMS}/{name}.json" for name in KINDS))
KNOWLEDGE_FILES = ("origin.json", *ROWS, *NGRAM_FILES)
SHARDS_FILES = ("origin.json", *(f"{part}-*/{name}" for part in ("sentences", "labelled") for name in ROWS))

Teacher = Callable[[list[str]], Tensor]  # sentences → logits (sentence, class) in fp32


def neural_teacher(directory: Path, labels: dict[int, str]) -> Teacher:
    """The model of a checkpoint directory, BERT or student, ready to label. Raises SystemExit where it cannot be read.

    Where the hardware is fast at bf16 the weights are bf16 too, which saves autocast's casts: a third more sentences a
    second. The logits differ from those in fp32 by 4e-5 in the mean square, where their variance is 3.7.
    """
    model, tokenizer = load_classifier(directory, labels)
    model = model.bfloat16() if fast_bf16() else model
    is_student = isinstance(model, BiLSTMForSequenceClassification)
    mask = tokenizer.unk_token if is_student else tokenizer.mask_token
    return lambda sentences: predict_logits(model, tokenizer, with_masks_as(mask, sentences))


def ngram_teacher(model: NgramClassifier, data: Dataset, class_weights: str | None) -> Teacher:
    """The n-gram model, trained on the rows of `data` with `class_weights`, ready to label these and others."""
    sentences = data["sentence"][:]
    known = dict(zip(sentences, train_logits(model, sentences, data["label"][:], class_weights), strict=True))

    def logits(sentences: list[str]) -> Tensor:
        fitted = model.predict_logits(sentences)
        return torch.stack([known.get(sentence, row) for sentence, row in zip(sentences, fitted, strict=True)])

    return logits


def weighted_mean(weighted: list[tuple[float, Tensor]]) -> Tensor:
    """The mean of the log-probabilities of several logits (sentence, class), by their weights, which add up to 1."""
    return torch.stack([weight * logits.log_softmax(1) for weight, logits in weighted]).sum(0)


@dataclass
class Ensemble:
    """Teachers with their weights, which add up to 1; `ngrams` is to be kept beside their logits."""

    teachers: list[tuple[float, Teacher]]
    ngrams: NgramClassifier | None = None

    def logits(self, sentences: list[str]) -> Tensor:
        """The logits (sentence, class) of one teacher, or the weighted mean of the log-probabilities of several."""
        if len(self.teachers) == 1:
            return self.teachers[0][1](sentences)
        return weighted_mean([(weight, teacher(sentences)) for weight, teacher in self.teachers])


def label_transfer_set(
    knowledge: Path, origin: dict[str, object], sentences: Iterator[dict[str, object]], load: Callable[[], Ensemble]
) -> Dataset:
    """`sentences` with the teachers' logits in the column `label`; made only if `knowledge` is not that already.

    `origin` tells the teachers and the sentences apart from others; it is kept as `origin.json`. `load` loads the
    teachers, which is only done where there is something to label. Raises SystemExit
    where `knowledge` is damaged, not ours or written by another run, or the disk is full.
    """
    earlier = read_json(knowledge / "origin.json")
    if earlier == origin:
        say(f"{knowledge}/ is of these teachers and these sentences: used again.")
    elif knowledge.exists() and (earlier is None or not knowledge.is_dir()):
        raise SystemExit(f"{knowledge} has no readable origin.json, so it is not known to be ours: move it away.")
    else:
        if knowledge.exists():
            refuse_foreign_files(knowledge, KNOWLEDGE_FILES)  # before hours of labelling
            say(f"{knowledge}/ is of other teachers or other sentences: labelling anew.")
        with claim(knowledge):
            label_shards(knowledge, origin, sentences, load())
    return load_rows(knowledge, f"move {knowledge}/ away to label anew")


def label_shards(
    knowledge: Path, origin: dict[str, object], sentences: Iterator[dict[str, object]], ensemble: Ensemble
) -> None:
    """Gathers the sentences, labels them shard by shard, and puts these together; goes on where a run stopped."""
    shards = knowledge.with_name(f"{knowledge.name}-shards")
    anew = f"move {shards}/ away to label anew"
    if is_first_process() and read_json(shards / "origin.json") != origin:
        refuse_foreign_files(shards, SHARDS_FILES)
        with new_directory(shards, SHARDS_FILES) as target:
            number = 0
            while chunk := list(islice(sentences, SHARD)):
                Dataset.from_list(chunk, FEATURES).save_to_disk(str(target / f"sentences-{number:06}"))
                number += 1
            write_text(target / "origin.json", json.dumps(origin, indent=2))
    wait_until(lambda: read_json(shards / "origin.json") == origin)
    parts = sorted(shards.glob("sentences-*"))
    labelled = [part.with_name(part.name.replace("sentences", "labelled")) for part in parts]
    missing = [(part, place) for part, place in zip(parts, labelled, strict=True) if not place.exists()]
    if len(missing) > 1:
        tried, started = load_rows(missing[0][0], anew)["sentence"][:BATCH_SIZE], time.perf_counter()
        ensemble.logits(tried)
        say(
            f"{knowledge}/: {len(missing)} parts of {SHARD:,} sentences to label, "
            f"{time_left(started, len(tried) / (len(missing) * SHARD))}"
        )
    started = time.perf_counter()
    for number, (part, place) in enumerate(missing, start=1):
        rows = load_rows(part, anew)
        logits = ensemble.logits(rows["sentence"][:])
        if is_first_process():
            # datasets would take seconds for a digest of so many arrays, longer than a small teacher for their logits.
            digest = hashlib.sha256(logits.numpy().tobytes()).hexdigest()[:16]
            with new_directory(place) as target:
                rows.add_column("label", list(logits.numpy()), new_fingerprint=digest).save_to_disk(str(target))
        wait_until(place.exists)
        del rows  # Windows removes no file that is mapped into memory
        done = len(parts) - len(missing) + number
        say(f"{knowledge}/: part {done} of {len(parts)} labelled, {time_left(started, number / len(missing))}")
    if is_first_process():
        with new_directory(knowledge, KNOWLEDGE_FILES) as target:
            concatenate_datasets([load_rows(part, anew) for part in labelled]).save_to_disk(str(target))
            if ensemble.ngrams:
                ensemble.ngrams.save(target / NGRAMS)
            write_text(target / "origin.json", json.dumps(origin, indent=2))
        remove_files(shards, SHARDS_FILES)
    wait_until(lambda: read_json(knowledge / "origin.json") == origin)
