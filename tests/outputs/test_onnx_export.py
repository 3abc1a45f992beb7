"""The student in onnxruntime: it answers as the checkpoint that it lies in, for batches and lengths of any size."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT
from datasets import load_from_disk

import distill
import train_bilstm
from bert_to_bilstm.models.checkpoints import EXPORTED, best_checkpoint, load_classifier
from bert_to_bilstm.outputs.classify import Classifier
from bert_to_bilstm.outputs.onnx_export import export_onnx
from bert_to_bilstm.training.prediction import predict_logits


@pytest.mark.parametrize(
    "headlines",
    [
        ["球隊 ＮＢＡ 冠軍！"],
        ["手"],
        ["手机芯片", "妈妈的爱情" * 40, "5G"],
        [f"{number}年" for number in range(70)],
        *([""], ["   "], ["\u200b"], ["", ""], ["", "手机芯片"]),
    ],
)
def test_logits_are_those_of_pytorch(finished_run, headlines):
    checkpoint = best_checkpoint(finished_run / "model3", "")
    model, tokenizer = load_classifier(checkpoint)
    session = onnxruntime.InferenceSession(checkpoint / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = tokenizer(headlines, padding=True, return_tensors="np")
    (logits,) = session.run(["logits"], dict(inputs))
    with torch.inference_mode():
        expected = model(**{name: torch.tensor(values) for name, values in inputs.items()}).logits.numpy()
    assert logits.shape == (len(headlines), 3) and logits.dtype == numpy.float32
    numpy.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize(("directory", "script"), [("model2", train_bilstm), ("model3", distill)])
def test_each_direction_takes_a_step_a_token_and_no_more(finished_run, directory, script):
    checkpoint = best_checkpoint(finished_run / directory, "")
    model, tokenizer = onnx.load(checkpoint / "model.onnx"), load_classifier(checkpoint)[1]
    for node in model.graph.node:
        if node.op_type == "LSTM":
            model.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))  # its hidden states
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    _, *states = session.run(None, dict(tokenizer(["手机芯片"], return_tensors="np")))
    assert [one.shape for one in states] == 2 * [(4, 1, 1, script.HIDDEN_SIZE)]


def test_the_best_students_have_it_and_it_tells_nothing_of_this_machine(finished_run):
    files = set(finished_run.glob("model*/*-*/model*.onnx"))
    best = [best_checkpoint(finished_run / model, "") for model in ("model2", "model3")]
    assert files == {path / name for path in best for name in ("model.onnx", "model.int8.onnx")}
    for content in (path.read_bytes() for path in files):
        assert b"site-packages" not in content and b"bilstm.py" not in content


def test_they_are_made_again_with_the_same_bytes_where_one_is_missing(finished_run, capsys):
    checkpoint = best_checkpoint(finished_run / "model3", "")
    contents = {name: (checkpoint / name).read_bytes() for name in (*EXPORTED, "README.md")}
    (checkpoint / "model.int8.onnx").unlink()
    export_onnx(checkpoint, load_from_disk(finished_run / "data")["valid"])
    assert f"{checkpoint}/: model.onnx, classify.py, model.int8.onnx, for use without" in capsys.readouterr().out
    assert {name: (checkpoint / name).read_bytes() for name in contents} == contents


def test_eight_bits_are_a_quarter_and_answer_alike(finished_run):
    checkpoint = best_checkpoint(finished_run / "model3", "")
    whole, small = ((checkpoint / name).stat().st_size for name in ("model.onnx", "model.int8.onnx"))
    assert small < 0.3 * whole
    valid = load_from_disk(finished_run / "data")["valid"]
    expected = predict_logits(*load_classifier(checkpoint), valid["sentence"][:]).softmax(1).numpy()
    rows = Classifier(checkpoint).probabilities(valid["sentence"][:])
    numpy.testing.assert_allclose(rows, expected, atol=0.05)
    accuracy = (rows.argmax(1) == numpy.array(valid["label"][:])).mean()
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert f"accuracy on the 60 dev sentences **{accuracy:.4f}**" in card


def test_classify_stops_with_a_sentence_at_other_encodings_and_in_silence_where_nobody_reads(finished_run):
    command = f"{sys.executable} {finished_run / 'model3/best/classify.py'}"
    text = "\ufeff手机\n手机\n".encode() + "手机\n".encode("gb18030")
    told = subprocess.run(command.split(), input=text, capture_output=True)
    assert told.stderr.decode() == "standard input, line 3: not UTF-8: convert the text to UTF-8 first.\n"
    first, second = told.stdout.splitlines()  # a BOM says nothing
    assert told.returncode == 1 and first == second
    silent = subprocess.run(f"yes 手机 | {command} | head -n 1", shell=True, capture_output=True)
    assert silent.stdout.count(b"\n") == 1 and not silent.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, a disk that is always full")
@pytest.mark.parametrize("script", ["model3/best/classify.py", f"{ROOT}/predict_test.py -"])
def test_where_the_answers_cannot_be_written_a_sentence_says_so(finished_run, script):
    with open("/dev/full", "w") as full:
        command = [sys.executable, *script.split()]
        told = subprocess.run(command, input=b"5G\n", cwd=finished_run, stdout=full, stderr=subprocess.PIPE)
    assert told.returncode == 1
    assert told.stderr.decode() == "standard output cannot be written (No space left on device).\n"


@pytest.mark.parametrize("script", ["model3/best/classify.py", f"{ROOT}/predict_test.py -"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("<&-", "standard input or output is closed: python "),
        ("< /dev/null >&-", "standard input or output is closed: python "),
        ("0> /dev/null", "standard input cannot be read (Bad file descriptor): give it a file.\n"),
    ],
)
def test_where_no_line_can_be_read_a_sentence_says_so(finished_run, script, given, message):
    told = subprocess.run(f"{sys.executable} {script} {given}", shell=True, cwd=finished_run, capture_output=True)
    assert told.returncode == 1 and not told.stdout
    assert told.stderr.decode().startswith(message) and told.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_a_checkpoint_answers_where_there_is_no_pytorch(finished_run, tmp_path):
    """Where there are onnxruntime, tokenizers and numpy, and nothing that these do not bring themselves."""
    pinned = [f"{name}=={version(name)}" for name in ("onnxruntime", "tokenizers", "numpy")]
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", tmp_path / "installed"]
    if subprocess.run([*install, *pinned], capture_output=True).returncode:
        pytest.skip("the packages cannot be installed here")
    shutil.copytree(best_checkpoint(finished_run / "model3", ""), tmp_path / "student")
    headlines = "球隊 ＮＢＡ 冠軍\n手机芯片\n\n"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    bare = [sys.executable, "-S"]  # without the packages that are installed here
    assert subprocess.run([*bare, "-c", "import torch"], env=environment, capture_output=True).returncode
    command = [*bare, tmp_path / "student" / "classify.py"]
    result = subprocess.run(
        command, input=headlines.encode(), cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    classify = Classifier(finished_run / "model3" / "best")
    expected = [classify([headline])[0] for headline in headlines.split("\n")[:2]]  # one by one, as they are answered
    lines = [f"{label}\t{description}\t{confidence:.4f}" for label, description, confidence in expected]
    assert result.stdout.decode().splitlines() == [*lines, "\t\t"]
    assert not result.stderr
