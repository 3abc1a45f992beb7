"""The one epoch loop, and the batching and saving around it: all three trainings and all predictions go through here.

Sentences are tokenised once, batches hold sentences of nearly one length (little padding), bf16 is used where the
hardware is fast at it, and nothing is read back from the device before the epoch ends.
"""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from torchmetrics.classification import MulticlassAccuracy
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from artifacts import new_directory, write_text

HISTORY_COLUMNS = ["epoch", "train_loss", "valid_accuracy", "seconds", "samples_per_second"]
LENGTH_POOL = 50  # batches that are sorted by length together: more → less padding, fewer → more random batches


def fast_bf16() -> bool:
    """Whether the hardware has units for bf16; without them autocast is slower than plain fp32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def make_accelerator() -> Accelerator:
    """CPU, one GPU, Apple's MPS, or a process of `accelerate launch`; a batch is shared out between the processes."""
    return Accelerator(
        mixed_precision="bf16" if fast_bf16() else "no",
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()),
    )


class LengthGroupedBatches(Sampler[list[int]]):
    """Batches of indices of nearly one length, every index once an epoch.

    With a seed, pools of LENGTH_POOL batches are drawn at random, sorted by length, cut, and the batches shuffled, anew
    each epoch (`set_epoch`). Without one, the longest come first.
    """

    drop_last = False

    def __init__(self, lengths: list[int], batch_size: int, seed: int | None = None) -> None:
        self.lengths = torch.tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self.seed is None:
            longest_first = self.lengths.argsort(descending=True, stable=True)
            yield from (batch.tolist() for batch in longest_first.split(self.batch_size))
            return
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        pools = order.split(self.batch_size * LENGTH_POOL)
        batches = [
            batch for pool in pools for batch in pool[self.lengths[pool].argsort(stable=True)].split(self.batch_size)
        ]
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number].tolist()


def make_loader(
    tokenizer: PreTrainedTokenizerBase, rows: Dataset, max_length: int, batch_size: int, seed: int | None = None
) -> DataLoader:
    """Batches `input_ids` (batch, length), `attention_mask` (batch, length), `labels` (batch, …) of the columns
    `sentence` and `label`; shuffled if there is a seed. Sentences are tokenised here, once, and cut to `max_length`;
    one without a token becomes one unknown token.
    """
    encoded = tokenizer(rows["sentence"][:], truncation=True, max_length=max_length)["input_ids"] if len(rows) else []
    tokens = [torch.tensor(ids or [tokenizer.unk_token_id], dtype=torch.int32) for ids in encoded]
    labels = torch.tensor(rows["label"][:])

    def collate(numbers: list[int]) -> dict[str, Tensor]:
        padded = nn.utils.rnn.pad_sequence([tokens[number] for number in numbers], True, tokenizer.pad_token_id)
        lengths = torch.tensor([len(tokens[number]) for number in numbers])
        mask = torch.arange(padded.shape[1]) < lengths.unsqueeze(1)
        return {"input_ids": padded, "attention_mask": mask.long(), "labels": labels[numbers]}

    sampler = LengthGroupedBatches([len(ids) for ids in tokens], batch_size, seed)
    return DataLoader(range(len(tokens)), batch_sampler=sampler, collate_fn=collate)


