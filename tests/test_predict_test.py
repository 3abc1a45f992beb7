"""`python predict_test.py -`: a line in, a line out, for any text; and what the test sets' predictions leave."""

import gzip
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas
import pytest
from conftest import ROOT
from datasets import DatasetDict, load_from_disk

import predict_test
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier

COMMAND = [sys.executable, ROOT / "predict_test.py", "-"]
HEADLINES = ["球隊 ＮＢＡ 冠軍", "手机芯片，iPhone！", "妈妈的爱情"]


@pytest.fixture
def label_lines(finished, capsys):
    """What comes out when a text comes in, in this process."""

    def label(text: bytes) -> list[str]:
        capsys.readouterr()
        predict_test.predict_lines(io.BytesIO(text))
        return capsys.readouterr().out.splitlines()

    return label


def test_each_line_gets_its_label_description_and_confidence(label_lines):
    rows = [line.split("\t") for line in label_lines("\n".join([*HEADLINES, ""]).encode())]
    assert len(rows) == 3
    descriptions = {"100": "news_story", "103": "news_sports", "109": "news_tech"}
    model, tokenizer = load_classifier(best_checkpoint(Path("model3"), ""))
    for headline, (label, description, confidence) in zip(HEADLINES, rows, strict=True):
        probabilities = model(**tokenizer(headline, return_tensors="pt")).logits.softmax(1)
        assert label == model.config.id2label[probabilities.argmax().item()]
        assert description == descriptions[label]
        assert float(confidence) == pytest.approx(probabilities.max().item(), abs=0.02)  # bf16


def test_line_numbers_agree_with_blank_lines_and_windows_line_ends(label_lines):
    lines = label_lines("\ufeff\n手机\r\n \u3000\n\n芯片".encode())
    assert [bool(line.strip()) for line in lines] == [False, True, False, False, True]
    assert all(line.count("\t") == 2 for line in lines)
    assert label_lines(b"") == []


