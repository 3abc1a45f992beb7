"""The one epoch loop of all three trainings.

bf16 is used where the hardware is fast at it, and nothing is read back from the device at each step.
"""

import time
from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_accuracy
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.memory import release_memory
from bert_to_bilstm.outputs.model_card import model_card
from bert_to_bilstm.stages import counted, progress, say, time_left
from bert_to_bilstm.training.batches import LengthGroupedBatches
from bert_to_bilstm.training.calibration import best_temperature
from bert_to_bilstm.training.device import make_accelerator, say_if_busy, within_memory
from bert_to_bilstm.training.run import HISTORY_COLUMNS, Run

LOOK_EVERY = 50  # steps between two looks at the loss: reading from the device waits for it
FEW_STEPS = 200  # a training of fewer has hardly begun

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (batch, classes) and the loader's labels → (batch,)


@within_memory("lower BATCH_SIZE or MAX_LENGTH")
def fit(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_loader: DataLoader,
    valid_loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    loss_function: Loss,
    max_grad_norm: float = 0.0,
) -> None:
    """Trains `model`, saving `{epoch}-{accuracy:.4f}/` and a row of history.csv in the run's directory every epoch.

    `loss_function(logits, labels)` gives the loss of each sentence, (batch,); `schedule` is stepped every batch;
    gradients are scaled down to `max_grad_norm` (0: never). Accuracy is that of `valid_loader`, of this epoch alone. A
    run that was stopped goes on after its last whole epoch, and ends with the same bytes as one that was not. Raises
    SystemExit where the loss is no longer a number, or where the disk or the accelerator's memory is full.
    """
    accelerator = make_accelerator()
    batches, dev = train_loader.batch_sampler, valid_loader.batch_sampler
    assert isinstance(batches, LengthGroupedBatches) and isinstance(dev, LengthGroupedBatches)
    assert batches.seed is not None
    trained, sentences = model, {"train": len(batches.lengths), "dev": len(dev.lengths)}
    if (steps := run.epochs * len(train_loader)) < FEW_STEPS:
        say(f"{counted(steps, 'step')} in all: raise EPOCHS or lower BATCH_SIZE until there are at least {FEW_STEPS}.")
    if accelerator.device.type == "cpu" and accelerator.num_processes == 1:
        say_if_busy()
    accelerator.wait_for_everyone()  # the others have looked at the directory before it is written to
    model, optimizer = accelerator.prepare(model, optimizer)
    history = run.resume(trained, optimizer, schedule)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        run.start(accelerator)
        say(run.describe_size(sum(weights.numel() * weights.element_size() for weights in trained.parameters())))
    begun, before = time.perf_counter(), len(history)
    steps, done = run.epochs * len(train_loader), before * len(train_loader)
    bar = progress(steps, str(run.directory), "steps", initial=done)
    try:
        for epoch in range(before + 1, run.epochs + 1):
            started = time.perf_counter()
            batches.epoch = epoch
            torch.manual_seed(batches.seed * 1_000_003 + 1000 * epoch + accelerator.process_index)  # for dropout
            bar.set_description(f"{run.directory} {epoch}/{run.epochs}")
            train_loss = train_epoch(
                accelerator, model, train_loader, optimizer, schedule, loss_function, max_grad_norm, bar
            )
            seconds = time.perf_counter() - started
            logits, labels = validate(accelerator, trained, valid_loader)
            valid_accuracy = multiclass_accuracy(
                logits, labels, num_classes=trained.config.num_labels, average="micro"
            ).item()
            if hasattr(trained.config, "calibration_temperature"):  # the student
                trained.config.calibration_temperature = best_temperature(logits, labels)
            speed = batches.epoch_size / seconds
            row = (epoch, f"{train_loss:.6f}", f"{valid_accuracy:.4f}", f"{seconds:.1f}", f"{speed:.1f}")
            history.append(dict(zip(HISTORY_COLUMNS, map(str, row), strict=True)))
            if accelerator.is_main_process:
                state = {
                    "model": trained.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "history": history,
                }
                run.save_epoch(
                    trained, tokenizer, model_card(trained, history, run.settings, sentences), history, state
                )
            release_memory()
            left = time_left(begun, (epoch - before) / (run.epochs - before))
            say(
                f"{run.directory} {epoch}/{run.epochs}: loss {train_loss:.4f}, dev accuracy {valid_accuracy:.4f}, "
                f"{seconds:.0f} s, {left}"
            )
    finally:
        bar.close()
    if accelerator.is_main_process:
        run.conclude(history)
    accelerator.wait_for_everyone()  # all find the last checkpoint


def train_epoch(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader,
    optimizer: AcceleratedOptimizer,
    schedule: LRScheduler,
    loss_function: Loss,
    max_grad_norm: float,
    bar: tqdm,
) -> float:
    """One pass over `loader`; returns the mean loss. Raises SystemExit where a loss is not a finite number."""
    model.train()
    loss_sum, samples = torch.zeros((), device=accelerator.device), 0
    broken = torch.zeros((), dtype=torch.long, device=accelerator.device)  # the first step whose loss is not finite
    for step, batch in enumerate(loader, start=1):
        labels, size, mine = batch.pop("labels"), batch.pop("batch_size"), batch.pop("rows")
        # What this process has of the batch: the processes' gradients are averaged, so that it is counted so often.
        losses = loss_function(model(**batch).logits, labels)[:mine]
        loss = losses.sum() * accelerator.num_processes / size
        accelerator.backward(loss)
        if max_grad_norm:
            accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss_sum += losses.detach().sum()
        samples += size
        broken = torch.where((broken == 0) & ~loss.detach().isfinite(), step, broken)
        bar.update()
        if step % LOOK_EVERY == 0 or step == len(loader):
            if broken:
                raise SystemExit(
                    f"the loss is no longer a number since {bar.desc.rstrip(': ')}, step {broken}: lower LEARNING_RATE."
                )
            bar.set_postfix(loss=f"{loss_sum.item() * accelerator.num_processes / samples:.4f}")
            release_memory()
    return (accelerator.reduce(loss_sum, "sum") / samples).item()


def validate(accelerator: Accelerator, model: PreTrainedModel, loader: DataLoader) -> tuple[Tensor, Tensor]:
    """Logits (sentence, class), not calibrated, and labels (sentence,) of `loader`, on the CPU, of all processes."""
    model.eval()
    if hasattr(model.config, "calibration_temperature"):
        model.config.calibration_temperature = 1.0
    logits, truth = [], []
    with torch.inference_mode(), accelerator.autocast():
        for batch in loader:
            labels, _, mine = batch.pop("labels"), batch.pop("batch_size"), batch.pop("rows")
            logits.append(model(**batch).logits[:mine].float())
            truth.append(labels[:mine])
    parts = gather_object([(torch.cat(logits).cpu(), torch.cat(truth).cpu())])
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
