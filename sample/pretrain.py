"""Pretrains sample/tiny-bert-chinese, the small stand-in for bert-base-chinese, by masked language modelling.

Reads   tnews/train.json (headlines and their keywords; never dev or test), and every unlabelled/*.txt and
        unlabelled/*.txt.gz (one text a line, in the order of their names: general text first, headlines last)
Writes  sample/tiny-bert-chinese/ (weights in half precision, tokenizer) and the figures of its model card on the
        screen; on the way, pretraining/

    python sample/pretrain.py        from the root of the repository; started again, it goes on where it was stopped

BERT and its masking: Devlin et al. 2019, arXiv 1810.04805; masking whole n-grams as in MacBERT: Cui et al. 2020,
arXiv 2004.13922.
"""

import gzip
import hashlib
import json
import platform
import random
import sys
import time
from collections.abc import Iterator
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from tokenizers import BertWordPieceTokenizer
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM, BertTokenizer, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from bert_to_bilstm.text.char_table import builtin_table
from bert_to_bilstm.training.device import fast_bf16

OUTPUT = ROOT / "sample" / "tiny-bert-chinese"
VOCABULARY_SIZE = 6500  # word pieces
ALPHABET = 5400  # the most frequent characters; the rest of the vocabulary is Latin words, numbers and their pieces
HIDDEN_LAYERS = 4
HIDDEN_SIZE = 256
MAX_LENGTH = 64  # tokens; longer texts are cut into pieces of this length
GENERAL_EPOCHS = 1  # passes over every file but the last
HEADLINE_EPOCHS = 4  # passes over TNEWS and the last file, after the general text
TOKENS_PER_BATCH = 4096  # with padding
MASKED_SHARE = 0.2  # of the tokens; BERT: 0.15
NGRAM_LENGTHS = (0.4, 0.3, 0.2, 0.1)  # chance that a masked span is 1, 2, 3, 4 tokens long (MacBERT's)
LEARNING_RATE = 1e-3  # peak: linear warm-up, linear decay
WARMUP_RATIO = 0.05  # of all steps
SEED = 42


def read_texts() -> tuple[list[list[tuple[str, str]]], dict[str, str]]:
    """The texts of each file as pairs (text, keywords or ""), general text first, TNEWS last; each file's sha256."""
    table = builtin_table()
    files, digests = [], {}
    for path in [*sorted((ROOT / "unlabelled").glob("*.txt*")), ROOT / "tnews" / "train.json"]:
        if not path.exists():
            raise SystemExit(f"{path} is missing: python prepare_data.py downloads tnews/.")
        content = path.read_bytes()
        digests[path.name] = hashlib.sha256(content).hexdigest()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8").splitlines()
        if path.suffix == ".json":
            rows = [json.loads(line) for line in lines]
            pairs = [(row["sentence"], row["keywords"]) for row in rows]
        else:
            pairs = [(line, "") for line in lines]
        files.append([(table.convert(text).strip(), table.convert(words)) for text, words in pairs if text.strip()])
    return files, digests


def train_tokenizer(texts: Iterator[str]) -> BertTokenizer:
    trainer = BertWordPieceTokenizer()
    trainer.train_from_iterator(
        texts, vocab_size=VOCABULARY_SIZE, limit_alphabet=ALPHABET, min_frequency=5, show_progress=False
    )
    return BertTokenizer(vocab=trainer.get_vocab())