@pytest.mark.slow
def test_a_line_is_answered_while_the_pipe_stays_open_and_many_after_it(finished_run):
    with subprocess.Popen(COMMAND, cwd=finished_run, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        for headline in HEADLINES:
            child.stdin.write(headline.encode() + b"\n")
            child.stdin.flush()
            assert child.stdout.readline().count(b"\t") == 2
        child.stdin.write("手机\n芯".encode())  # half a line is not answered
        child.stdin.flush()
        half = child.stdout.readline()
        child.stdin.write("片\n".encode() + "球队 NBA\n".encode() * 600)
        child.stdin.close()
        rest = child.stdout.read().splitlines()
    assert child.returncode == 0
    assert len([half, *rest]) == 602


@pytest.mark.slow
def test_head_ends_it_quietly(finished_run):
    pipeline = f"yes 球队NBA | {sys.executable} {ROOT}/predict_test.py - | head -n 3"
    result = subprocess.run(["bash", "-c", pipeline], cwd=finished_run, capture_output=True, timeout=300)
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr == b""


@pytest.mark.parametrize(
    ("text", "answered", "message"),
    [
        ("手机\n\n".encode() + b"\xff\xfe\n" + b"5G\n", 2, "standard input, line 3: not UTF-8: convert the text"),
        (b"5G\n" * 300 + "手机\n".encode("gb18030"), 300, "standard input, line 301: not UTF-8: convert the text"),
        (b"5G\n" + b"5" * 1_100_000, 1, "standard input, line 2: longer than 1,000,000 bytes: cut it."),
    ],
)
def test_a_line_that_cannot_be_read_is_named_after_the_lines_before_it(label_lines, capsys, text, answered, message):
    with pytest.raises(SystemExit) as stop:
        label_lines(text)
    assert stop.value.code.startswith(message)
    assert len(capsys.readouterr().out.splitlines()) == answered


def test_the_teacher_reads_what_stage_1_would_have_made_of_a_line(label_lines, monkeypatch):
    """Its tokenizer, unlike the student's, does not normalise."""
    monkeypatch.setattr(predict_test, "MODEL", str(best_checkpoint(Path("model1"), "")))
    raw, normalised = "發現 ＮＢＡ 機器人", "发现 nba 机器人"
    assert label_lines(raw.encode()) == label_lines(normalised.encode()) != []


def test_a_training_that_was_stopped_predicts_and_says_so(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree("model3", tmp_path / "model3", symlinks=True)
    monkeypatch.chdir(tmp_path)
    run = json.loads(Path("model3/run.json").read_text(encoding="utf-8"))
    run["settings"]["EPOCHS"] = 30
    Path("model3/run.json").write_text(json.dumps(run), encoding="utf-8")
    predict_test.predict_lines(io.BytesIO(HEADLINES[0].encode()))
    printed = capsys.readouterr()
    assert printed.err == (
        f"model3/ has trained 3 of 30 epochs: taking {best_checkpoint(Path('model3'), '')}, the best of these; "
        "python distill.py goes on.\n"
    )
    assert len(printed.out.splitlines()) == 1


def test_an_unknown_argument_says_what_there_is(scratch):
    with pytest.raises(SystemExit, match=r"predict_test\.py - standard input"):
        predict_test.main(["--help"])


TABLE = pandas.DataFrame({"id": ["007", "@SUM(A1)", "x"], "Text": [*HEADLINES[:2], ""], "label": ["109", "", "-1"]})


def predict(table: Path) -> pandas.DataFrame:
    predict_test.main([str(table)])
    output = table.with_name(f"{table.name.removesuffix('.csv')}.predictions.csv")
    assert output.read_bytes().startswith(b"\xef\xbb\xbf")  # for Excel
    return pandas.read_csv(output, dtype=str, keep_default_na=False, encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", lambda path: TABLE.to_csv(path, index=False)),
        ("b.csv", lambda path: TABLE.to_csv(path, index=False, encoding="gb18030")),
        ("c.tsv", lambda path: TABLE.to_csv(path, index=False, sep="\t")),
        ("d.xlsx", lambda path: TABLE.to_excel(path, index=False)),
        ("e.jsonl", lambda path: TABLE.to_json(path, orient="records", lines=True)),
    ],
)
def test_a_table_keeps_its_columns_and_gets_the_answers_beside_them(
    finished, tmp_path, capsys, label_lines, name, write
):
    write(tmp_path / name)
    found = predict(tmp_path / name)
    assert found["id"].tolist() == ["007", "'@SUM(A1)", "x"]  # no formula runs
    assert found["Text"].tolist() == TABLE["Text"].tolist()
    assert found["label"].tolist() == ["109", "", "-1"]  # the table's own
    lines = [line.split("\t") for line in label_lines("\n".join(TABLE["Text"]).encode() + b"\n")]
    assert found[["predicted_label", "description", "confidence"]].values.tolist() == lines
    assert set(found.loc[0, ["predicted_label", "second", "third"]]) == {"100", "103", "109"}
    assert sum(found.loc[0, ["confidence", "second_confidence", "third_confidence"]].astype(float)) == pytest.approx(
        1, abs=2e-4
    )
    assert found.loc[2, "confidence"] == found.loc[2, "second"] == ""  # there is nothing to answer


def test_a_text_file_is_a_table_of_sentences(finished, tmp_path):
    (tmp_path / "headlines.txt").write_text("\n".join(HEADLINES), encoding="utf-8")
    found = predict(tmp_path / "headlines.txt")
    assert found["sentence"].tolist() == HEADLINES
    assert list(found.columns)[1:4] == ["label", "description", "confidence"]


def test_blank_rows_stay_and_a_table_that_has_been_predicted_can_be_again(finished, tmp_path):
    (tmp_path / "a.csv").write_text("text\n手机\n\n球队\n", encoding="utf-8")
    first = predict(tmp_path / "a.csv")
    assert first["text"].tolist() == ["手机", "", "球队"]
    shutil.copy(tmp_path / "a.predictions.csv", tmp_path / "b.csv")
    assert list(predict(tmp_path / "b.csv"))[:3] == ["text", "label", "description"]
    shutil.copy(tmp_path / "b.predictions.csv", tmp_path / "c.csv")
    assert not predict(tmp_path / "c.csv").columns.has_duplicates


def test_another_file_of_the_name_of_the_predictions_stays(finished, tmp_path):
    (tmp_path / "a.txt").write_text("手机\n", encoding="utf-8")
    output = tmp_path / "a.txt.predictions.csv"
    for mine in ("mine\n", "x" * 200_000):
        output.write_text(mine, encoding="utf-8")
        with pytest.raises(SystemExit, match=r"a\.txt\.predictions\.csv is there and holds something else"):
            predict_test.main([str(tmp_path / "a.txt")])
        assert output.read_text(encoding="utf-8") == mine


def test_what_people_have_written_into_the_predictions_stays(finished, tmp_path):
    header = '"标题\n(必填)",text'
    (tmp_path / "a.csv").write_text(f"{header}\n1,手机\n", encoding="utf-8")
    found = predict(tmp_path / "a.csv")
    assert predict(tmp_path / "a.csv").equals(found)  # ours are written again
    noted = found.assign(remark="mine").to_csv(index=False)
    (tmp_path / "a.predictions.csv").write_text(noted, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"a\.predictions\.csv is there and holds something else"):
        predict_test.main([str(tmp_path / "a.csv")])
    assert (tmp_path / "a.predictions.csv").read_text(encoding="utf-8") == noted


def test_two_tables_of_one_name_have_predictions_of_their_own(finished, tmp_path):
    """Whichever of them comes first; a packed one is another."""
    for name in ("a.csv", "a.tsv", "a.csv.gz", "a.xlsx.gz"):
        path = tmp_path / name
        table = pandas.DataFrame({"text": ["手机"], "self": ["own"]})
        table.to_excel(path.with_suffix("")) if "xlsx" in name else table.to_csv(path, sep=",\t"["tsv" in name])
        if "xlsx" in name:
            path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
        assert predict(path)["self"].tolist() == ["own"]
    assert len(list(tmp_path.glob("*.predictions.csv"))) == 4


def test_of_json_every_column_is_kept_and_half_a_character_is_none(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_test, "ROWS", 2)
    rows = [{"text": "手机"}, {"text": "新闻\ud83d"}, {"note": {"by": "me\ud83d"}, "text": "球队"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = predict(tmp_path / "a.jsonl")
    assert found["text"].tolist() == ["手机", "新闻?", "球队"]
    assert found["note"].tolist() == ["", "", '{"by": "me?"}']


def test_an_answer_that_is_not_sure_enough_is_left_empty(finished, tmp_path, monkeypatch):
    TABLE.to_csv(tmp_path / "a.csv", index=False)
    sure = predict(tmp_path / "a.csv")["confidence"][:2].astype(float)
    monkeypatch.setattr(predict_test, "MINIMUM_CONFIDENCE", float(sure.mean()))
    found = predict(tmp_path / "a.csv")
    assert (found["predicted_label"][:2] == "").tolist() == (sure < sure.mean()).tolist()
    assert found["confidence"][:2].astype(float).tolist() == sure.tolist()


def test_torch_gives_the_same_answers(label_lines, monkeypatch):
    text = "\n".join(HEADLINES).encode()
    quick = [line.split("\t") for line in label_lines(text)]
    monkeypatch.setattr(predict_test, "ENGINE", "torch")
    for (label, _, confidence), (expected, _, by_torch) in zip(
        quick, (line.split("\t") for line in label_lines(text)), strict=True
    ):
        assert label == expected and float(confidence) == pytest.approx(float(by_torch), abs=0.05)


def test_a_student_without_the_small_model_predicts_with_torch_and_says_so(finished, label_lines, monkeypatch, capsys):
    others = [path for path in Path("model3").glob("*-0.*") if not (path / "model.int8.onnx").exists()]
    monkeypatch.setattr(predict_test, "MODEL", str(others[0]))
    predict_test.predict_lines(io.BytesIO(HEADLINES[0].encode()))
    assert "has no model.int8.onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "headline\n今天\n",
            "no 'sentence' or 'text' among 'headline': name it so, or name it in SENTENCE_COLUMN",
        ),
        ("a.pdf", "%PDF", "a.pdf is not called .json, .jsonl,"),
        ("a.xlsx", "text", "no readable Excel file"),
        ("a.csv", "", "has no rows"),
    ],
)
def test_a_table_that_cannot_be_read_leaves_nothing(finished, tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        predict_test.main([str(tmp_path / name)])
    assert message in stop.value.code
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_zip_holds_both_prediction_files(finished):
    with zipfile.ZipFile("clue_submission.zip") as archive:
        assert archive.namelist() == ["tnews11_predict.json", "tnews10_predict.json"]
        assert all(archive.read(name) == Path(name).read_bytes() for name in archive.namelist())


def test_a_test_set_that_clue_would_refuse_leaves_nothing_behind(finished, tmp_path, monkeypatch):
    """An id that stands there twice is found before anything is written."""
    test = load_from_disk("data")["test"]
    repeated = test.remove_columns("id").add_column("id", [0, 0, *range(2, len(test))])
    data = DatasetDict(load_from_disk("data") | {"test": repeated})
    data.save_to_disk(str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for name in ("label.csv", "char_table.json"):
        Path("data", name).write_bytes((finished / "data" / name).read_bytes())
    Path("data/tokenizer").symlink_to(finished / "data/tokenizer")
    Path("model3").symlink_to(finished / "model3")
    monkeypatch.setattr(predict_test, "OUTPUTS", {"test1.0": Path("older.json"), "test": Path("newer.json")})
    with pytest.raises(SystemExit, match=r"newer\.json, line 2: id 0 stands in line 1 already"):
        predict_test.main()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "model3"}
