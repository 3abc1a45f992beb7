"""Somebody's own data, a table alone, two classes or two hundred: all stages and the report as they are."""

import json
import random
from pathlib import Path

import pandas
import pytest
from PIL import Image
from small_set import run_stages
from transformers import pipeline

import predict_test
from bert_to_bilstm.models.checkpoints import best_checkpoint

CHARACTERS = [chr(code) for code in range(ord("一"), ord("一") + 400)]


def write_own_data(folder: Path, labels: list[str], train: int, dev: int) -> None:
    """`train` and `dev` rows a class, each of two characters of its class and one of any; dev lacks the last class."""
    generator = random.Random(0)

    def write(name: str, objects: list[dict]) -> None:
        folder.joinpath(name).write_text("".join(json.dumps(row) + "\n" for row in objects), encoding="utf-8")

    def rows(count: int, of: list[str]) -> list[dict]:
        return [
            {"label": label, "sentence": "".join([*CHARACTERS[2 * number :][:2], generator.choice(CHARACTERS)])}
            for number, label in enumerate(of)
            for _ in range(count)
        ]

    folder.mkdir()
    write("labels.json", [{"label": label, "label_desc": f"第{label}类"} for label in labels])
    write("train.json", rows(train, labels))
    write("dev.json", rows(dev, labels[:-1] if len(labels) > 2 else labels))
    write(
        "test.json", [{"id": f"n{number}", "sentence": row["sentence"]} for number, row in enumerate(rows(1, labels))]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "train", "dev"),
    [
        # labels that pandas or JSON may take for something else
        pytest.param(["NA", "007"], 60, 20, id="2 classes"),
        pytest.param([f"c{number}" for number in range(200)], 3, 1, id="200 classes"),
    ],
)
def test_all_stages_take_any_number_of_classes(scratch, labels, train, dev):
    write_own_data(scratch / "tnews", labels, train, dev)
    run_stages()
    for model in ("model1", "model2", "model3"):
        config = json.loads((best_checkpoint(Path(model), "") / "config.json").read_text(encoding="utf-8"))
        assert config["id2label"] == {str(number): label for number, label in enumerate(labels)}
        assert config["label_descriptions"] == {label: f"第{label}类" for label in labels}
    student = best_checkpoint(Path("model2"), "")
    assert float(student.name.split("-")[1]) > 0.5  # the sentences are easy
    assert pipeline("text-classification", str(student))(CHARACTERS[0] + CHARACTERS[1])[0]["label"] == labels[0]
    predictions = [json.loads(line) for line in Path("tnews11_predict.json").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in predictions] == [f"n{number}" for number in range(len(labels))]
    assert {row["label"] for row in predictions} <= set(labels)
    per_class = pandas.read_csv("report/per_class.csv", keep_default_na=False, dtype={"label": str})
    assert per_class["label"].tolist() == 5 * labels
    with Image.open("report/confusion_matrix.png") as picture:
        assert min(picture.size) > 400


@pytest.mark.slow
def test_a_table_of_texts_and_labels_is_all_that_is_needed(scratch, capsys):
    """Reviews in one CSV file, no labels.json, no dev, no test set; in the end a spreadsheet is predicted."""
    generator = random.Random(0)
    words = {"好评": "很好 喜欢 推荐 物超所值".split(), "差评": "很差 失望 退货 浪费钱".split()}
    rows = [
        (f"{generator.choice(['屏幕', '快递', '客服', '手机'])}{generator.choice(words[label])}，{number}", label)
        for number in range(100)
        for label in words
    ]
    Path("tnews").mkdir()
    pandas.DataFrame(rows, columns=["text", "label"]).to_csv("tnews/train.csv", index=False)
    run_stages()
    printed = capsys.readouterr().out
    assert "20 of the 200 rows of train.csv, a tenth of each label, are held out" in printed
    assert "data/ has no test set to predict; python predict_test.py headlines.csv predicts a table." in printed
    assert float(best_checkpoint(Path("model3"), "").name.split("-")[1]) > 0.9
    pandas.DataFrame({"编号": [1, 2], "text": ["客服很好", "快递很差，退货"]}).to_excel("new.xlsx", index=False)
    predict_test.main(["new.xlsx"])
    found = pandas.read_csv("new.xlsx.predictions.csv", encoding="utf-8-sig")
    assert list(found.columns)[:4] == ["编号", "text", "label", "description"]
    assert found["label"].tolist() == ["好评", "差评"]
