"""Stage 3 of 5: trains the student alone, on the labels: what distillation has to beat.

Reads   data/ (stage 1)
Writes  model2/{epoch}-{accuracy}/ after every epoch, model2/history.csv, model2/history.png, model2/run.json

    python train_bilstm.py
    accelerate launch --num_processes 2 train_bilstm.py
"""

from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import get_scheduler, set_seed

from bert_to_bilstm.files import file_fingerprint
from bert_to_bilstm.models.bilstm import new_student
from bert_to_bilstm.models.checkpoints import load_tokenizer
from bert_to_bilstm.stages import stage
from bert_to_bilstm.text.dataset import DATA, STUDENT_TOKENIZER, fingerprint, load_data, load_descriptions, load_labels
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.loop import fit
from bert_to_bilstm.training.run import already_done, constants

MAX_LENGTH = 128  # tokens
BATCH_SIZE = 128  # article: 16
LEARNING_RATE = 1e-3  # peak; article: 1e-4
SCHEDULE = "cosine"  # to 0 at the last step; article: "constant_with_warmup"
WARMUP_STEPS = 300  # from 0; article: 1,000, from 0.3 of the rate
DROPOUT = 0.4  # of the embeddings and of the final states; article: none
AVERAGED_EPOCHS = 0  # last epochs over which the weights are averaged; article: none
EPOCHS = 15  # article: 50
SEED = 42
OUTPUT = Path("model2")


def train() -> None:
    data, labels, tokenizer = load_data(), load_labels(), load_tokenizer(STUDENT_TOKENIZER)
    settings = constants(globals()) | {
        "data": fingerprint(data),
        "labels": file_fingerprint(DATA / "label.csv"),
        "tokenizer": file_fingerprint(STUDENT_TOKENIZER / "tokenizer.json"),
    }
    if already_done(OUTPUT, settings, EPOCHS):
        return
    set_seed(SEED)
    train_loader = make_loader(tokenizer, data["train"], MAX_LENGTH, BATCH_SIZE, SEED)
    valid_loader = make_loader(tokenizer, data["valid"], MAX_LENGTH, BATCH_SIZE)
    model = new_student(tokenizer, labels, load_descriptions(), DROPOUT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = get_scheduler(SCHEDULE, optimizer, WARMUP_STEPS, EPOCHS * len(train_loader))
    fit(
        OUTPUT,
        model,
        tokenizer,
        train_loader,
        valid_loader,
        optimizer,
        schedule,
        cross_entropy,
        EPOCHS,
        settings,
        AVERAGED_EPOCHS,
    )


def main() -> None:
    with stage(OUTPUT):
        train()


if __name__ == "__main__":
    main()
