"""Stage 4 of 5: the teacher labels the train sentences, a fresh student learns its logits.

Reads   data/ (stage 1) and the best checkpoint of model1/ (stage 2)
Writes  knowledge/ (label: the teacher's logits, sentence, source), model3/{epoch}-{accuracy}/ after every epoch,
        model3/history.csv, model3/history.png, model3/run.json

    python distill.py

The method: mean squared error on the teacher's logits, Tang et al. 2019, arXiv 1903.12136; Ba and Caruana 2014,
arXiv 1312.6184.
"""

import json
import shutil
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk
from safetensors.torch import load_file, save_file
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import OneCycleLR
from transformers import set_seed

from artifacts import (
    STUDENT_TOKENIZER,
    best_checkpoint,
    file_fingerprint,
    fingerprint,
    load_char_table,
    load_classifier,
    load_data,
    load_descriptions,
    load_labels,
    load_tokenizer,
    new_directory,
    quiet_libraries,
    read_json,
    write_text,
)
from augmentation import MASK, augment
from bilstm import new_student
from training import already_done, constants, fit, make_loader, predict_logits, say

TEACHER = ""  # a checkpoint directory such as "model1/3-0.5681"; "": the best one of model1/
AUGMENTATIONS = 0  # tries a train sentence; paper: n_iter 20 for small sets, article: none
P_MASK = 0.1  # chance that a word is masked (the paper's values)
P_POS = 0.1  # chance that a word is replaced by one of its part of speech
P_NGRAM = 0.25  # chance that a run of 1 to 5 words alone is kept
UNLABELLED: list[str] = []  # text files, one sentence a line, to be labelled and learnt too
LABELLING_BATCH_SIZE = 256
SHARD = 20_000  # sentences labelled between two savings
MAX_LENGTH = 128  # tokens
BATCH_SIZE = 128  # article: 16
LEARNING_RATE = 1e-3  # peak of one cycle; article: 1e-4, constant, with Adam
EPOCHS = 5  # article: 20
SEED = 42
KNOWLEDGE = Path("knowledge")
OUTPUT = Path("model3")


def gather_sentences(data: DatasetDict) -> Dataset:
    """What the teacher is to label: columns `sentence`, and `source` (train, mask, pos, ngram, unlabelled)."""
    train = data["train"]["sentence"][:]
    rows = [(sentence, "train") for sentence in train]
    if AUGMENTATIONS:
        rows += augment(train, AUGMENTATIONS, P_MASK, P_POS, P_NGRAM, SEED)
    known = {*train, *data["valid"]["sentence"]}
    table = load_char_table() if UNLABELLED else None
    for path in UNLABELLED:
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SystemExit(
                f"{path} in UNLABELLED cannot be read ({error}): name UTF-8 files of one sentence a line."
            ) from None
        for line in lines:
            sentence = table.convert(line.strip())
            if sentence and sentence not in known:
                known.add(sentence)
                rows.append((sentence, "unlabelled"))
    sentences, sources = zip(*rows, strict=True)
    return Dataset.from_dict({"sentence": sentences, "source": sources})


def label_sentences(teacher: Path, labels: dict[int, str], sentences: Dataset, origin: dict[str, str]) -> Dataset:
    """`sentences` with the teacher's logits in the column `label`, from `knowledge/` if `origin` is what stands there.

    `origin` tells teacher and sentences apart from others. Done in shards, so that a run that was stopped goes on.
    """
    main = PartialState().is_main_process
    if read_json(KNOWLEDGE / "origin.json") == origin:
        say(f"{KNOWLEDGE}/ is of this teacher and these sentences: used again.")
        return load_from_disk(str(KNOWLEDGE))
    if KNOWLEDGE.exists():
        say(f"{KNOWLEDGE}/ is of another teacher or other sentences: labelling anew.")
    model, tokenizer = load_classifier(teacher, labels)
    shards = KNOWLEDGE.with_name(f"{KNOWLEDGE.name}-shards")
    PartialState().wait_for_everyone()
    if main and read_json(shards / "origin.json") != origin:
        with new_directory(shards) as target:
            write_text(target / "origin.json", json.dumps(origin, indent=2))
    PartialState().wait_for_everyone()
    starts = range(0, len(sentences), SHARD)
    for start in starts:
        shard = shards / f"{start}-{SHARD}.safetensors"
        if not shard.exists():
            texts = sentences[start : start + SHARD]["sentence"]
            logits = predict_logits(model, tokenizer, texts, MAX_LENGTH, LABELLING_BATCH_SIZE)
            if main:
                temporary = shard.with_suffix(".tmp")
                save_file({"logits": logits}, temporary)
                temporary.rename(shard)
    PartialState().wait_for_everyone()
    if main:
        logits = [load_file(shards / f"{start}-{SHARD}.safetensors")["logits"] for start in starts]
        knowledge = concatenate_datasets([Dataset.from_dict({"label": torch.cat(logits).numpy()}), sentences], axis=1)
        with new_directory(KNOWLEDGE) as target:
            knowledge.save_to_disk(str(target))
            write_text(target / "origin.json", json.dumps(origin, indent=2))
        shutil.rmtree(shards)
    PartialState().wait_for_everyone()
    return load_from_disk(str(KNOWLEDGE))


def as_student_reads(knowledge: Dataset) -> Dataset:
    """`[UNK]` where the teacher saw `[MASK]`."""
    sentences = [sentence.replace(MASK, "[UNK]") for sentence in knowledge["sentence"]]
    return Dataset.from_dict({"sentence": sentences, "label": knowledge["label"][:]})


def main() -> None:
    quiet_libraries()
    data, labels, tokenizer = load_data(), load_labels(), load_tokenizer(STUDENT_TOKENIZER)
    teacher = Path(TEACHER) if TEACHER else best_checkpoint(Path("model1"), "finetune_bert.py")
    if not (teacher / "model.safetensors").is_file():
        raise SystemExit(f"{teacher}/model.safetensors is missing: name a checkpoint directory in TEACHER.")
    sentences = gather_sentences(data)
    origin = {
        "teacher": str(teacher),
        "teacher_sha256": file_fingerprint(teacher / "model.safetensors"),
        "data": fingerprint(data),
        "sentences": fingerprint(sentences),
    }
    settings = constants(globals()) | origin | {"tokenizer": file_fingerprint(STUDENT_TOKENIZER / "tokenizer.json")}
    if already_done(OUTPUT, settings, EPOCHS):
        return
    knowledge = label_sentences(teacher, labels, sentences, origin)
    set_seed(SEED)
    train_loader = make_loader(tokenizer, as_student_reads(knowledge), MAX_LENGTH, BATCH_SIZE, SEED)
    valid_loader = make_loader(tokenizer, data["valid"], MAX_LENGTH, BATCH_SIZE)
    model = new_student(tokenizer, labels, load_descriptions())
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * len(train_loader))
    fit(OUTPUT, model, tokenizer, train_loader, valid_loader, optimizer, schedule, mse_loss, EPOCHS, settings)


if __name__ == "__main__":
    main()
