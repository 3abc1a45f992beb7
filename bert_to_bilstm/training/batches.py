"""Batches of sentences of nearly one length, tokenised once and kept on the device."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedTokenizerBase

from bert_to_bilstm.training.device import make_accelerator

TOKENISED_TOGETHER = 10_000  # sentences
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
        # A short batch stays the last.
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
    sentences: Sequence[str],
    labels: Sequence[int] | Tensor,
    batch_size: int,
    seed: int | None = None,
    epoch_size: int = 0,
) -> DataLoader:
    """Batches of sentences and their `labels` (sentence, …), on the device: `input_ids` (batch, length),
    `attention_mask` (batch, length), `labels` (batch, …), `batch_size`, and `rows`, how many of its first rows count.

    They are shuffled if there is a seed, `epoch_size` sentences an epoch (0: all). Sentences are tokenised here, once,
    and cut to the tokenizer's `model_max_length`; one without a token becomes one unknown token. Of several processes
    each has its part of every batch; where there are fewer rows than processes, one row that does not count.
    """
    tokens, lengths = tokenise(tokenizer, sentences)
    accelerator = make_accelerator()
    device = accelerator.device  # all of it stays there: a headline takes some 100 bytes
    tokens = tokens.to(device)
    ends = lengths.cumsum(0).to(device)
    starts = ends - lengths.to(device)
    targets = torch.as_tensor(labels[:]).to(device)

    def collate(numbers: list[int]) -> dict[str, Any]:
        mine = numbers[accelerator.process_index :: accelerator.num_processes]
        chosen = torch.tensor(mine or numbers[:1])
        width = torch.arange(int(lengths[chosen].max()), device=device)
        chosen = chosen.to(device)
        positions = starts[chosen].unsqueeze(1) + width  # (batch, length)
        mask = positions < ends[chosen].unsqueeze(1)
        input_ids = tokens[positions.clamp(max=len(tokens) - 1)].long()
        input_ids = input_ids.masked_fill(~mask, tokenizer.pad_token_id)
        batch = {"input_ids": input_ids, "attention_mask": mask.long(), "labels": targets[chosen]}
        return batch | {"batch_size": len(numbers), "rows": len(mine)}

    sampler = LengthGroupedBatches(lengths, batch_size, seed, epoch_size)
    numbers = cast(torch.utils.data.Dataset, range(len(lengths)))  # it has all that a loader asks of a data set
    return DataLoader(numbers, batch_sampler=sampler, collate_fn=collate)


def tokenise(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The token ids of all sentences one after the other, int16 where they fit, and the length of each sentence.

    In pieces: what the tokenizer returns takes ten times as much memory as the ids.
    """
    spare = next(
        one for one in (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) if one is not None
    )
    ids: list[np.ndarray] = []
    lengths: list[int] = []
    for start in range(0, len(sentences), TOKENISED_TOGETHER):
        piece = sentences[start : start + TOKENISED_TOGETHER]
        encoded = tokenizer(piece, truncation=True, return_attention_mask=False)["input_ids"]
        encoded = [row or [spare] for row in encoded]
        lengths += map(len, encoded)
        wide = np.fromiter(chain.from_iterable(encoded), np.int32)
        ids.append(wide.astype(np.int16) if wide.max() < 2**15 else wide)
    return torch.from_numpy(np.concatenate([np.empty(0, np.int16), *ids])), torch.tensor(lengths)
