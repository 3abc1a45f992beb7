"""How a stage runs, in this process: signals, locks and what the disk says. In real ones: test_faults.py."""

import errno
import os
import signal
from pathlib import Path

import pytest

from bert_to_bilstm.files import writing
from bert_to_bilstm.stages import claim, counted, stage

STOPPED = "stopped; the same command, given again, goes on with what is whole so far.\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_stage_with_a_sentence(scratch, capsys, number, status):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop, stage(scratch / "out"):
        os.kill(os.getpid(), number)
    assert (stop.value.code, capsys.readouterr().err) == (status, STOPPED)
    assert signal.getsignal(number) == before and not list(scratch.iterdir())


def test_a_signal_to_a_process_that_was_just_forked_ends_it_in_silence(scratch):
    with stage(scratch / "out"):
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM


def test_only_the_first_of_several_processes_locks_and_tells(scratch, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with claim(scratch / "out"), pytest.raises(SystemExit), stage(scratch / "out"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert capsys.readouterr().err == "" and not list(scratch.iterdir())


def test_what_one_run_writes_no_other_does(scratch):
    with claim(scratch / "out"):
        with pytest.raises(SystemExit, match=r"another run is writing .*out: wait until it has ended, or stop it\."):
            with claim(scratch / "out"):
                pytest.fail("two runs at once")
        with claim(scratch / "another"):
            assert {path.name for path in scratch.iterdir()} == {".out.lock", ".another.lock"}
    assert not list(scratch.iterdir())


def test_a_lock_that_was_left_does_not_block(scratch):
    (scratch / ".out.lock").touch()
    with claim(scratch / "out"):
        pass
    assert not list(scratch.iterdir())


def test_a_full_disk_is_told_however_a_library_says_it(scratch):
    def after_it() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")  # torch, closing the file

    def in_rust() -> None:
        raise ValueError("Error while serializing: I/O error: No space left on device (os error 28)")

    for say in (after_it, in_rust):
        with pytest.raises(
            SystemExit, match=r"^out could not be written \(No space left on device\): make room there; "
        ):
            with writing(Path("out")):
                say()


def test_what_is_not_the_disks_fault_stays_what_it_is(scratch):
    for error in (RuntimeError("a mistake of ours"), FileNotFoundError(errno.ENOENT, "no such file")):
        with pytest.raises(type(error)), writing(scratch):
            raise error


def test_one_row_is_a_row():
    assert (counted(1, "row"), counted(0, "row"), counted(2000, "row")) == ("1 row", "0 rows", "2,000 rows")


def test_one_process_under_accelerate_launch_says_how_to_get_several(scratch, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # as accelerate launch does
    with stage(scratch / "out"):
        pass
    assert "accelerate launch started one process; for several give it --multi_gpu" in capsys.readouterr().out
