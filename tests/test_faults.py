"""Full disks, read-only ones, signals and two runs at once, in every stage: one sentence, nothing half written, and the
same command goes on.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest
from conftest import Child, Fault, outcome

INPUTS = {
    "prepare_data": ["tnews"],
    "finetune_bert": ["data", "bert"],
    "train_bilstm": ["data"],
    "distill": ["data", "model1"],
    "predict_test": ["data", "model3"],
    "report": ["data", "model1", "model2", "model3"],
}
CONSTANTS: dict[str, object] = {
    "finetune_bert.MODEL_NAME": "bert",
    "finetune_bert.EPOCHS": 2,
    "finetune_bert.BATCH_SIZE": 50,
    "train_bilstm.EPOCHS": 2,
    "train_bilstm.BATCH_SIZE": 50,
    "distill.EPOCHS": 2,
    "distill.BATCH_SIZE": 50,
    "bert_to_bilstm.distillation.labelling.SHARD": 50,
}
# Where a stage is when something befalls it: the first call of a function, or the n-th.
MOMENTS = [
    ("prepare_data", "prepare_data", "make_vocabulary", 1),
    ("prepare_data", "prepare_data:PreTrainedTokenizerFast", "save_pretrained", 1),
    ("finetune_bert", "bert_to_bilstm.training.loop", "gather_object", 1),
    ("train_bilstm", "bert_to_bilstm.training.loop:AcceleratedOptimizer", "step", 5),
    ("train_bilstm", "pandas:DataFrame", "to_csv", 2),
    ("distill", "bert_to_bilstm.distillation.labelling:Ensemble", "logits", 2),
    ("distill", "bert_to_bilstm.training.loop:AcceleratedOptimizer", "step", 5),
    ("predict_test", "predict_test", "write_submission", 1),
    ("report", "report", "draw_confusion_matrix", 1),
]
STOPPED = "stopped; the same command, given again, goes on with what is whole so far."


def run(stage: str, directory: Path, fault: Fault | None = None) -> tuple[int | None, str]:
    """The exit status and the last line printed."""
    return Child(stage, directory, CONSTANTS, fault).end()


def whole(directory: Path) -> dict[str, object]:
    """Digests of what stands under a final name, but for what tells how far a training or a labelling has come, or a
    card, which gets its last section in the end."""
    progress = ("state-", "history", "knowledge-shards", ".lock", "README.md", "/best")
    return {name: value for name, value in outcome(directory).items() if not any(part in name for part in progress)}


def hidden(directory: Path) -> list[str]:
    """Temporary files and locks."""
    return [path.name for path in directory.rglob(".*")]


@pytest.fixture(scope="module")
def undisturbed(finished_run, tmp_path_factory) -> Callable[[str, Path], dict]:
    """Links a stage's inputs into a folder; returns what a run without faults leaves there."""
    known: dict[str, dict] = {}

    def link(stage: str, directory: Path) -> None:
        for name in INPUTS[stage]:
            (directory / name).symlink_to(finished_run / name)

    def prepare(stage: str, directory: Path) -> dict:
        if stage not in known:
            elsewhere = tmp_path_factory.mktemp(stage)
            link(stage, elsewhere)
            assert run(stage, elsewhere)[0] == 0
            known[stage] = outcome(elsewhere)
        link(stage, directory)
        return known[stage]

    return prepare


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, to be filled or made read-only."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", directory], capture_output=True).returncode:
        pytest.skip("mounting a disk is not allowed here")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


def fill(disk: Path, free: int) -> None:
    """Leaves `free` bytes."""
    with open(disk / "ballast", "wb") as file:
        space = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - free)


def wait_until_it_has_stopped_itself(child: Child) -> None:
    """With SIGSTOP, as a `Fault` has it."""
    state, deadline = Path(f"/proc/{child.process.pid}/stat"), time.monotonic() + 120
    while state.read_text().rsplit(")", 1)[1].split()[0] != "T":
        assert child.process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("stage", INPUTS)