def constants(module: dict) -> dict:
    """The constants in capitals of a script's `globals()`, as run.json records them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in module.items() if name.isupper()}


def already_done(directory: Path, settings: dict, epochs: int) -> bool:
    """Looks at what an earlier run left in `directory`, before any work is done.

    True where the same settings have been trained to the end; False where there is nothing. Raises SystemExit where
    there is something else, naming what differs and the command that moves it away.
    """
    if not directory.exists() or not any(directory.iterdir()):
        return False
    free = next(name for number in count(1) if not (name := Path(f"{directory}-{number}")).exists())
    move = f"mv {directory} {free}"
    try:
        earlier = json.loads((directory / "run.json").read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SystemExit(f"{directory}/ holds something that is not a finished run: move it away ({move}).") from None
    settings = json.loads(json.dumps(settings))
    different = [name for name in settings | earlier if settings.get(name) != earlier.get(name)]
    if different:
        changes = ", ".join(f"{name} {earlier.get(name)!r} → {settings.get(name)!r}" for name in different)
        raise SystemExit(f"{directory}/ was trained with other settings or data ({changes}): move it away ({move}).")
    if len(read_history(directory)) < epochs:
        raise SystemExit(f"{directory}/ holds a run that was stopped before its last epoch: move it away ({move}).")
    print(f"{directory}/ is finished with these settings and this data; nothing to do.")
    return True


def read_history(directory: Path) -> list[dict[str, str]]:
    """The rows of history.csv, none if there is no such file yet."""
    path = directory / "history.csv"
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_history(directory: Path, rows: list[dict]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(directory / "history.csv", text.getvalue())


def fit(
    directory: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_loader: DataLoader,
    valid_loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss_function: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    settings: dict,
) -> None:
    """Trains `model`, saving `{directory}/{epoch}-{accuracy:.4f}/` and a row of history.csv after every epoch.

    `loss_function(logits, labels)` takes (batch, classes) and the loader's labels; `schedule` is stepped every batch.
    Accuracy is that of `valid_loader`, of this epoch alone.
    """
    accelerator = make_accelerator()
    main, batches, classes = accelerator.is_main_process, train_loader.batch_sampler, model.config.num_labels
    if main:
        directory.mkdir(parents=True, exist_ok=True)
        versions = {name: version(name) for name in ("torch", "transformers", "tokenizers", "accelerate", "datasets")}
        run = {"settings": settings, "versions": versions, "device": str(accelerator.device)}
        write_text(directory / "run.json", json.dumps(run | {"mixed_precision": accelerator.mixed_precision}, indent=2))
    model, optimizer, train_loader, valid_loader = accelerator.prepare(model, optimizer, train_loader, valid_loader)
    accuracy = MulticlassAccuracy(classes, average="micro").to(accelerator.device)
    history = []
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        batches.set_epoch(epoch)
        model.train()
        loss_sum, samples = torch.zeros((), device=accelerator.device), 0
        with tqdm(total=len(train_loader), desc=f"{directory} {epoch}/{epochs}", disable=not main) as bar:
            for step, batch in enumerate(train_loader, start=1):
                labels = batch.pop("labels")
                loss = loss_function(model(**batch).logits, labels)
                accelerator.backward(loss)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                loss_sum += loss.detach() * len(labels)
                samples += len(labels)
                bar.update()
                if step % 50 == 0:  # reading the loss back waits for the device
                    bar.set_postfix(loss=f"{loss_sum.item() / samples:.4f}")
            train_loss = accelerator.reduce(loss_sum / samples, "mean").item()
            seconds = time.perf_counter() - started
            model.eval()
            with torch.inference_mode():
                for batch in valid_loader:
                    labels = batch.pop("labels")
                    accuracy.update(*accelerator.gather_for_metrics((model(**batch).logits, labels)))
            valid_accuracy = accuracy.compute().item()
            accuracy.reset()
            bar.set_postfix(loss=f"{train_loss:.4f}", accuracy=f"{valid_accuracy:.4f}")
        if main:
            with new_directory(directory / f"{epoch}-{valid_accuracy:.4f}") as checkpoint:
                accelerator.unwrap_model(model).save_pretrained(checkpoint)
                tokenizer.save_pretrained(checkpoint)
            speed = len(batches.lengths) / seconds
            row = (epoch, f"{train_loss:.6f}", f"{valid_accuracy:.4f}", f"{seconds:.1f}", f"{speed:.1f}")
            history.append(dict(zip(HISTORY_COLUMNS, row, strict=True)))
            write_history(directory, history)


def predict_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str], max_length: int, batch_size: int
) -> Tensor:
    """Logits (sentence, class) in fp32 on the CPU, in the order of `sentences`; batches are grouped by length."""
    accelerator = make_accelerator()
    rows = Dataset.from_dict({"sentence": sentences, "label": range(len(sentences))})  # label: the place in the input
    loader = make_loader(tokenizer, rows, max_length, batch_size)
    logits = torch.empty(len(sentences), model.config.num_labels)
    model, loader = accelerator.prepare(model.eval(), loader)
    with torch.inference_mode():
        for batch in tqdm(loader, desc="predicting", disable=not accelerator.is_main_process, leave=False):
            positions = batch.pop("labels")
            scores, positions = accelerator.gather_for_metrics((model(**batch).logits.float(), positions))
            logits[positions.cpu()] = scores.cpu()
    return logits
