"""All five stages and the report, after one run on a small set."""

import json
import shutil
from pathlib import Path

import pandas
import pytest
import torch
from datasets import load_from_disk
from small_set import load_as_trained

import distill
import finetune_bert
import predict_test
import prepare_data
import train_bilstm
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.models.pretrained import load_pretrained
from bert_to_bilstm.text.char_table import builtin_table
from bert_to_bilstm.text.dataset import load_labels
from bert_to_bilstm.training.prediction import predict_logits
from bert_to_bilstm.training.run import change


@pytest.mark.parametrize("directory", ["model1", "model2", "model3"])
def test_every_checkpoint_reloaded_gives_the_accuracy_in_its_name(finished, directory):
    valid = load_from_disk("data")["valid"]
    checkpoints = sorted(Path(directory).glob("*-*"))
    assert len(checkpoints) == len(pandas.read_csv(f"{directory}/history.csv"))
    for checkpoint in checkpoints:
        model, tokenizer = load_as_trained(checkpoint)
        predicted = predict_logits(model, tokenizer, valid["sentence"][:]).argmax(1)
        accuracy = (predicted == torch.tensor(valid["label"][:])).float().mean().item()
        assert f"{accuracy:.4f}" == checkpoint.name.split("-")[1]


def test_teacher_learns_and_drops_out(finished):
    history = pandas.read_csv("model1/history.csv")
    assert history["valid_accuracy"].max() > 0.5  # three classes
    model, _ = load_classifier(best_checkpoint(Path("model1"), ""), load_labels())
    assert model.config.hidden_dropout_prob == 0.1


def test_best_checkpoint_is_the_most_accurate_then_the_last(tmp_path):
    for name in ("1-0.5000", "2-0.5300", "10-0.5300", "3-0.5299", "11-0.5200", "4-0.9", "notes-0.9999"):
        (tmp_path / name).mkdir()
    assert best_checkpoint(tmp_path, "").name == "10-0.5300"


def test_knowledge_is_what_bert_and_the_n_gram_model_say_in_the_order_of_train(finished):
    train, knowledge = load_from_disk("data")["train"], load_from_disk("knowledge")
    assert knowledge["sentence"][:] == train["sentence"][:]
    best = best_checkpoint(Path("model1"), "")
    model, tokenizer = load_classifier(best, load_labels())
    for row in knowledge.select([0, 1, 149]):
        bert = model(**tokenizer(row["sentence"], return_tensors="pt")).logits.log_softmax(1)[0]
        linear = 2 * torch.tensor(row["label"]) - bert  # half of the mean is the n-gram model's log-probabilities
        assert linear.exp().sum().item() == pytest.approx(1, abs=0.1)  # bf16
    assert json.loads(Path("knowledge/origin.json").read_text())["teachers"].keys() == {str(best)}


def test_predictions_are_in_clues_form(finished):
    for name, split in (("tnews11_predict.json", "test"), ("tnews10_predict.json", "test1.0")):
        lines = Path(name).read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["id"] for line in lines] == load_from_disk("data")[split]["id"][:]
        assert all(set(json.loads(line)) == {"id", "label"} for line in lines)
        assert {json.loads(line)["label"] for line in lines} <= {"100", "103", "109"}
        assert lines[0].startswith('{"id": 0, "label": "1')


def test_predictions_are_those_of_the_best_student(finished):
    model, tokenizer = load_classifier(best_checkpoint(Path("model3"), ""), load_labels())
    for line, row in zip(
        Path("tnews11_predict.json").read_text().splitlines(), load_from_disk("data")["test"], strict=True
    ):
        number = model(**tokenizer(row["sentence"], return_tensors="pt")).logits.argmax().item()
        assert json.loads(line) == {"id": row["id"], "label": load_labels()[number]}


def test_the_teacher_can_predict_too(finished, monkeypatch, tmp_path, capsys):
    teacher = best_checkpoint(Path("model1"), "")
    monkeypatch.setattr(predict_test, "MODEL", str(teacher))
    monkeypatch.setattr(predict_test, "OUTPUTS", {"test": tmp_path / "teacher.json"})
    monkeypatch.setattr(predict_test, "SUBMISSION", tmp_path / "teacher.zip")
    predict_test.main()
    assert f"30 predictions of {teacher}" in capsys.readouterr().out
    assert len((tmp_path / "teacher.json").read_text().splitlines()) == 30


