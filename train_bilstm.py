"""Stage 3 of 5: trains the student alone, on the labels: what distillation has to beat.

Reads   data/ (stage 1)
Writes  model2/{epoch}-{accuracy}/ after every epoch, model2/best (a link), model2/history.csv, model2/history.png,
        model2/run.json

    python train_bilstm.py
    accelerate launch --multi_gpu --num_processes 2 train_bilstm.py
"""

from bert_to_bilstm.command_line import begin

if __name__ == "__main__":
    begin("Stage 3 of 5: train the student alone, on the labels")

from pathlib import Path

import torch
from datasets import DatasetDict
from transformers import get_scheduler, set_seed

from bert_to_bilstm.models.bilstm import new_student
from bert_to_bilstm.models.checkpoints import load_tokenizer
from bert_to_bilstm.outputs.onnx_export import export_best
from bert_to_bilstm.settings import settings_of
from bert_to_bilstm.stages import stage
from bert_to_bilstm.text.dataset import STUDENT_TOKENIZER, digests, load_data, load_descriptions, load_labels
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.loop import fit
from bert_to_bilstm.training.losses import LabelLoss
from bert_to_bilstm.training.run import Run

BATCH_SIZE = 128  # of all processes together; article: 16
LEARNING_RATE = 2e-3  # peak; article: 1e-4
SCHEDULE = "cosine"  # to 0 at the last step; or "linear", "constant" or, as the article, "constant_with_warmup"
WARMUP_RATIO = 0.05  # of all steps, from 0; article: 1,000 steps, from 0.3 of the rate
WEIGHT_DECAY = 0.01  # of AdamW
HIDDEN_SIZE = 512  # units of each direction, as the article; fewer answer sooner and know less
POOLING = "max"  # of each unit over the tokens; article: "final", the states after the last one
DROPOUT = 0.4  # of the embeddings and of what the pooling keeps; article: none
EPOCHS = 8  # article: 50
CLASS_WEIGHTS = None  # or "balanced": every class counts the same, however rare it is
KEEP_CHECKPOINTS = 0  # the best ones that stay, beside the last; 0: all
SEED = 42
OUTPUT = Path("model2")


def train(run: Run, data: DatasetDict) -> None:
    set_seed(SEED)
    tokenizer = load_tokenizer(STUDENT_TOKENIZER)
    train, valid = data["train"], data["valid"]
    train_loader = make_loader(tokenizer, train["sentence"], train["label"], BATCH_SIZE, SEED)
    valid_loader = make_loader(tokenizer, valid["sentence"], valid["label"], BATCH_SIZE)
    model = new_student(tokenizer, load_labels(), load_descriptions(), DROPOUT, POOLING, HIDDEN_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    steps = EPOCHS * len(train_loader)
    schedule = get_scheduler(SCHEDULE, optimizer, round(WARMUP_RATIO * steps), steps)
    loss_function = LabelLoss(CLASS_WEIGHTS, train["label"][:], len(load_labels()))
    fit(run, model, tokenizer, train_loader, valid_loader, optimizer, schedule, loss_function)


def main() -> None:
    settings = settings_of(globals())
    with stage(OUTPUT, then="distill.py"):
        data = load_data()
        run = Run(OUTPUT, settings | digests(data), KEEP_CHECKPOINTS)
        if not run.is_finished():
            train(run, data)
        export_best(OUTPUT, data["valid"])


if __name__ == "__main__":
    main()