def encode(tokenizer: BertTokenizer, texts: list[tuple[str, str]]) -> list[dict[str, list[int]]]:
    """Token ids and segment ids of every text, in pieces of at most MAX_LENGTH tokens."""
    first, second = zip(*texts, strict=True)
    plain = tokenizer(list(first), add_special_tokens=False)["input_ids"]
    words = tokenizer(list(second), add_special_tokens=False)["input_ids"]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    pieces = []
    for ids, keywords in zip(plain, words, strict=True):
        tail = [*keywords[: MAX_LENGTH // 2 - 1], sep] if keywords else []
        room = MAX_LENGTH - 2 - len(tail)
        for start in range(0, len(ids), room):
            piece = [cls, *ids[start : start + room], sep]
            pieces.append({"input_ids": piece + tail, "token_type_ids": [0] * len(piece) + [1] * len(tail)})
    return pieces


def batches(pieces: list[dict], generator: random.Random) -> list[list[dict]]:
    """The pieces in random order, cut into batches of TOKENS_PER_BATCH and of nearly one length each."""
    pieces = generator.sample(pieces, len(pieces))
    result: list[list[dict]] = []
    for start in range(0, len(pieces), 10_000):
        batch: list[dict] = []
        for piece in sorted(pieces[start : start + 10_000], key=lambda piece: len(piece["input_ids"])):
            if (len(batch) + 1) * len(piece["input_ids"]) > TOKENS_PER_BATCH:
                result.append(batch)
                batch = []
            batch.append(piece)
        result.append(batch)
    return generator.sample(result, len(result))


class NgramMasking:
    """Makes a padded batch in which spans of 1 to 4 tokens are hidden: 80% `[MASK]`, 10% a random token, 10% as is."""

    def __init__(self, tokenizer: BertTokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, batch_of_one: list[list[dict]]) -> dict[str, torch.Tensor]:
        batch = self.tokenizer.pad(batch_of_one[0], return_tensors="pt")  # (batch, length)
        input_ids, special = batch["input_ids"], torch.tensor(self.tokenizer.all_special_ids)
        lengths = torch.tensor(NGRAM_LENGTHS)
        mean_length = float((lengths * torch.arange(1, len(lengths) + 1)).sum())
        start = torch.rand(input_ids.shape) < MASKED_SHARE / mean_length
        span = torch.multinomial(lengths, input_ids.numel(), replacement=True).view_as(input_ids) + 1
        hidden = torch.zeros_like(start)
        for offset in range(len(lengths)):
            hidden[:, offset:] |= (start & (span > offset))[:, : input_ids.shape[1] - offset]
        hidden &= ~torch.isin(input_ids, special) | (input_ids == self.tokenizer.unk_token_id)
        batch["labels"] = input_ids.where(hidden, -100)
        fate = torch.rand(input_ids.shape)
        random_ids = torch.randint(len(special), len(self.tokenizer), input_ids.shape)
        masked = input_ids.where(~hidden | (fate >= 0.8), self.tokenizer.mask_token_id)
        batch["input_ids"] = masked.where(~hidden | (fate < 0.9), random_ids)
        return dict(batch)


class MaskedLanguageModelTrainer(Trainer):
    """Computes the vocabulary's scores at the hidden positions only; they are most of the model's arithmetic."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        labels = inputs.pop("labels")
        hidden = labels != -100
        scores = model.cls(model.bert(**inputs).last_hidden_state[hidden])  # (hidden positions, vocabulary)
        loss = cross_entropy(scores, labels[hidden])
        return (loss, {"loss": loss}) if return_outputs else loss


def main() -> None:
    started = time.time()
    generator = random.Random(SEED)
    files, digests = read_texts()
    tokenizer = train_tokenizer(text for file in files for pair in file for text in pair)
    print(f"{sum(map(len, files)):,} texts of {', '.join(digests)}; {len(tokenizer)} word pieces", flush=True)
    *general, headlines, tnews = [encode(tokenizer, file) for file in files]
    held_out, headlines = headlines[:2000], headlines[2000:]
    schedule = [batch for _ in range(GENERAL_EPOCHS) for batch in batches(list(chain(*general)), generator)]
    schedule += [batch for _ in range(HEADLINE_EPOCHS) for batch in batches(headlines + tnews, generator)]

    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=HIDDEN_LAYERS,
        num_attention_heads=HIDDEN_SIZE // 64,
        intermediate_size=4 * HIDDEN_SIZE,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,  # far fewer passes than would overfit; set to BERT's 0.1 before saving
        attention_probs_dropout_prob=0.0,
    )
    # eager: 1.4 times as fast as scaled_dot_product_attention on CPUs
    model = BertForMaskedLM._from_config(config, attn_implementation="eager")
    arguments = TrainingArguments(
        output_dir="pretraining",
        per_device_train_batch_size=1,  # an item of the data set is a whole batch
        per_device_eval_batch_size=1,
        max_steps=len(schedule),
        train_sampling_strategy="sequential",
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_RATIO,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        adam_beta2=0.98,
        optim="adamw_torch_fused",
        bf16=fast_bf16(),
        use_cpu=not torch.cuda.is_available(),
        logging_steps=50,
        eval_strategy="steps",
        eval_steps=2000,
        save_steps=1000,
        save_total_limit=1,
        remove_unused_columns=False,
        report_to="none",
        seed=SEED,
        disable_tqdm=True,
    )
    trainer = MaskedLanguageModelTrainer(
        model=model,
        args=arguments,
        data_collator=NgramMasking(tokenizer),
        train_dataset=schedule,
        eval_dataset=batches(held_out, generator),
    )
    last = get_last_checkpoint("pretraining") if Path("pretraining").is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    loss = trainer.evaluate()["eval_loss"]
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    model.half().save_pretrained(OUTPUT)
    tokenizer.save_pretrained(OUTPUT)
    print(json.dumps({"steps": len(schedule), "loss": loss, "seconds": time.time() - started, "sha256": digests,
                      "machine": platform.processor(), "date": str(date.today())}, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
