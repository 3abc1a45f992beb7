"""The one epoch loop, and the saving and resuming around it: all three trainings and all predictions go through here.

bf16 is used where the hardware is fast at it, and nothing is read back from the device at each step.
"""

import csv
import ctypes
import io
import json
import platform
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.optimizer import AcceleratedOptimizer
from datasets import Dataset
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from artifacts import first_line, new_directory, refuse_in_the_way, write_text
from batching import LengthGroupedBatches, make_accelerator, make_loader
from model_card import model_card
from pictures import draw_history
from running import writing

HISTORY_COLUMNS = ["epoch", "train_loss", "valid_accuracy", "seconds", "samples_per_second"]
STATE_SIZE = 7  # checkpoints: two states at a time (weights, two moments each) and a checkpoint half written


def constants(module: dict) -> dict:
    """The constants in capitals of a script's `globals()`, as run.json records them."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in module.items() if name.isupper()}


def already_done(directory: Path, settings: dict, epochs: int) -> bool:
    """Looks at what an earlier run left in `directory`, before any work is done.

    True where the same settings have been trained to the end; False where there is nothing, or a run that `fit` goes on
    with. Raises SystemExit where there is something else, naming what differs and the command that moves it away.
    """
    refuse_in_the_way([], [directory])
    if not directory.exists() or not any(path.suffix != ".tmp" for path in directory.iterdir()):
        return False
    free = next(name for number in count(1) if not (name := Path(f"{directory}-{number}")).exists())
    move = f"mv {directory} {free}"
    try:
        earlier = json.loads((directory / "run.json").read_text(encoding="utf-8"))["settings"]
        earlier, planned = dict(earlier), int(earlier["EPOCHS"])
    except (OSError, ValueError, LookupError, TypeError):
        raise SystemExit(f"{directory}/ holds something that is not a run of ours: move it away ({move}).") from None
    settings = json.loads(json.dumps(settings))
    different = [name for name in settings | earlier if settings.get(name) != earlier.get(name)]
    if different == ["EPOCHS"] and epochs > planned and goes_on_for_ever(settings):
        return False
    if different == ["EPOCHS"]:
        raise SystemExit(
            f"{directory}/ was trained for {planned} epochs, and its learning rate was planned for them: "
            f"for {epochs}, train anew ({move})."
        )
    if different:
        changes = ", ".join(f"{name} {earlier.get(name)!r} → {settings.get(name)!r}" for name in different)
        raise SystemExit(f"{directory}/ was trained with other settings or data ({changes}): move it away ({move}).")
    if len(read_history(directory)) < epochs:
        return False
    say(f"{directory}/ is finished with these settings and this data; nothing to do.")
    return True


def goes_on_for_ever(settings: dict) -> bool:
    """Whether a finished run can be given more epochs: nothing in it was planned for the number it had."""
    return settings.get("SCHEDULE", "").startswith("constant") and not settings.get("AVERAGED_EPOCHS")


def say(text: str) -> None:
    """Prints `text` once, however many processes there are."""
    if PartialState().is_main_process:
        print(text)


def read_history(directory: Path) -> list[dict[str, str]]:
    """The rows of history.csv, none if there is no such file yet. Raises SystemExit where it cannot be read."""
    path = directory / "history.csv"
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if reader.fieldnames != HISTORY_COLUMNS:
            raise ValueError("other columns")
        for row in rows:
            int(row["epoch"]), [float(row[name]) for name in HISTORY_COLUMNS]
    except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise SystemExit(f"{path} cannot be read ({first_line(error)}): move {directory}/ away, train anew.") from None
    return rows


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


def release_memory() -> None:
    """Gives freed memory back to the system, where the C library is glibc.

    Its heap keeps the holes that tensors of ever new shapes leave, and would grow with every epoch on the CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def start_run(directory: Path, accelerator: Accelerator, settings: dict, model: PreTrainedModel, epochs: int) -> None:
    """Makes the directory and writes run.json; raises SystemExit where there is no room for `epochs` more epochs."""
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    checkpoint = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    needed = checkpoint * (epochs + STATE_SIZE) if epochs else 0
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise SystemExit(
            f"{directory}/ will need {needed / 1e6:,.0f} MB and the disk has {free / 1e6:,.0f} MB: make room there or "
            "lower EPOCHS."
        )
    versions = {name: version(name) for name in ("torch", "transformers", "tokenizers", "accelerate", "datasets")}
    run = {
        "settings": settings,
        "versions": versions,
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
    }
    write_text(directory / "run.json", json.dumps(run, indent=2))


def resume(
    directory: Path,
    model: PreTrainedModel,
    averaged: AveragedModel | None,
    optimizer: AcceleratedOptimizer,
    schedule: LRScheduler,
) -> list[dict]:
    """Puts everything back as it was after the last whole epoch; returns the rows of history.csv up to it.

    Raises SystemExit where the state that was saved then cannot be read.
    """
    epochs = [int(name) for path in directory.glob("state-*") if (name := path.name.removeprefix("state-")).isdigit()]
    if not epochs:
        return []
    path = directory / f"state-{max(epochs)}" / "state.pt"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)  # weights_only: no code in it is run
        model.load_state_dict(state["model"])
        if averaged:
            averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    except Exception as error:  # torch and pickle raise their own kinds for a damaged file
        raise SystemExit(f"{path} cannot be read ({first_line(error)}): move {directory}/ away, train anew.") from None
    say(f"{directory}/ was stopped after epoch {len(state['history'])}: going on from there.")
    return state["history"]


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


def save_epoch(
    directory: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    card: str,
    history: list[dict],
    state: dict,
) -> None:
    """Writes the checkpoint, the `state` that `resume` needs, if any, history.png, then history.csv.

    In this order a run that is killed anywhere can go on; older states are removed last.
    """
    epoch, accuracy = history[-1]["epoch"], history[-1]["valid_accuracy"]
    with new_directory(directory / f"{epoch}-{accuracy}") as checkpoint:
        model.save_pretrained(checkpoint)
        tokenizer.init_kwargs.pop("local_files_only", None)  # how we loaded it is not how others must
        tokenizer.save_pretrained(checkpoint)
        write_text(checkpoint / "README.md", card)
    if state:
        with new_directory(directory / f"state-{epoch}") as target:
            with open(target / "state.pt", "wb") as file:  # given a path, torch does not tell a full disk
                torch.save(state, file)
    draw_history(directory / "history.png", history)
    write_history(directory, history)
    for path in directory.glob("state-*"):
        if not state or path.name != f"state-{epoch}":
            shutil.rmtree(path)


def predict_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: list[str], max_length: int, batch_size: int
) -> Tensor:
    """Logits (sentence, class) in fp32 on the CPU, in the order of `sentences`; batches are grouped by length."""
    accelerator = make_accelerator()
    rows = Dataset.from_dict({"sentence": sentences, "label": range(len(sentences))})  # label: the place in the input
    loader = accelerator.prepare(make_loader(tokenizer, rows, max_length, batch_size))
    logits = torch.empty(len(sentences), cast(int, model.config.num_labels))
    model = model.to(accelerator.device).eval()
    with torch.inference_mode(), accelerator.autocast():
        quiet = not accelerator.is_main_process or len(loader) < 2
        for batch in tqdm(loader, desc="predicting", disable=quiet, leave=False):
            positions = batch.pop("labels")
            scores, positions = accelerator.gather_for_metrics((model(**batch).logits.float(), positions))
            logits[positions.cpu()] = scores.cpu()
    return logits
