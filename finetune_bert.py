"""Stage 2 of 5: fine-tunes the teacher, BERT, on the headlines.

Reads   data/ (stage 1) and MODEL_NAME
Writes  model1/{epoch}-{accuracy}/ after every epoch, model1/best (a link), model1/history.csv, model1/history.png,
        model1/run.json

    python finetune_bert.py
    accelerate launch --multi_gpu --num_processes 2 finetune_bert.py

BERT: Devlin et al. 2019, arXiv 1810.04805.
"""

from bert_to_bilstm.command_line import begin

if __name__ == "__main__":
    begin("Stage 2 of 5: fine-tune the teacher")

from pathlib import Path

import torch
from datasets import DatasetDict
from transformers import get_linear_schedule_with_warmup, set_seed

from bert_to_bilstm.models.checkpoints import model_fingerprint
from bert_to_bilstm.models.pretrained import find_pretrained, load_pretrained
from bert_to_bilstm.settings import settings_of
from bert_to_bilstm.stages import stage
from bert_to_bilstm.text.dataset import digests, load_char_table, load_data, load_descriptions, load_labels
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.device import fast_bf16
from bert_to_bilstm.training.loop import fit
from bert_to_bilstm.training.losses import LabelLoss
from bert_to_bilstm.training.run import Run

MODEL_NAME = "bert-base-chinese"  # a name on the hub, or a local folder with a model in it
MAX_LENGTH = 128  # tokens; the longest headline has 145 characters, 99.9% have fewer than 64
# Values from the literature for bert-base-chinese (Devlin et al. 2019, appendix A.3); not measured here.
BATCH_SIZE = 32  # of all processes together; article: 16
LEARNING_RATE = 2e-5  # peak; article: 1e-5
WARMUP_RATIO = 0.1  # of all steps, from 0, then down to 0; article: 5,000 steps from 0.3 of the rate, then constant
WEIGHT_DECAY = 0.01  # not of biases and LayerNorms
MAX_GRAD_NORM = 1.0  # longer gradients are scaled down to it, as in BERT's own code; article: never
EPOCHS = 3  # article: 10, whose best were 3 and 4
CLASS_WEIGHTS = None  # or "balanced": every class counts the same, however rare it is
KEEP_CHECKPOINTS = 0  # the best ones that stay, beside the last; 0: all
SEED = 42
OUTPUT = Path("model1")


def train(run: Run, data: DatasetDict) -> None:
    set_seed(SEED)
    normalizer = load_char_table().normalizer()
    model, tokenizer = load_pretrained(
        MODEL_NAME, load_labels(), load_descriptions(), normalizer, MAX_LENGTH, fast_bf16()
    )
    train, valid = data["train"], data["valid"]
    train_loader = make_loader(tokenizer, train["sentence"], train["label"], BATCH_SIZE, SEED)
    valid_loader = make_loader(tokenizer, valid["sentence"], valid["label"], BATCH_SIZE)
    matrices = [weights for weights in model.parameters() if weights.ndim > 1]
    vectors = [weights for weights in model.parameters() if weights.ndim <= 1]  # biases and LayerNorms
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)
    steps = EPOCHS * len(train_loader)
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARMUP_RATIO * steps), steps)
    loss_function = LabelLoss(CLASS_WEIGHTS, train["label"][:], len(load_labels()))
    fit(run, model, tokenizer, train_loader, valid_loader, optimizer, schedule, loss_function, MAX_GRAD_NORM)


def main() -> None:
    settings = settings_of(globals())
    with stage(OUTPUT, then="train_bilstm.py"):
        data = load_data()
        model = model_fingerprint(find_pretrained(MODEL_NAME))
        read = {name: digest for name, digest in digests(data).items() if name != "tokenizer"}  # that is the students'
        run = Run(OUTPUT, settings | read | {"model": model}, KEEP_CHECKPOINTS)
        if not run.is_finished():
            train(run, data)


if __name__ == "__main__":
    main()
