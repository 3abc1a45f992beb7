"""Stage 3 of 5: trains the student alone, on the labels: what distillation has to beat.

Reads   data/ (stage 1)
Writes  model2/{epoch}-{accuracy}/ after every epoch, model2/history.csv, model2/history.png, model2/run.json

    python train_bilstm.py
"""

from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR
from transformers import set_seed

from artifacts import (
    STUDENT_TOKENIZER,
    file_fingerprint,
    fingerprint,
    load_data,
    load_descriptions,
    load_labels,
    load_tokenizer,
    quiet_libraries,
)
from bilstm import new_student
from training import already_done, constants, fit, make_loader

MAX_LENGTH = 128  # tokens
BATCH_SIZE = 128  # article: 16
LEARNING_RATE = 1e-3  # peak of one cycle; article: 1e-4, warmed up over 1,000 steps, then constant
EPOCHS = 5  # article: 50
SEED = 42
OUTPUT = Path("model2")


def main() -> None:
    quiet_libraries()
    data, labels, tokenizer = load_data(), load_labels(), load_tokenizer(STUDENT_TOKENIZER)
    settings = constants(globals()) | {
        "data": fingerprint(data),
        "tokenizer": file_fingerprint(STUDENT_TOKENIZER / "tokenizer.json"),
    }
    if already_done(OUTPUT, settings, EPOCHS):
        return
    set_seed(SEED)
    train_loader = make_loader(tokenizer, data["train"], MAX_LENGTH, BATCH_SIZE, SEED)
    valid_loader = make_loader(tokenizer, data["valid"], MAX_LENGTH, BATCH_SIZE)
    model = new_student(tokenizer, labels, load_descriptions())
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * len(train_loader))
    fit(OUTPUT, model, tokenizer, train_loader, valid_loader, optimizer, schedule, cross_entropy, EPOCHS, settings)


if __name__ == "__main__":
    main()
