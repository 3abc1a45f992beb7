"""The one epoch loop of all three trainings.

bf16 is used where the hardware is fast at it, and nothing is read back from the device at each step.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.outputs.model_card import model_card
from bert_to_bilstm.training.batches import LengthGroupedBatches
from bert_to_bilstm.training.device import make_accelerator, release_memory
from bert_to_bilstm.training.run import HISTORY_COLUMNS, goes_on_for_ever, resume, save_epoch, start_run


def fit(
    directory: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_loader: DataLoader,
    valid_loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    loss_function: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    settings: dict,
    averaged_epochs: int = 0,
) -> None:
    """Trains `model`, saving `{directory}/{epoch}-{accuracy:.4f}/` and a row of history.csv after every epoch.

    `loss_function(logits, labels)` takes (batch, classes) and the loader's labels; `schedule` is stepped every batch.
    Accuracy is that of `valid_loader`, of this epoch alone. In the last `averaged_epochs` epochs the mean of the
    weights after each step so far is validated and saved (stochastic weight averaging, Izmailov et al. 2018, arXiv
    1803.05407). A run that was stopped goes on after its last whole epoch, and ends with the same bytes as one that was
    not. Raises SystemExit where the loss is no longer a number, or where the disk or the accelerator's memory is full.
    """
    accelerator = make_accelerator()
    batches, dev = train_loader.batch_sampler, valid_loader.batch_sampler
    assert isinstance(batches, LengthGroupedBatches) and isinstance(dev, LengthGroupedBatches)
    assert batches.seed is not None
    trained, averaged = model, AveragedModel(model, accelerator.device) if averaged_epochs else None
    sentences = {"train": len(batches.lengths), "dev": len(dev.lengths)}
    accelerator.wait_for_everyone()  # the others have looked at the directory before it is written to
    model, optimizer, train_loader, valid_loader = accelerator.prepare(model, optimizer, train_loader, valid_loader)
    history = resume(directory, trained, averaged, optimizer, schedule)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        start_run(directory, accelerator, settings, trained, epochs - len(history))
    try:
        for epoch in range(len(history) + 1, epochs + 1):
            started = time.perf_counter()
            batches.epoch = epoch
            torch.manual_seed(batches.seed * 1_000_003 + 1000 * epoch + accelerator.process_index)  # for dropout
            average = averaged if epoch > epochs - averaged_epochs else None
            bar = tqdm(
                total=len(train_loader), desc=f"{directory} {epoch}/{epochs}", disable=not accelerator.is_main_process
            )
            with bar:
                train_loss = train_epoch(
                    accelerator, model, train_loader, optimizer, schedule, loss_function, bar, average
                )
                seconds = time.perf_counter() - started
                result = cast(PreTrainedModel, average.module) if average else trained
                valid_accuracy = validate(accelerator, result, valid_loader)
                bar.set_postfix(loss=f"{train_loss:.4f}", accuracy=f"{valid_accuracy:.4f}")
            speed = batches.epoch_size / seconds
            row = (epoch, f"{train_loss:.6f}", f"{valid_accuracy:.4f}", f"{seconds:.1f}", f"{speed:.1f}")
            history.append(dict(zip(HISTORY_COLUMNS, map(str, row), strict=True)))
            if accelerator.is_main_process:
                state = {
                    "model": trained.state_dict(),
                    "averaged": averaged.state_dict() if averaged else {},
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "history": history,
                }
                finished = len(history) == epochs and not goes_on_for_ever(settings)
                card = model_card(result, history, settings, sentences)
                save_epoch(directory, result, tokenizer, card, history, {} if finished else state)
            release_memory()
    except torch.OutOfMemoryError:
        raise SystemExit(f"{accelerator.device} is out of memory: lower BATCH_SIZE or MAX_LENGTH.") from None
    accelerator.wait_for_everyone()  # all find the last checkpoint


def train_epoch(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader,
    optimizer: AcceleratedOptimizer,
    schedule: LRScheduler,
    loss_function: Callable[[Tensor, Tensor], Tensor],
    bar: tqdm,
    averaged: AveragedModel | None = None,
) -> float:
    """One pass over `loader`; returns the mean loss. The weights after each step are added to `averaged`.

    Raises SystemExit where a loss is not a finite number.
    """
    model.train()
    loss_sum, samples = torch.zeros((), device=accelerator.device), 0
    broken = torch.zeros((), dtype=torch.long, device=accelerator.device)  # the first step whose loss is not finite
    for step, batch in enumerate(loader, start=1):
        labels = batch.pop("labels")
        loss = loss_function(model(**batch).logits, labels)
        accelerator.backward(loss)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if averaged:
            averaged.update_parameters(accelerator.unwrap_model(model))
        loss = loss.detach()
        loss_sum += loss * len(labels)
        samples += len(labels)
        broken = torch.where((broken == 0) & ~loss.isfinite(), step, broken)
        bar.update()
        if step % 50 == 0 or step == len(loader):  # reading from the device waits for it
            if broken:
                raise SystemExit(f"the loss is {loss:.0f} since {bar.desc}, step {broken}: lower LEARNING_RATE.")
            bar.set_postfix(loss=f"{loss_sum.item() / samples:.4f}")
    return accelerator.reduce(loss_sum / samples, "mean").item()


def validate(accelerator: Accelerator, model: PreTrainedModel, loader: DataLoader) -> float:
    """The accuracy on `loader`, every sample counted once over all processes."""
    model.eval()
    accuracy = MulticlassAccuracy(model.config.num_labels, average="micro").to(accelerator.device)
    with torch.inference_mode(), accelerator.autocast():
        for batch in loader:
            labels = batch.pop("labels")
            accuracy.update(*accelerator.gather_for_metrics((model(**batch).logits, labels)))
    return accuracy.compute().item()
