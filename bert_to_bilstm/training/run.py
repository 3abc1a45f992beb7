"""A training directory: its settings, its history, and how a run that was stopped goes on."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import pandas
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.files import (
    OF_THE_SYSTEM,
    first_line,
    new_directory,
    read_json,
    refuse_in_the_way,
    remove_files,
    umask,
    write_text,
    writing,
)
from bert_to_bilstm.models.checkpoints import (
    CHECKPOINT_FILES,
    EXPORTED,
    best_checkpoint,
    best_first,
    checkpoints,
    save_tokenizer,
)
from bert_to_bilstm.outputs.plots import draw_history
from bert_to_bilstm.stages import counted, is_first_process, note, say
from bert_to_bilstm.training.device import is_out_of_memory

HISTORY_COLUMNS = ["epoch", "train_loss", "valid_accuracy", "seconds", "samples_per_second"]
DIGESTS = ("data", "labels", "char_table", "tokenizer")  # of what stage 1 left, in run.json
DIGESTED = (*DIGESTS, "model", "teachers", "unlabelled")  # the latter two: path → digest


@dataclass(frozen=True)
class Run:
    """A training: `settings`, what run.json records, are the constants of its script and digests of what it reads."""

    directory: Path
    settings: dict[str, Any]
    keep: int = 0  # how many checkpoints stay, the best ones, beside the last; 0: all

    @property
    def epochs(self) -> int:
        return self.settings["EPOCHS"]

    @property
    def can_be_extended(self) -> bool:
        """Whether it can be given more epochs when it is finished: nothing in it was planned for the number it had."""
        return self.settings.get("SCHEDULE") == "constant"

    def is_finished(self) -> bool:
        """Looks at what an earlier run left in the directory, before any work is done.

        True where the same settings have been trained to the end; False where there is nothing, or a run that `fit`
        goes on with. Raises SystemExit where there is something else, naming what differs and the command that moves it
        away.
        """
        refuse_in_the_way([], [self.directory])
        if not self.directory.exists() or all(path.suffix == ".tmp" for path in self.directory.iterdir()):
            return False
        move = move_away(self.directory)
        earlier = recorded_settings(self.directory)
        if earlier is None:
            raise SystemExit(f"{self.directory}/ holds something that is not a run of ours: move it away ({move}).")
        done = len(read_history(self.directory))
        if not checkpoints(self.directory) and not done:  # it failed in its first epoch
            return False
        settings = json.loads(json.dumps(self.settings))
        different = [name for name in settings | earlier if settings.get(name) != earlier.get(name)]
        planned = earlier["EPOCHS"]
        if different == ["EPOCHS"] and not (self.can_be_extended and self.epochs > planned):
            why = "" if self.can_be_extended else ", and its learning rate was planned for them"
            raise SystemExit(
                f"{self.directory}/ was trained for {counted(planned, 'epoch')}{why}: for EPOCHS = {self.epochs}, "
                f"train anew ({move})."
            )
        if different not in ([], ["EPOCHS"]):
            changes = ", ".join(change(name, earlier.get(name), settings.get(name)) for name in different)
            raise SystemExit(
                f"{self.directory}/ was trained with other settings or data ({changes}): move it away ({move})."
            )
        if done < self.epochs:
            # The first epoch's checkpoint is there before its state; a later one has that of the epoch before.
            if not saved_states(self.directory) and (
                done or any(epoch > 1 for epoch, _, _ in checkpoints(self.directory))
            ):
                raise SystemExit(
                    f"{self.directory}/ holds a training, but neither a history.csv of all {self.epochs} epochs nor a "
                    f"state-*/ to go on from: put them back, or move it away ({move}) to train anew."
                )
            return False
        self.clean_up(done)  # where it was killed just before it did so
        say(f"{self.directory}/ is finished with these settings and this data; nothing to do.")
        return True

    def start(self, accelerator: Accelerator) -> None:
        """Makes the directory and writes run.json."""
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        run = {
            "settings": self.settings,
            "versions": {
                name: version(name) for name in ("torch", "transformers", "tokenizers", "accelerate", "datasets")
            },
            "device": str(accelerator.device),
            "processes": accelerator.num_processes,
            "mixed_precision": accelerator.mixed_precision,
        }
        write_text(self.directory / "run.json", json.dumps(run, indent=2))

    def resume(self, model: PreTrainedModel, optimizer: AcceleratedOptimizer, schedule: LRScheduler) -> list[dict]:
        """Puts everything back as it was after the last whole epoch; returns the rows of history.csv up to it.

        Raises SystemExit where the state that was saved then cannot be read.
        """
        states = saved_states(self.directory)
        if not states:
            return []
        path = states[-1] / "state.pt"
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)  # weights_only: no code in it is run
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
        except Exception as error:  # torch and pickle raise their own kinds for a damaged file
            if is_out_of_memory(error):
                raise
            raise SystemExit(
                f"{path} cannot be read ({type(error).__name__}): move {self.directory}/ away "
                f"({move_away(self.directory)}), train anew."
            ) from None
        if is_first_process():
            self.write_history(state["history"])  # this and the rest: it may have been stopped before it did so
            self.clean_up(len(state["history"]))
        say(f"{self.directory}/ was stopped after epoch {len(state['history'])}: going on from there.")
        return state["history"]

    def save_epoch(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        card: str,
        history: list[dict],
        state: dict,
    ) -> None:
        """Writes the checkpoint, the `state` that `resume` needs, history.png, then history.csv.

        In this order a run that is killed anywhere can go on; checkpoints that do not stay and older states are removed
        last, and the last state where the run is finished.
        """
        epoch, accuracy = history[-1]["epoch"], history[-1]["valid_accuracy"]
        checkpoint_name = f"{epoch}-{accuracy}"
        with new_directory(self.directory / checkpoint_name, EXPORTED) as checkpoint:
            model.save_pretrained(checkpoint)
            save_tokenizer(tokenizer, checkpoint)
            for path in checkpoint.iterdir():
                path.chmod(0o666 & ~umask())  # safetensors makes files that nobody else may read
            write_text(checkpoint / "README.md", card)
        for number, _, path in checkpoints(self.directory):  # of this epoch, trained before and rounded otherwise
            if number == int(epoch) and path.name != checkpoint_name:
                remove_files(path, CHECKPOINT_FILES)
        if self.last_state(len(history)):
            with new_directory(self.directory / f"state-{epoch}") as target:
                with open(target / "state.pt", "wb") as file:  # given a path, torch does not tell a full disk
                    torch.save(state, file)
        self.write_history(history)
        self.clean_up(len(history))

    def write_history(self, history: list[dict]) -> None:
        """Writes history.png, then history.csv."""
        draw_history(self.directory / "history.png", history)
        table = pandas.DataFrame(history, columns=HISTORY_COLUMNS)
        write_text(self.directory / "history.csv", table.to_csv(index=False, lineterminator="\n"))

    def describe_size(self, bytes_of_weights: int) -> str:
        """What the run will leave on disk, in a sentence.

        While it trains there are the states of two epochs, weights and two moments each, and the new checkpoint beside
        those that stay.
        """
        kept = self.epochs if self.keep == 0 else min(self.epochs, self.keep + 1)
        size = bytes_of_weights / 1e6
        more = 6 + (kept < self.epochs)
        return (
            f"{self.directory}/ will take {kept * size:,.0f} MB: {counted(kept, 'checkpoint')} of {size:,.0f} MB "
            f"(KEEP_CHECKPOINTS); {more * size:,.0f} MB more while it trains."
        )

    def last_state(self, epochs: int) -> str:
        """The name of the state that stays after so many epochs; none where the run is finished."""
        return f"state-{epochs}" if epochs < self.epochs or self.can_be_extended else ""

    def clean_up(self, epochs: int) -> None:
        """Links `best`, and removes the checkpoints and states that do not stay after so many epochs, if that has not
        been done.
        """
        self.link_best(epochs)
        last = self.last_state(epochs)
        if is_first_process() and any(path.name != last for path in saved_states(self.directory)):
            self.remove_checkpoints()
            remove_states(self.directory, last)

    def remove_checkpoints(self) -> None:
        """Removes those that are neither among the `keep` best nor the last, and nothing that stands beside them."""
        if not self.keep:
            return
        last = checkpoints(self.directory)[-1:]
        for checkpoint in best_first(self.directory)[self.keep :]:
            if checkpoint not in last:
                remove_files(checkpoint[2], CHECKPOINT_FILES)

    def link_best(self, epochs: int) -> None:
        """Links `best` to the best checkpoint of so many epochs, if there is one and it is not that already."""
        link, temporary = self.directory / "best", self.directory / ".best.tmp"
        best = next((path.name for epoch, _, path in best_first(self.directory) if epoch <= epochs), None)
        if not is_first_process() or not best:
            return
        if link.exists() and not link.is_symlink():
            say(f"{link} is no link of ours: it stays, and does not lead to {best}, the best.")
            return
        with suppress(OSError):  # where links are not allowed, as on some Windows machines, its name has to do
            temporary.unlink(missing_ok=True)
            if not link.is_symlink() or os.readlink(link) != best:
                temporary.symlink_to(best)
                os.replace(temporary, link)

    def conclude(self, history: list[dict]) -> None:
        """Says where the best checkpoint is."""
        best = best_checkpoint(self.directory, "")
        seconds = sum(float(row["seconds"]) for row in history)
        size = sum(
            path.stat().st_size for path in self.directory.rglob("*") if path.is_file() and not path.is_symlink()
        )
        epoch, accuracy = best.name.split("-")
        say(
            f"{self.directory}/: {counted(len(history), 'epoch')} in {seconds / 60:.1f} minutes, {size / 1e6:,.0f} MB; "
            f"the best is {best} (epoch {epoch}, dev accuracy {accuracy})."
        )


def change(name: str, earlier: Any, now: Any) -> str:
    """How one setting differs, in words: digests tell nobody anything."""
    if name not in DIGESTED:
        return f"{name} {earlier!r} → {now!r}"
    if not isinstance(now, dict):
        return f"other {name}"
    earlier = earlier or {}
    if earlier.keys() == now.keys():
        return f"other {name}: {', '.join(key for key in now if earlier[key] != now[key])}"
    return f"{name} {', '.join(earlier) or 'none'} → {', '.join(now) or 'none'}"


def move_away(directory: Path) -> str:
    """The command that does so."""
    return f"mv {directory} {next(name for n in count(1) if not os.path.lexists(name := Path(f'{directory}-{n}')))}"


def recorded_settings(directory: Path) -> dict[str, Any] | None:
    """What run.json in a training directory says of the settings; None where there is no such file of ours."""
    run = read_json(directory / "run.json")
    settings = run.get("settings") if isinstance(run, dict) else None
    return settings if isinstance(settings, dict) and isinstance(settings.get("EPOCHS"), int) else None


def different_data(directory: Path, digests: dict[str, str]) -> list[str]:
    """What of the data of a training was different: `digests` are those of text.dataset."""
    settings = recorded_settings(directory) or {}
    return [name for name in DIGESTS if name in settings and settings[name] != digests[name]]


def saved_states(directory: Path) -> list[Path]:
    """The directories with what `resume` needs, by epoch."""
    found = [path for path in directory.glob("state-*") if path.name.removeprefix("state-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("state-")))


def remove_states(directory: Path, but: str = "") -> None:
    """Removes the saved states but the one of that name, and nothing that stands beside them."""
    for path in saved_states(directory):
        if path.name != but and {file.name for file in path.iterdir()} <= {"state.pt", *OF_THE_SYSTEM}:
            shutil.rmtree(path)


def read_history(directory: Path) -> list[dict[str, str]]:
    """The rows of history.csv, none if there is no such file yet. Raises SystemExit where it cannot be read."""
    path = directory / "history.csv"
    if not path.exists():
        return []
    try:
        table = pandas.read_csv(path, dtype=str, keep_default_na=False)
        if list(table.columns) != HISTORY_COLUMNS:
            raise ValueError("other columns")
        table.astype(float), table["epoch"].astype(int)
    except (OSError, ValueError, LookupError) as error:
        raise SystemExit(
            f"{path} cannot be read ({first_line(error)}): move {directory}/ away ({move_away(directory)}), train anew."
        ) from None
    return table.to_dict("records")


def trained_checkpoint(directory: Path, script: str, digests: dict[str, str] | None, finished: bool = False) -> Path:
    """The best checkpoint of a training on the data with these `digests` (of text.dataset; None: on any).

    Raises SystemExit, naming the `script` to run, where there is none, or the data was other data. Where the training
    was stopped, or goes on in another terminal, a line says so, or, with `finished`, SystemExit.
    """
    if not checkpoints(directory) and read_history(directory):
        raise SystemExit(
            f"{directory}/ is trained and its checkpoints are gone: move it away ({move_away(directory)}) and run "
            f"python {script}."
        )
    best = best_checkpoint(directory, script)
    settings = recorded_settings(directory)
    if settings is None:  # a checkpoint that was brought here alone
        return best
    if digests and (different := different_data(directory, digests)):
        raise SystemExit(
            f"{directory}/ was trained on other data than data/ holds now (other {' and '.join(different)}): move it "
            f"away ({move_away(directory)}) and run python {script}."
        )
    epochs = len(read_history(directory))
    if epochs < settings["EPOCHS"]:
        so_far = f"{directory}/ has trained {epochs} of {settings['EPOCHS']} epochs"
        if finished:
            raise SystemExit(
                f"{so_far}: let python {script} go on to its end, or name one of its checkpoints in TEACHERS."
            )
        if epochs:  # or history.csv was not brought here
            note(f"{so_far}: taking {best}, the best of these; python {script} goes on.")
    return best