def test_a_disk_without_room_for_one_more_file_wherever_it_ends(stage, undisturbed, disk):
    expected = undisturbed(stage, disk)
    used = os.statvfs(disk)
    files, sentences = used.f_files - used.f_ffree, 0
    for more in (0, 1, 3, 10, 20, 40, 100):
        remount(disk, f"nr_inodes={files + more}")
        before = whole(disk)
        status, line = run(stage, disk)
        if status == 0:
            break
        assert status == 1 and "could not be written (No space left on device): make room there; " in line, line
        assert before.items() <= whole(disk).items() <= expected.items() and not hidden(disk)
        sentences += 1
    assert sentences >= 3 and outcome(disk) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "owner", "function", "call", "free"),
    [
        ("prepare_data", "prepare_data", "make_tokenizer", 1, 0),
        ("prepare_data", "prepare_data", "make_tokenizer", 1, 100_000),
        ("finetune_bert", "bert_to_bilstm.training.loop", "validate", 2, 0),
        ("train_bilstm", "bert_to_bilstm.training.loop", "validate", 2, 0),  # nothing fits
        ("train_bilstm", "bert_to_bilstm.training.loop", "validate", 2, 1_500_000),  # half of the weights
        ("train_bilstm", "bert_to_bilstm.training.loop", "validate", 1, 7_000_000),  # the weights, half of the state
        ("distill", "bert_to_bilstm.distillation.labelling:Ensemble", "logits", 2, 0),
        ("distill", "bert_to_bilstm.training.loop", "validate", 2, 0),
        ("predict_test", "predict_test", "load_predictor", 1, 0),
        ("report", "report", "confusion_matrix", 1, 0),
        ("report", "report", "confusion_matrix", 1, 20_000),
    ],
)
def test_a_disk_that_is_full_in_the_middle(stage, owner, function, call, free, undisturbed, disk):
    expected = undisturbed(stage, disk)
    child = Child(stage, disk, CONSTANTS, Fault(owner, function, call, signal.SIGSTOP))
    wait_until_it_has_stopped_itself(child)
    before = whole(disk)
    fill(disk, free)
    os.kill(child.process.pid, signal.SIGCONT)
    status, line = child.end()
    assert status == 1 and "could not be written (No space left on device): make room there; " in line, line
    (disk / "ballast").unlink()
    assert before.items() <= whole(disk).items() <= expected.items() and not hidden(disk)
    assert run(stage, disk)[0] == 0
    assert outcome(disk) == expected


@pytest.mark.parametrize("stage", INPUTS)
def test_a_read_only_disk(stage, undisturbed, disk):
    undisturbed(stage, disk)
    remount(disk, "ro")
    status, line = run(stage, disk)
    assert status == 1 and "could not be written (Read-only file system): allow writing there; " in line, line
    assert set(whole(disk)) == set(INPUTS[stage]) and not hidden(disk)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "owner", "function", "call", "number"),
    [(*moment, number) for moment, number in zip(MOMENTS, cycle([signal.SIGINT, signal.SIGTERM]), strict=False)],
)
def test_a_signal(stage, owner, function, call, number, undisturbed, tmp_path):
    expected = undisturbed(stage, tmp_path)
    child = Child(stage, tmp_path, CONSTANTS, Fault(owner, function, call, number))
    result = child.result()
    assert result.returncode == {signal.SIGINT: 1, signal.SIGTERM: 143}[number]
    assert result.stderr.splitlines()[-1] == STOPPED and "Traceback" not in result.stderr
    assert whole(tmp_path).items() <= expected.items() and not hidden(tmp_path)
    assert run(stage, tmp_path)[0] == 0
    assert outcome(tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "owner", "function", "call"),
    [moment for moment in MOMENTS if moment[2] not in ("make_vocabulary", "to_csv")],
)
def test_two_runs_at_once(stage, owner, function, call, undisturbed, tmp_path):
    expected = undisturbed(stage, tmp_path)
    first = Child(stage, tmp_path, CONSTANTS, Fault(owner, function, call, signal.SIGSTOP))
    wait_until_it_has_stopped_itself(first)
    before = outcome(tmp_path)
    status, line = run(stage, tmp_path)
    assert status == 1 and line.startswith("another run is writing ")
    assert line.endswith(": wait until it has ended, or stop it.") and outcome(tmp_path) == before
    os.kill(first.process.pid, signal.SIGKILL)  # which leaves its lock file
    assert first.end()[0] == -signal.SIGKILL and hidden(tmp_path)
    assert run(stage, tmp_path)[0] == 0
    assert outcome(tmp_path) == expected and not hidden(tmp_path)


