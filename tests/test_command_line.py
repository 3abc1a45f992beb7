"""What somebody at a terminal sees who stops a script, or starts it in the wrong place."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

import prepare_data
import train_bilstm

SCRIPTS = ["prepare_data", "finetune_bert", "train_bilstm", "distill", "predict_test", "report"]
AUGMENT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import distill
from bert_to_bilstm.text import augmentation
augmentation.PIECE = 20
distill.AUGMENTATIONS = 5000
distill.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_the_libraries_are_loaded_is_one_line(script, scratch):
    child = subprocess.Popen([sys.executable, ROOT / f"{script}.py"], stderr=subprocess.PIPE, text=True)
    title = child.stderr.readline()
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    rest = child.stderr.read()
    assert child.wait() == 1 and time.monotonic() - started < 2
    assert title.endswith("loading the libraries ...\n") and rest == "stopped.\n"


@pytest.mark.slow
def test_ctrl_c_while_several_processes_augment_is_one_line(finished_run, scratch):
    for name in ("data", "model1"):
        Path(name).symlink_to(finished_run / name)
    child = subprocess.Popen([sys.executable, "-c", AUGMENT], stderr=subprocess.PIPE, text=True, start_new_session=True)
    if (os.cpu_count() or 1) > 1:
        deadline = time.monotonic() + 60
        while not psutil.Process(child.pid).children():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: all processes get it
    started = time.monotonic()
    _, printed = child.communicate(timeout=60)
    assert time.monotonic() - started < 5
    assert child.returncode == 1 and "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("stopped; the same command, given again, goes on")


def test_outside_of_the_virtual_environment_it_says_what_to_do(scratch, tmp_path):
    bare = [sys.executable, "-S", ROOT / "train_bilstm.py"]  # -S: without the packages that are installed
    result = subprocess.run(bare, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert result.returncode == 1 and result.stderr.startswith("the package torch is not installed for ")
    assert "run .venv/bin/python train_bilstm.py" in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(("set_by_user", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_that_wait_leave_their_core_to_others(set_by_user, found, scratch):
    code = "import bert_to_bilstm, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | set_by_user
    started = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert started.stdout == f"{found}\n"


def test_a_training_beside_a_busy_program_says_that_it_takes_longer(small_tnews, monkeypatch, capsys):
    prepare_data.main()
    monkeypatch.setattr(train_bilstm, "EPOCHS", 1)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        train_bilstm.main()
    finally:
        busy.kill()
    assert re.search(r"^Other programs keep \d\.\d of \d+ cores busy", capsys.readouterr().out, re.MULTILINE)
