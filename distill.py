"""Stage 4 of 5: the teacher labels the train sentences, a fresh student learns its logits.

Reads   data/ (stage 1) and the best checkpoint of model1/ (stage 2)
Writes  knowledge/ (label: the teacher's logits, sentence), model3/{epoch}-{accuracy}/ after every epoch,
        model3/history.csv, model3/run.json

    python distill.py

The method: mean squared error on the teacher's logits, Tang et al. 2019, arXiv 1903.12136; Ba and Caruana 2014,
arXiv 1312.6184.
"""

import json
from pathlib import Path

import torch
from datasets import Dataset, load_from_disk
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import OneCycleLR
from transformers import set_seed

from artifacts import (
    STUDENT_TOKENIZER,
    best_checkpoint,
    file_fingerprint,
    fingerprint,
    load_classifier,
    load_data,
    load_labels,
    load_tokenizer,
    new_directory,
    quiet_libraries,
    write_text,
)
from bilstm import new_student
from training import already_done, constants, fit, make_loader, predict_logits

TEACHER = ""  # a checkpoint directory such as "model1/3-0.5681"; "": the best one of model1/
LABELLING_BATCH_SIZE = 256
MAX_LENGTH = 128  # tokens
BATCH_SIZE = 128  # article: 16
LEARNING_RATE = 1e-3  # peak of one cycle; article: 1e-4, constant, with Adam
EPOCHS = 5  # article: 20
SEED = 42
KNOWLEDGE = Path("knowledge")
OUTPUT = Path("model3")


def label_sentences(teacher: Path, labels: dict[int, str], sentences: list[str], origin: dict[str, str]) -> Dataset:
    """The `sentences` and the teacher's logits for them, from `knowledge/` if `origin` is what stands there.

    `origin` tells teacher and sentences apart from others: their names and digests.
    """
    record = KNOWLEDGE / "origin.json"
    try:
        if json.loads(record.read_text(encoding="utf-8")) == origin:
            print(f"{KNOWLEDGE}/ is of this teacher and this data: used again.")
            return load_from_disk(str(KNOWLEDGE))
        print(f"{KNOWLEDGE}/ is of another teacher or other data: labelling anew.")
    except (OSError, ValueError):
        pass  # there is none yet, or it is damaged
    model, tokenizer = load_classifier(teacher, labels)
    logits = predict_logits(model, tokenizer, sentences, MAX_LENGTH, LABELLING_BATCH_SIZE)
    knowledge = Dataset.from_dict({"label": logits.numpy(), "sentence": sentences})
    with new_directory(KNOWLEDGE) as target:
        knowledge.save_to_disk(str(target))
        write_text(target / record.name, json.dumps(origin, indent=2))
    return knowledge


def main() -> None:
    quiet_libraries()
    data, labels, tokenizer = load_data(), load_labels(), load_tokenizer(STUDENT_TOKENIZER)
    teacher = Path(TEACHER) if TEACHER else best_checkpoint(Path("model1"), "finetune_bert.py")
    if not (teacher / "model.safetensors").is_file():
        raise SystemExit(f"{teacher}/model.safetensors is missing: name a checkpoint directory in TEACHER.")
    origin = {
        "teacher": str(teacher),
        "teacher_sha256": file_fingerprint(teacher / "model.safetensors"),
        "data": fingerprint(data),
    }
    settings = constants(globals()) | origin | {"tokenizer": file_fingerprint(STUDENT_TOKENIZER / "tokenizer.json")}
    if already_done(OUTPUT, settings, EPOCHS):
        return
    knowledge = label_sentences(teacher, labels, data["train"]["sentence"][:], origin)
    set_seed(SEED)
    train_loader = make_loader(tokenizer, knowledge, MAX_LENGTH, BATCH_SIZE, SEED)
    valid_loader = make_loader(tokenizer, data["valid"], MAX_LENGTH, BATCH_SIZE)
    model = new_student(tokenizer, labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * len(train_loader))
    fit(OUTPUT, model, tokenizer, train_loader, valid_loader, optimizer, schedule, mse_loss, EPOCHS, settings)


if __name__ == "__main__":
    main()