DONE = "standard output cannot be written ({}): all else is done.\n"
HALF = "standard output cannot be written ({}): " + STOPPED + "\n"
PRINTING = """
import io, os, sys
import {stage}

def unread():
    reading, writing = os.pipe()
    os.close(reading)
    return open(writing, "w")

def unbuffered():
    return io.TextIOWrapper(open("/dev/full", "wb", 0), write_through=True)

sys.stdout = {output}
{stage}.main()
"""
FULL, UNREAD = "No space left on device", "Broken pipe"


@pytest.mark.parametrize(
    ("stage", "output", "status", "told"),
    [  # what stage 1 prints stands in a buffer to its end, what a training prints does not
        pytest.param("prepare_data", "open('/dev/full', 'w')", 1, DONE.format(FULL), id="a full disk"),
        pytest.param("train_bilstm", "open('/dev/full', 'w')", 1, HALF.format(FULL), id="a full disk, at once"),
        pytest.param("prepare_data", "unbuffered()", 1, HALF.format(FULL), id="a full disk, without a buffer"),
        pytest.param("train_bilstm", "unread()", 1, HALF.format(UNREAD), id="a pipe that head has left"),
        pytest.param("train_bilstm", "None", 0, "", id="closed"),
    ],
)
def test_what_is_printed_cannot_be_written(stage, output, status, told, undisturbed, tmp_path):
    if FULL in told and not Path("/dev/full").exists():
        pytest.skip("no /dev/full, a disk that is always full")
    expected = undisturbed(stage, tmp_path)
    (tmp_path / "script.py").write_text(PRINTING.format(stage=stage, output=output))
    result = Child(tmp_path / "script.py", tmp_path, CONSTANTS).result()
    assert (result.returncode, result.stderr) == (status, told)
    (tmp_path / "script.py").unlink()
    assert whole(tmp_path).items() <= expected.items() and not hidden(tmp_path)
    assert run(stage, tmp_path)[0] == 0
    assert outcome(tmp_path) == expected


def test_runs_that_write_different_things_go_together(undisturbed, tmp_path):
    expected = undisturbed("distill", tmp_path)
    second = CONSTANTS | {"distill.OUTPUT": Path("model4"), "distill.EPOCHS": 1}
    labelling = Child(
        "distill",
        tmp_path,
        CONSTANTS,
        Fault("bert_to_bilstm.distillation.labelling:Ensemble", "logits", 2, signal.SIGSTOP),
    )
    wait_until_it_has_stopped_itself(labelling)
    status, line = Child("distill", tmp_path, second).end()  # it needs the same knowledge
    assert (status, line) == (1, "another run is writing knowledge: wait until it has ended, or stop it.")
    os.kill(labelling.process.pid, signal.SIGKILL)
    labelling.end()
    training = Child(
        "distill", tmp_path, CONSTANTS, Fault("bert_to_bilstm.training.loop", "validate", 1, signal.SIGSTOP)
    )
    wait_until_it_has_stopped_itself(training)
    assert Child("distill", tmp_path, second).end()[0] == 0  # it reads the knowledge
    os.kill(training.process.pid, signal.SIGCONT)
    assert training.end()[0] == 0
    assert expected.items() <= outcome(tmp_path).items()
