"""Stage 2 of 5: fine-tunes the teacher, BERT, on the headlines.

Reads   data/ (stage 1) and MODEL_NAME
Writes  model1/{epoch}-{accuracy}/ after every epoch, model1/history.csv, model1/history.png, model1/run.json

    python finetune_bert.py
    accelerate launch --num_processes 2 finetune_bert.py

BERT: Devlin et al. 2019, arXiv 1810.04805.
"""

from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_linear_schedule_with_warmup,
    set_seed,
)

from bert_to_bilstm.files import file_fingerprint, first_line
from bert_to_bilstm.models.checkpoints import check_model, refuse_pickles
from bert_to_bilstm.stages import say, stage
from bert_to_bilstm.text.dataset import DATA, fingerprint, load_data, load_descriptions, load_labels
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.device import make_accelerator
from bert_to_bilstm.training.loop import fit
from bert_to_bilstm.training.run import already_done, constants

MODEL_NAME = "bert-base-chinese"  # a name on the hub, or a local folder with a model in it
MAX_LENGTH = 128  # tokens; the longest headline has 145 characters, 99.9% have fewer than 64
# Values from the literature for bert-base-chinese (Devlin et al. 2019, appendix A.3); not measured here.
BATCH_SIZE = 32  # article: 16
LEARNING_RATE = 2e-5  # peak; article: 1e-5
WARMUP_RATIO = 0.1  # of all steps, from 0; article: from 0.3 of the rate over 5,000 steps, then constant
WEIGHT_DECAY = 0.01
EPOCHS = 3  # article: 10, whose best were 3 and 4
SEED = 42
OUTPUT = Path("model1")


def load_teacher(labels: dict[int, str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The pretrained model with a fresh classification layer, in fp32, and its tokenizer."""
    refuse_pickles(Path(MODEL_NAME))
    try:
        tokenizer = AutoTokenizer.from_pretrained(MODEL_NAME, trust_remote_code=False)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            MODEL_NAME,
            num_labels=len(labels),
            id2label=labels,
            label2id={label: number for number, label in labels.items()},
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,  # a checkpoint in half precision would be trained in half precision
            # on CPUs the backward pass of scaled_dot_product_attention is slow: BERT-base trains 1.4 times as fast so
            attn_implementation="eager" if make_accelerator().device.type == "cpu" else "sdpa",
            output_loading_info=True,
        )
    except Exception as error:  # as many kinds as there are kinds of damage
        raise SystemExit(
            f"{MODEL_NAME} could not be loaded ({first_line(error)}): go online, or copy the model's folder "
            "(config.json, vocab.txt, model.safetensors, tokenizer files) here and set MODEL_NAME in finetune_bert.py "
            "to its path."
        ) from None
    if 2 * len(loading["missing_keys"]) > len(model.state_dict()):
        raise SystemExit(f"{MODEL_NAME} has weights of another model than its config.json says: copy it again.")
    check_model(MODEL_NAME, model, tokenizer)
    model.config.label_descriptions = load_descriptions()
    say(f"{MODEL_NAME}: starting at random: {', '.join(sorted(loading['missing_keys']))}; the rest is pretrained.")
    return model, tokenizer


def train() -> None:
    data, labels = load_data(), load_labels()
    settings = constants(globals()) | {"data": fingerprint(data), "labels": file_fingerprint(DATA / "label.csv")}
    if already_done(OUTPUT, settings, EPOCHS):
        return
    set_seed(SEED)
    model, tokenizer = load_teacher(labels)
    train_loader = make_loader(tokenizer, data["train"], MAX_LENGTH, BATCH_SIZE, SEED)
    valid_loader = make_loader(tokenizer, data["valid"], MAX_LENGTH, BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    steps = EPOCHS * len(train_loader)
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARMUP_RATIO * steps), steps)
    fit(OUTPUT, model, tokenizer, train_loader, valid_loader, optimizer, schedule, cross_entropy, EPOCHS, settings)


def main() -> None:
    with stage(OUTPUT):
        train()


if __name__ == "__main__":
    main()
