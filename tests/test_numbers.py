"""Numbers to be trusted: the loop learns, nothing of dev is learnt, accuracies are what they say, and seeds count."""

import json
import random
import sys
from pathlib import Path

import pytest
from conftest import Child, outcome
from datasets import load_from_disk
from small_set import write_tnews

import distill
import predict_test
import prepare_data
import report
import train_bilstm
from bert_to_bilstm.distillation import transfer_set
from bert_to_bilstm.models.checkpoints import best_checkpoint

MARK = "龘"  # in every dev sentence, and nowhere else


@pytest.fixture
def settings(monkeypatch):
    """Changes constants of train_bilstm for one test."""
    return lambda **constants: [monkeypatch.setattr(train_bilstm, name, value) for name, value in constants.items()]


def read(name: str) -> list[dict]:
    return [json.loads(line) for line in Path("tnews", name).read_text(encoding="utf-8").splitlines()]


def write(name: str, rows: list[dict]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    Path("tnews", name).write_text("\n".join(lines), encoding="utf-8")


def best_accuracy(directory: str) -> float:
    return float(best_checkpoint(Path(directory), "").name.split("-")[1])


@pytest.mark.slow
def test_the_student_learns_100_headlines_by_heart(scratch, settings):
    write_tnews(Path("tnews"))
    write("train.json", read("train.json")[:100])
    write("dev.json", read("train.json"))
    prepare_data.main()
    settings(BATCH_SIZE=10, EPOCHS=8, WARMUP_RATIO=0.1, HIDDEN_SIZE=512)
    train_bilstm.main()
    assert best_accuracy("model2") >= 0.99


@pytest.mark.slow
def test_from_shuffled_labels_nothing_is_learnt(scratch, settings):
    write_tnews(Path("tnews"), train=150, dev=200)
    rows = read("train.json")
    labels = [row["label"] for row in rows]
    settings(BATCH_SIZE=32, EPOCHS=2, WARMUP_RATIO=0.1, DROPOUT=0.0, HIDDEN_SIZE=512, OUTPUT=Path("true"))
    prepare_data.main()
    train_bilstm.main()
    random.Random(0).shuffle(labels)
    write("train.json", [row | {"label": label} for row, label in zip(rows, labels, strict=True)])
    settings(OUTPUT=Path("shuffled"))
    prepare_data.main()
    train_bilstm.main()
    assert best_accuracy("true") > 0.6
    assert best_accuracy("shuffled") == pytest.approx(1 / 3, abs=0.12)  # three classes, 600 dev sentences


@pytest.fixture
def marked(small_tnews: Path) -> Path:
    """A small data set in which dev sentences alone have MARK, often enough for a vocabulary; a text has them too."""
    write("dev.json", [row | {"sentence": MARK + row["sentence"] + MARK} for row in read("dev.json")])
    Path("unlabelled").mkdir()
    lines = [row["sentence"] for row in read("dev.json")]
    Path("unlabelled/more.txt").write_text("\n".join([*lines, "发现新的标题"]), encoding="utf-8")
    prepare_data.main()
    return small_tnews


def test_dev_is_in_no_vocabulary_no_training_set_and_no_knowledge(marked, finished_run):
    assert MARK not in Path("data/vocab.txt").read_text(encoding="utf-8")
    assert MARK not in Path("data/tokenizer/tokenizer.json").read_text(encoding="utf-8").split('"vocab"')[1]
    data = load_from_disk("data")
    assert all(MARK in sentence for sentence in data["valid"]["sentence"])
    assert not any(MARK in sentence for sentence in data["train"]["sentence"])
    paper = {"p_mask": distill.P_MASK, "p_pos": distill.P_POS, "p_ngram": distill.P_NGRAM}
    rows = list(transfer_set.gather_transfer_set(data, ["unlabelled/more.txt"], 5, paper, 1))
    assert {row["source"] for row in rows} == {"train", "mask", "pos", "ngram", "unlabelled"}
    assert not any(MARK in row["sentence"] for row in rows)


def test_dev_is_not_pretrained_on(marked, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(prepare_data.__file__).parent / "sample"))
    import pretrain

    try:
        Path("unlabelled/more.txt").unlink()  # what the user puts there is read
        monkeypatch.setattr(pretrain, "ROOT", marked)
        files, digests = pretrain.read_texts()
        assert digests.keys() == {"train.json"}
        assert len(files[0]) == 150 and not any(MARK in text + words for text, words in files[0])
    finally:
        sys.modules.pop("pretrain")


def test_other_dev_sentences_leave_every_weight_as_it_is(small_tnews, settings):
    weights = []
    for name in ("one", "other"):
        prepare_data.main()
        settings(BATCH_SIZE=64, EPOCHS=1, WARMUP_RATIO=0.0, OUTPUT=Path(name))
        train_bilstm.main()
        weights.append(next(Path(name).glob("1-*/model.safetensors")).read_bytes())
        write("dev.json", [{"label": "100", "sentence": "别的句子" * 20}] * 7)
    assert weights[0] == weights[1]


def test_accuracy_is_the_one_counted_by_hand(finished_run, scratch, monkeypatch, capsys):
    """Dev is predicted as if it were the test set."""
    write_tnews(Path("tnews"))
    dev = read("dev.json")
    write("test.json", [{"id": number, "sentence": row["sentence"]} for number, row in enumerate(dev)])
    prepare_data.main()
    monkeypatch.setattr(predict_test, "ENGINE", "torch")  # in eight bits the closest answers may change
    for name in ("model1", "model2", "model3"):
        Path(name).symlink_to(finished_run / name)
    for name in ("model1", "model2", "model3"):
        monkeypatch.setattr(predict_test, "MODEL", str(best_checkpoint(Path(name), "")))
        predict_test.main()
        answers = [json.loads(line) for line in Path("tnews11_predict.json").read_text(encoding="utf-8").splitlines()]
        right = sum(answer["label"] == row["label"] for answer, row in zip(answers, dev, strict=True))
        assert f"{right / len(dev):.4f}" == Path(predict_test.MODEL).name.split("-")[1]
    capsys.readouterr()
    report.main()  # of the distilled student, the last one above
    table = capsys.readouterr().out.splitlines()
    row = next(line for line in table if line.startswith("distilled student"))
    assert row.split()[3] == f"{right / len(dev):.4f}"
    errors = Path("report/errors.csv").read_text(encoding="utf-8-sig").splitlines()[1:]
    assert len(errors) == len(dev) - right


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["finetune_bert", "train_bilstm", "distill"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(finished_run, tmp_path, stage):
    results = []
    for number, seed in enumerate([1, 1, 2]):
        directory = tmp_path / str(number)
        directory.mkdir()
        for name in ("data", "bert", "model1"):
            if (stage, name) != ("finetune_bert", "model1"):
                (directory / name).symlink_to(finished_run / name)
        constants = {"EPOCHS": 1, "BATCH_SIZE": 64, "SEED": seed}
        constants |= {"AUGMENTATIONS": 1} if stage == "distill" else {}
        constants |= {"MODEL_NAME": "bert"} if stage == "finetune_bert" else {}
        child = Child(stage, directory, {f"{stage}.{name}": value for name, value in constants.items()})
        assert child.end()[0] == 0
        results.append(outcome(directory))
    assert results[0] == results[1]
    weights = [value for name, value in results[0].items() if name.endswith("model.safetensors")]
    assert weights and not set(weights) & set(results[2].values())