def test_rerunning_trains_nothing_and_removes_nothing(finished, monkeypatch, capsys):
    monkeypatch.setattr(train_bilstm, "KEEP_CHECKPOINTS", 1)
    before = {path: path.stat().st_mtime_ns for path in finished.glob("model*/**/*")}
    for stage in (finetune_bert, train_bilstm, distill):
        stage.main()
    assert capsys.readouterr().out.count("is finished with these settings and this data; nothing to do.") == 3
    assert {path: path.stat().st_mtime_ns for path in finished.glob("model*/**/*")} == before


@pytest.mark.parametrize("lost", ["history.csv", "state-1"])
def test_checkpoints_are_not_trained_over_where_what_tells_how_far_they_came_is_gone(
    finished, monkeypatch, tmp_path, lost
):
    monkeypatch.setattr(train_bilstm, "OUTPUT", Path(shutil.copytree("model2", tmp_path / "model2", symlinks=True)))
    if lost == "history.csv":  # of a run that has ended
        (tmp_path / "model2/history.csv").unlink()
    else:  # of one that was stopped after its first epoch
        lines = (tmp_path / "model2/history.csv").read_text().splitlines(keepends=True)
        (tmp_path / "model2/history.csv").write_text("".join(lines[:2]))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit, match=r"nor a state-\*/ to go on from: put them back, or move it away \(mv "):
        train_bilstm.main()
    assert sorted(tmp_path.rglob("*")) == before


def test_knowledge_is_reused_for_another_student_and_made_anew_for_another_teacher(
    finished, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(distill, "EPOCHS", 1)
    monkeypatch.setattr(distill, "BATCH_SIZE", 64)
    monkeypatch.setattr(distill, "OUTPUT", tmp_path / "again")
    distill.main()
    assert "knowledge/ is of these teachers and these sentences: used again." in capsys.readouterr().out
    other = str(best_checkpoint(Path("model2"), ""))
    monkeypatch.setattr(distill, "TEACHERS", [other])
    monkeypatch.setattr(distill, "OUTPUT", tmp_path / "other")
    monkeypatch.setattr(distill, "KNOWLEDGE", tmp_path / "knowledge")
    shutil.copytree("knowledge", tmp_path / "knowledge")
    distill.main()
    assert "is of other teachers or other sentences: labelling anew." in capsys.readouterr().out
    assert json.loads((tmp_path / "knowledge/origin.json").read_text())["teachers"].keys() == {other}


def test_a_student_of_another_teacher_is_told_by_the_teachers_names(finished, monkeypatch):
    others = [str(best_checkpoint(Path(name), "")) for name in ("model1", "model2")]
    monkeypatch.setattr(distill, "TEACHERS", others)
    with pytest.raises(SystemExit) as stop:
        distill.main()
    told = f"(TEACHERS [] → {others}, teachers {others[0]} → {', '.join(others)}): move it away"
    assert told in stop.value.code


def test_of_what_a_digest_is_kept_it_is_told_which_is_another():
    assert change("teachers", {"a": "12", "b": "34"}, {"a": "12", "b": "56"}) == "other teachers: b"
    assert change("unlabelled", {}, {"more.txt": "12"}) == "unlabelled none → more.txt"
    assert change("model", "12", "34") == "other model"
    assert change("augmentation", {}, {"tries": 2}) == "augmentation {} → {'tries': 2}"


def test_unreachable_hub_says_how_to_get_the_teacher(small_tnews, monkeypatch):
    prepare_data.main()
    monkeypatch.setattr(finetune_bert, "MODEL_NAME", "bert-base-chinese")
    with pytest.raises(SystemExit, match=r"bert-base-chinese could not be loaded .* copy the model's folder"):
        finetune_bert.main()
    assert not Path("model1").exists()


def test_published_bert_layout_loads_whole(finished, capsys):
    model, tokenizer = load_pretrained("bert", load_labels(), {}, builtin_table().normalizer(), 128, False)
    assert capsys.readouterr().out == (
        "bert: starting at random: classifier.bias, classifier.weight; the rest is pretrained.\n"
    )
    assert tokenizer.tokenize("今天") == ["今", "天"]
    assert model.num_labels == 3
