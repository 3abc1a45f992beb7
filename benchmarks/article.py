"""The article's loops in our own words, faithful in what they do at each step: the other side of `benchmarks/bench.py`.

Batches of 16 in fp32, drawn at random whatever their lengths, their sentences tokenised again in every epoch; the loss
read back from the device at every step. The teacher is fine-tuned in eval mode, without dropout, since the article
never calls `model.train()`. Each loop yields after every step, so that its losses can be looked at and its steps timed.
"""

from collections.abc import Iterator
from typing import cast

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_SIZE = 16
STUDENT_LEARNING_RATE = 1e-4
STUDENT_WARMUP = 1000  # steps, from 0.3 of the rate; then constant
TEACHER_LEARNING_RATE = 1e-5
TEACHER_WARMUP = 5000
WARMUP_START = 0.3


class Student(nn.Module):
    """Embedding → bidirectional LSTM over packed sequences → tanh of both final states → Linear."""

    def __init__(self, vocab_size: int, classes: int, width: int = 512) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * width, classes)

    def forward(self, sentences: list[Tensor]) -> Tensor:
        """Token ids of each sentence, (length,) → logits (batch, classes)."""
        lengths = torch.tensor([len(sentence) for sentence in sentences])
        embedded = self.embedding(pad_sequence(sentences, batch_first=True))  # (batch, length, width)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        _, (final, _) = self.lstm(packed)  # (2, batch, width)
        return self.classifier(torch.tanh(torch.cat([final[0], final[1]], dim=1)))


def train_student(
    model: Student, tokenizer: PreTrainedTokenizerBase, rows: Dataset, device: torch.device
) -> Iterator[float]:
    """Trains on `sentence` and `label` of `rows`, epoch after epoch without end; yields the loss of each step."""

    def collate(samples: list[dict]) -> tuple[list[Tensor], list[Tensor]]:
        sentences = [torch.tensor(tokenizer(sample["sentence"])["input_ids"]) for sample in samples]
        return sentences, [torch.tensor(sample["label"]) for sample in samples]

    model.to(device)
    loader = DataLoader(rows, batch_size=BATCH_SIZE, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=STUDENT_LEARNING_RATE, fused=False)
    schedule = LinearLR(optimizer, WARMUP_START, total_iters=STUDENT_WARMUP)
    while True:
        for sentences, labels in loader:
            sentences = [sentence.to(device) for sentence in sentences]
            labels = torch.stack([label.to(device) for label in labels])
            loss = cross_entropy(model(sentences), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            yield loss.item()


def train_teacher(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset, device: torch.device
) -> Iterator[float]:
    """Fine-tunes on `sentence` and `label` of `rows`, epoch after epoch without end; yields the loss of each step."""

    def collate(samples: list[dict]) -> dict[str, Tensor]:
        batch = tokenizer([sample["sentence"] for sample in samples], padding=True, return_tensors="pt")
        return {**batch, "labels": torch.tensor([sample["label"] for sample in samples])}

    model.to(device).eval()  # type: ignore[arg-type]  # as transformers describes `to`
    loader = DataLoader(rows, batch_size=BATCH_SIZE, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=TEACHER_LEARNING_RATE, fused=False)
    schedule = LinearLR(optimizer, WARMUP_START, total_iters=TEACHER_WARMUP)
    while True:
        for batch in loader:
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            labels = batch.pop("labels")
            loss = cross_entropy(model(**batch).logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            yield loss.item()


@torch.no_grad()
def label(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str], device: torch.device
) -> Iterator[Tensor]:
    """Yields the teacher's logits (batch, classes) for `sentences`, batch by batch in their order, on the CPU."""
    model.to(device).eval()  # type: ignore[arg-type]  # as transformers describes `to`
    for batch in DataLoader(cast(torch.utils.data.Dataset[str], sentences), batch_size=BATCH_SIZE):
        encoded = tokenizer(batch, padding=True, return_tensors="pt").to(device)
        yield model(**encoded).logits.cpu()
