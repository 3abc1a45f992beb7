"""model.onnx in onnxruntime: the answers of the checkpoint that it lies in, for batches and lengths of any size."""

import numpy
import onnxruntime
import pytest
import torch

from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.outputs.onnx_export import export_onnx


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


def test_the_best_student_alone_has_it_and_it_tells_nothing_of_this_machine(finished_run):
    files = list(finished_run.glob("model*/*-*/model.onnx"))
    assert [path.parent for path in files] == [best_checkpoint(finished_run / "model3", "")]
    content = files[0].read_bytes()
    assert b"site-packages" not in content and b"bilstm.py" not in content


def test_it_is_made_again_with_the_same_bytes_where_it_is_missing(finished_run):
    checkpoint = best_checkpoint(finished_run / "model3", "")
    content = (checkpoint / "model.onnx").read_bytes()
    (checkpoint / "model.onnx").unlink()
    export_onnx(checkpoint)
    assert (checkpoint / "model.onnx").read_bytes() == content
