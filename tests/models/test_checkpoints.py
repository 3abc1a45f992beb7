"""A student's checkpoint in other people's hands: nothing but the folder, transformers, and headlines as they come."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import predict_test
from bert_to_bilstm.models.checkpoints import EXPORTED, best_checkpoint, load_classifier

# Traditional, full width, upper case, several spaces, an unknown character
OLDER = "4.57.1"  # of transformers; it loads the checkpoints too
RAW = ["球隊 ＮＢＡ 冠軍！", "手機晶片，ＩＰＨＯＮＥ　５Ｇ", "媽媽的愛情 IPHONE", "機器人 網絡", "\U0001f600聯賽主場"]

ELSEWHERE = """
import json, sys
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
path, *headlines = json.loads(sys.argv[1])
assert "bert_to_bilstm" not in sys.modules
classify = pipeline("text-classification", model=path, trust_remote_code=True)
answers = [answer["label"] for answer in classify(headlines)]
model = AutoModelForSequenceClassification.from_pretrained(path, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
for headline, answer in zip(headlines, answers):
    assert model.config.id2label[model(**tokenizer(headline, return_tensors="pt")).logits.argmax().item()] == answer
batch = model(**tokenizer(headlines, padding=True, return_tensors="pt")).logits.argmax(1).tolist()
assert [model.config.id2label[number] for number in batch] == answers
model.save_pretrained("again")
tokenizer.save_pretrained("again")
print(json.dumps([answers, model.config.label_descriptions, model.config.label2id]))
"""


def classify_elsewhere(checkpoint: Path, directory: Path) -> tuple[list[str], dict[str, str], dict[str, int]]:
    """Labels of RAW, descriptions and classes, from a process in `directory` whose path lacks this repository."""
    arguments = json.dumps([str(checkpoint), *RAW])
    result = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, arguments], cwd=directory, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_from_anywhere_raw_headlines_get_the_labels_of_predict_test(finished_run, tmp_path, monkeypatch, capsys):
    checkpoint = best_checkpoint(finished_run / "model3", "")
    monkeypatch.setattr(predict_test, "MODEL", str(checkpoint))
    predict_test.predict_lines(io.BytesIO("\n".join(RAW).encode()))
    expected = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    answers, descriptions, classes = classify_elsewhere(checkpoint, first)
    assert answers == expected
    assert descriptions == {"100": "news_story", "103": "news_sports", "109": "news_tech"}
    assert classes == {"100": 0, "103": 1, "109": 2}
    # Saved again by somebody who has but the folder, it is still whole.
    assert classify_elsewhere(first / "again", second) == [answers, descriptions, classes]


def test_saved_again_from_here_a_checkpoint_is_whole(finished_run, tmp_path):
    checkpoint = best_checkpoint(finished_run / "model3", "")
    model, tokenizer = load_classifier(checkpoint)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert "local_files_only" not in (checkpoint / "tokenizer_config.json").read_text(encoding="utf-8")
    files = {path.name for path in checkpoint.iterdir()} - {"README.md", *EXPORTED}
    assert {path.name for path in tmp_path.iterdir()} == files
    assert "bilstm.py" in files
    for name in ("model.safetensors", "tokenizer.json", "bilstm.py"):
        assert (tmp_path / name).read_bytes() == (checkpoint / name).read_bytes()


def test_the_code_in_a_checkpoint_needs_torch_and_transformers_only(finished_run):
    code = (best_checkpoint(finished_run / "model3", "") / "bilstm.py").read_text(encoding="utf-8")
    imports = {line.split()[1].split(".")[0] for line in code.splitlines() if line.startswith(("import ", "from "))}
    assert imports - sys.stdlib_module_names == {"torch", "transformers"}


@pytest.mark.parametrize(
    ("directory", "kind", "method"),
    [
        ("model1", "bert", "trained on the labels"),
        ("model2", "bilstm", "trained on the labels"),
        ("model3", "bilstm", "knowledge distillation"),
    ],
)
def test_every_checkpoint_has_a_card_that_the_hub_can_read(finished_run, directory, kind, method):
    settings = json.loads((finished_run / directory / "run.json").read_text(encoding="utf-8"))["settings"]
    checkpoints = list((finished_run / directory).glob("*-*"))
    assert len(checkpoints) > 1
    for checkpoint in checkpoints:
        card = ModelCard.load(checkpoint / "README.md")
        assert card.data.get("library_name") == "transformers"
        assert card.data.get("pipeline_tag") == "text-classification"
        assert kind in card.data.tags
        assert ("knowledge-distillation" in card.data.tags) == (directory == "model3")
        epoch, accuracy = checkpoint.name.split("-")
        assert f"Accuracy on 60 dev sentences after epoch {epoch}: **{accuracy}**" in card.text
        assert "on 150 sentences" in card.text and method in card.text
        assert f"| LEARNING_RATE | `{settings['LEARNING_RATE']}` |" in card.text
        assert f"| data | `{settings['data']}` |" in card.text
        assert "| 103 | news_sports |" in card.text
        assert ("trust_remote_code=True" in card.text) == (kind == "bilstm")
        assert str(finished_run) not in card.text


@pytest.mark.slow
def test_transformers_4_gives_the_same_logits(finished_run, tmp_path):
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-compile",
        "--no-deps",
        "--target",
        tmp_path / "older",
    ]
    others = ["huggingface-hub<1", "tokenizers<0.23"]  # of its own; the rest of what it needs is here
    if subprocess.run([*install, f"transformers=={OLDER}", *others], capture_output=True).returncode:
        pytest.skip(f"transformers {OLDER} cannot be installed here")
    checkpoint = best_checkpoint(finished_run / "model3", "")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "older")!r})
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
assert transformers.__version__ == {OLDER!r}
model = AutoModelForSequenceClassification.from_pretrained({str(checkpoint)!r}, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained({str(checkpoint)!r}, trust_remote_code=True)
print(model(**tokenizer({RAW[0]!r}, return_tensors="pt")).logits.tolist())
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    model, tokenizer = load_classifier(checkpoint)
    expected = model(**tokenizer(RAW[0], return_tensors="pt")).logits[0].tolist()
    assert json.loads(result.stdout)[0] == pytest.approx(expected, abs=1e-5)


def test_another_user_may_read_a_checkpoint(finished_run):
    files = [path for path in best_checkpoint(finished_run / "model3", "").iterdir() if path.is_file()]
    assert files and all(path.stat().st_mode & 0o777 == 0o644 for path in files)


@pytest.mark.slow
def test_the_ways_to_load_that_the_card_shows_ask_no_question(finished_run, tmp_path):
    checkpoint = best_checkpoint(finished_run / "model3", "")
    code = re.search(r"```python\n(.*?)```", (checkpoint / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    code = f"path = {str(checkpoint)!r}\n{code}\nprint(answer['label'], input())"
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, input="still here\n", capture_output=True, text=True
    )
    assert result.returncode == 0 and result.stdout.split(" ", 1)[1] == "still here\n", result.stderr
