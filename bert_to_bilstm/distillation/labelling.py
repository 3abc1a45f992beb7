"""What the teachers say of the transfer set: their logits, kept in `knowledge/`.

It works in pieces and leaves each piece on disk, so that memory does not grow with the number of sentences and a
run that was stopped goes on. All of it stands in `{knowledge}-shards/` until the whole takes its place as `knowledge/`.
"""

import json
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.distillation.transfer_set import FEATURES, as_student_reads
from bert_to_bilstm.files import new_directory, read_json, write_text
from bert_to_bilstm.models.bilstm import BiLSTMForSequenceClassification
from bert_to_bilstm.models.checkpoints import load_classifier
from bert_to_bilstm.stages import claim, say
from bert_to_bilstm.text.dataset import load_rows
from bert_to_bilstm.training.device import fast_bf16
from bert_to_bilstm.training.prediction import predict_logits

SHARD = 20_000  # sentences labelled between two savings


def load_teacher(directory: Path, labels: dict[int, str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a checkpoint directory and its tokenizer, ready to label.

    Where the hardware is fast at bf16 the weights are bf16 too, which saves autocast's casts: a third more sentences a
    second. The logits differ from those in fp32 by 4e-5 in the mean square, where their variance is 3.7.
    """
    model, tokenizer = load_classifier(directory, labels)
    return (model.bfloat16() if fast_bf16() else model), tokenizer


def label_sentences(
    knowledge: Path,
    origin: dict[str, object],
    sentences: Iterator[dict[str, object]],
    teachers: list[Path],
    labels: dict[int, str],
    max_length: int,
    batch_size: int,
) -> Dataset:
    """`sentences` with the mean of the teachers' logits in the column `label`; made only if `knowledge` is not that.

    `origin` tells the teachers and the sentences apart from others; it is kept as `origin.json`. Raises SystemExit
    where a teacher cannot be loaded, `knowledge` is damaged, not ours or written by another run, or the disk is full.
    """
    models = [load_teacher(teacher, labels) for teacher in teachers]
    earlier = read_json(knowledge / "origin.json")
    if earlier == origin:
        rows = load_rows(knowledge, f"remove {knowledge}/ to label anew")
        say(f"{knowledge}/ is of these teachers and these sentences: used again.")
        return rows
    if knowledge.exists() and (earlier is None or not knowledge.is_dir()):
        raise SystemExit(f"{knowledge} has no readable origin.json, so it is not known to be ours: move it away.")
    if knowledge.exists():
        say(f"{knowledge}/ is of other teachers or other sentences: labelling anew.")
    with claim(knowledge):
        make_knowledge(knowledge, origin, sentences, models, max_length, batch_size)
    return load_rows(knowledge, f"remove {knowledge}/ to label anew")


def make_knowledge(
    knowledge: Path,
    origin: dict[str, object],
    sentences: Iterator[dict[str, object]],
    teachers: list[tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    max_length: int,
    batch_size: int,
) -> None:
    """Gathers the sentences, labels them part by part, and puts the parts together; goes on where a run stopped."""
    main = PartialState().is_main_process
    shards = knowledge.with_name(f"{knowledge.name}-shards")
    anew = f"remove {shards}/ to label anew"
    PartialState().wait_for_everyone()
    if main and read_json(shards / "origin.json") != origin:
        with new_directory(shards) as target:
            number = 0
            while chunk := list(islice(sentences, SHARD)):
                Dataset.from_list(chunk, FEATURES).save_to_disk(str(target / f"sentences-{number:06}"))
                number += 1
            write_text(target / "origin.json", json.dumps(origin, indent=2))
    PartialState().wait_for_everyone()
    labelled = []
    for part in sorted(shards.glob("sentences-*")):
        labelled.append(part.with_name(part.name.replace("sentences", "labelled")))
        if not labelled[-1].exists():
            rows = load_rows(part, anew)
            logits = mean_logits(teachers, rows["sentence"][:], max_length, batch_size)
            if main:
                with new_directory(labelled[-1]) as target:
                    rows.add_column("label", list(logits.numpy())).save_to_disk(str(target))
    PartialState().wait_for_everyone()
    if main:
        with new_directory(knowledge) as target:
            concatenate_datasets([load_rows(part, anew) for part in labelled]).save_to_disk(str(target))
            write_text(target / "origin.json", json.dumps(origin, indent=2))
        shutil.rmtree(shards)
    PartialState().wait_for_everyone()


def mean_logits(
    teachers: list[tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    sentences: list[str],
    max_length: int,
    batch_size: int,
) -> torch.Tensor:
    """The mean over the teachers of their logits (sentences, classes). A student among them reads as students do."""
    logits = []
    for model, tokenizer in teachers:
        read = as_student_reads(sentences) if isinstance(model, BiLSTMForSequenceClassification) else sentences
        logits.append(predict_logits(model, tokenizer, read, max_length, batch_size))
    return torch.stack(logits).mean(0)
