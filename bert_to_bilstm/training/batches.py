"""Batches of sentences of nearly one length, tokenised once and kept on the device."""

from collections.abc import Iterator
from itertools import chain
from typing import cast

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedTokenizerBase

from bert_to_bilstm.training.device import make_accelerator

LENGTH_POOL = 50  # batches that are sorted by length together: more → less padding, fewer → more random batches


class LengthGroupedBatches(Sampler[list[int]]):
    """Batches of indices of nearly one length.

    With a seed: `epoch_size` of them an epoch (0: every index once), the next ones of an endless row of random orders,
    so that every index comes once before any comes again. Pools of LENGTH_POOL batches are sorted by length and cut,
    and the batches shuffled. Without a seed: every index once, the longest first.
    """

    drop_last = False

    def __init__(self, lengths: Tensor, batch_size: int, seed: int | None = None, epoch_size: int = 0) -> None:
        self.lengths = lengths  # (sentences,), tokens
        self.batch_size = batch_size
        self.seed = seed
        self.epoch_size = epoch_size or len(lengths)
        self.epoch = 1  # counted from 1; not `set_epoch`, which accelerate would call with a count of its own

    def __len__(self) -> int:
        return -(-self.epoch_size // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self.seed is None:
            longest_first = self.lengths.argsort(descending=True, stable=True)
            yield from (batch.tolist() for batch in longest_first.split(self.batch_size))
            return
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        pools = self.chosen(self.seed).split(self.batch_size * LENGTH_POOL)
        batches = [
            batch for pool in pools for batch in pool[self.lengths[pool].argsort(stable=True)].split(self.batch_size)
        ]
        # A short batch stays the last: only there does accelerate share it out to several processes.
        for number in [*torch.randperm(len(batches) - 1, generator=generator).tolist(), len(batches) - 1]:
            yield batches[number].tolist()

    def chosen(self, seed: int) -> Tensor:
        """The indices of this epoch, in random order."""
        size, start = len(self.lengths), (self.epoch - 1) * self.epoch_size
        end = start + self.epoch_size
        orders = [
            torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + number))
            for number in range(start // size, -(-end // size))
        ]
        first = start // size * size  # the place in the endless row at which these orders begin
        return torch.cat(orders)[start - first : end - first]


def make_loader(
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    max_length: int,
    batch_size: int,
    seed: int | None = None,
    epoch_size: int = 0,
) -> DataLoader:
    """Batches `input_ids` (batch, length), `attention_mask` (batch, length), `labels` (batch, …) of the columns
    `sentence` and `label`; shuffled if there is a seed, `epoch_size` sentences an epoch (0: all). Sentences are
    tokenised here, once, and cut to `max_length`, or to what the model can read; one without a token becomes one
    unknown token.
    """
    max_length = min(max_length, tokenizer.model_max_length)
    encoded = tokenizer(rows["sentence"][:], truncation=True, max_length=max_length)["input_ids"] if len(rows) else []
    encoded = [ids or [tokenizer.unk_token_id] for ids in encoded]
    lengths = torch.tensor([len(ids) for ids in encoded], dtype=torch.long)
    device = make_accelerator().device  # all of it stays there: a headline takes some 100 bytes
    tokens = torch.tensor(list(chain.from_iterable(encoded)), dtype=torch.int32, device=device)
    ends = lengths.cumsum(0).to(device)
    starts = ends - lengths.to(device)
    labels = torch.tensor(rows.with_format("numpy")["label"][:], device=device)

    def collate(numbers: list[int]) -> dict[str, Tensor]:
        chosen = torch.tensor(numbers)
        width = torch.arange(lengths[chosen].max().item(), device=device)
        chosen = chosen.to(device, non_blocking=True)
        positions = starts[chosen].unsqueeze(1) + width  # (batch, length)
        mask = positions < ends[chosen].unsqueeze(1)
        input_ids = tokens[positions.clamp(max=len(tokens) - 1)]
        input_ids = input_ids.masked_fill(~mask, tokenizer.pad_token_id)
        return {"input_ids": input_ids, "attention_mask": mask.long(), "labels": labels[chosen]}

    sampler = LengthGroupedBatches(lengths, batch_size, seed, epoch_size)
    numbers = cast(torch.utils.data.Dataset, range(len(lengths)))  # it has all that a loader asks of a data set
    return DataLoader(numbers, batch_sampler=sampler, collate_fn=collate)
