"""A training directory: its settings, its history, and how a stopped run goes on."""

import csv
import io
import json
import shutil
from importlib.metadata import version
from itertools import count
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.files import first_line, new_directory, refuse_in_the_way, write_text, writing
from bert_to_bilstm.outputs.plots import draw_history
from bert_to_bilstm.stages import say

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
