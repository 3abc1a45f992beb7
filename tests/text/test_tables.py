"""Tables as people export them: each gives the data/ that the same rows give in TNEWS's own form."""

import json
import zipfile
from pathlib import Path

import openpyxl
import pandas
import pytest

import prepare_data
from bert_to_bilstm.text.dataset import load_data, load_descriptions, load_labels

REVIEWS = pandas.DataFrame(
    {
        "text": [f"屏幕很好，第{n}次买" if n % 3 else f'还没"{n}"天就坏了，差' for n in range(60)],
        "label": ["好评" if n % 3 else "差评" for n in range(60)],
        "stars": [5 if n % 3 else 1 for n in range(60)],
    }
)
EXPORTS = {
    "UTF-8": ("train.csv", lambda path: REVIEWS.to_csv(path, index=False)),
    "for Excel": ("train.csv", lambda path: REVIEWS.to_csv(path, index=False, encoding="utf-8-sig")),
    "by Excel in China": ("train.csv", lambda path: REVIEWS.to_csv(path, index=False, encoding="gb18030")),
    "tabs": ("train.tsv", lambda path: REVIEWS.to_csv(path, index=False, sep="\t")),
    "UTF-16": ("train.tsv", lambda path: REVIEWS.to_csv(path, index=False, sep="\t", encoding="utf-16")),
    "large letters": ("train.CSV", lambda path: REVIEWS.to_csv(path, index=False)),
    "Excel": ("train.xlsx", lambda path: REVIEWS.to_excel(path, index=False)),
    "JSON lines": ("train.jsonl", lambda path: REVIEWS.to_json(path, orient="records", lines=True)),
    "JSON array": ("train.json", lambda path: REVIEWS.to_json(path, orient="records", force_ascii=False)),
    "THUCNews": ("train.txt", lambda path: write_lines(path, "\t", REVIEWS["text"], REVIEWS["label"])),
    "text with a header": (
        "train.txt",
        lambda path: write_lines(path, "\t", REVIEWS["label"], REVIEWS["text"], header="label\ttext"),
    ),
    "Toutiao": (
        "train.txt",
        lambda path: write_lines(path, "_!_", REVIEWS.index.map(str), REVIEWS["label"], "x", REVIEWS["text"], ""),
    ),
}


def write_lines(path: Path, separator: str, *columns: pandas.Series | str, header: str = "") -> None:
    columns = [[column] * len(REVIEWS) if isinstance(column, str) else column for column in columns]
    lines = [header] * bool(header) + [separator.join(cells) for cells in zip(*columns, strict=True)]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def tnews(scratch: Path) -> Path:
    """An empty tnews/ in the working directory."""
    Path("tnews").mkdir()
    return Path("tnews")


@pytest.mark.parametrize("form", EXPORTS)
def test_every_form_gives_the_same_data(tnews, capsys, form):
    name, write = EXPORTS[form]
    write(tnews / name)
    prepare_data.main()
    printed = capsys.readouterr().out
    assert load_labels() == {0: "好评", 1: "差评"}
    assert load_descriptions() == {"好评": "好评", "差评": "差评"}
    assert f"tnews/ has no labels.json: the classes are the 2 labels of {name}: 好评, 差评.\n" in printed
    data = load_data()
    rows = {
        (sentence, load_labels()[label])
        for part in data.values()
        for sentence, label in part.to_pandas()[["sentence", "label"]].values
    }
    table = prepare_data.read_char_table()
    assert rows == {(table.convert(text), label) for text, label in REVIEWS[["text", "label"]].values}
    assert ("is not UTF-8 but GB18030" in printed) == (form == "by Excel in China")


def test_without_dev_a_tenth_of_each_label_is_held_out(tnews, capsys):
    REVIEWS.to_csv(tnews / "train.csv", index=False)
    prepare_data.main()
    assert "6 of the 60 rows of train.csv, a tenth of each label, are held out" in capsys.readouterr().out
    data = load_data()
    assert not set(data["valid"]["sentence"]) & set(data["train"]["sentence"])
    assert sorted(data["valid"]["label"]) == [0, 0, 0, 0, 1, 1]
    held_out = data["valid"]["sentence"][:]
    prepare_data.main()
    assert load_data()["valid"]["sentence"][:] == held_out
    REVIEWS[:5].to_csv(tnews / "dev.csv", index=False)
    prepare_data.main()
    assert [len(part) for part in load_data().values()] == [60, 5]


def test_a_label_of_few_rows_stays_in_train_and_that_dev_lacks_it_is_said(tnews, capsys):
    few = pandas.DataFrame({"text": ["不知道"], "label": ["中评"]})
    pandas.concat([REVIEWS, few]).to_csv(tnews / "train.csv", index=False)
    prepare_data.main()
    assert set(load_data()["train"]["label"]) == {0, 1, 2}
    assert (
        "dev has no row of label 中评: its figures, macro-F1 too, say nothing of that; a dev" in capsys.readouterr().out
    )


def test_constants_name_other_columns(tnews, monkeypatch):
    REVIEWS.rename(columns={"text": "评论", "label": "类别"}).to_excel(tnews / "train.xlsx", index=False)
    with pytest.raises(
        SystemExit, match="row 2: no 'label' among '评论', '类别', 'stars': name it so, or name it in LABEL_COL"
    ):
        prepare_data.main()
    monkeypatch.setattr(prepare_data, "LABEL_COLUMN", "类别")
    monkeypatch.setattr(prepare_data, "SENTENCE_COLUMN", "评论")
    prepare_data.main()
    REVIEWS.rename(columns={"label": "类别"}).to_csv("tnews/dev.csv", index=False)
    with pytest.raises(SystemExit, match=r"dev\.csv, row 2: no '评论' among"):
        prepare_data.main()
    REVIEWS.rename(columns={"text": "评论", "label": "类别"}).assign(类别="").to_csv("tnews/dev.csv", index=False)
    with pytest.raises(SystemExit, match=r"dev\.csv, row 2: no 类别: give the row one"):
        prepare_data.main()
    Path("tnews/dev.csv").unlink()
    assert len(load_data()["train"]) == 54


def test_whole_numbers_are_labels_as_excel_shows_them(tnews):
    REVIEWS.assign(label=REVIEWS["stars"].astype(float)).to_excel(tnews / "train.xlsx", index=False)
    prepare_data.main()
    assert load_labels() == {0: "1", 1: "5"}


def test_two_files_for_one_split_are_named(tnews):
    REVIEWS.to_csv(tnews / "train.csv", index=False)
    REVIEWS.to_excel(tnews / "train.xlsx", index=False)
    with pytest.raises(SystemExit, match=r"tnews/train\.csv and tnews/train\.xlsx: two files for one thing: keep one"):
        prepare_data.main()
    assert not Path("data").exists()


def test_a_column_of_texts_is_no_column_of_labels(tnews, monkeypatch):
    REVIEWS.to_csv(tnews / "train.csv", index=False)
    monkeypatch.setattr(prepare_data, "LABEL_COLUMN", "text")
    with pytest.raises(SystemExit, match=r"tnews/train\.csv: 60 labels in 60 rows, .* in LABEL_COLUMN"):
        prepare_data.main()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", "text,text,label\n很好,便宜,好评\n", "two columns are called 'text'"),
        ("train.csv", "text,label,Text\n很好,好评,便宜\n", "two columns are called 'text'"),
        ("train.csv", "text,label\n很好,便宜,好评\n", "row 2: more cells than the header"),
        ("train.csv", "text;label\n很好;好评\n", "';' stands between its cells: save it with commas"),
        (
            "train.csv",
            'text,label\n"很好,好评\n"很差,差评\n',
            "line 3: not CSV (',' expected after '\"'): close its quotes",
        ),
        ("train.csv", "text,label\n很好,好评\n一般\n", "row 3: no label: give the row one"),
        ("train.csv", "text,label\n很好,好评\n差,很差,差评\n", "row 3: more cells than the header"),
        ("train.csv", 'text,label\n很好,好评\n"差,差评\n', "close its quotes"),
        ("train.csv", "text,label\n很好,好评\n差,\n", "row 3: no label"),
        ("train.csv", "", "has no rows"),
        ("train.csv", "text,label\n", "has no rows"),
        ("train.csv", "text,label\n很好很好很好,好评\n".encode() + b"\xe5,\xff\n", "line 3: not UTF-8"),
        (
            "train.csv",
            "text,label\n很好,好评\n很差,差评\n".encode("gb18030") + b"\xff,\xff\n",
            "line 4: neither UTF-8 nor GB18030",
        ),
        ("train.csv", "text,label\n很好,好\x01评\n", r"'label' holds '好\x01评', which cannot be written"),
        ("train.txt", "1_!_101_!_news_!_今天_!_\n今天\n", "line 2: 1 fields where the first line has 5"),
        ("train.txt", "今天\n", "line 1: no 'label'"),
        (
            "train.txt",
            "".join(f"好评\t第{n}次买\n" for n in range(60)),
            "such as '第0次买': write sentence, tab, label",
        ),
        ("train.xlsx", "text,label\n很好,好评\n", "is no readable Excel file"),
        ("train.jsonl", '{"text": "很好", "label": "好评"}\n{"text": "差"}\n', "line 2: no 'label'"),
        ("train.jsonl", '{"text": "很好", "label": null}\n', "'label' is not text"),
        ("train.csv", "text,label\n很好,好评\n", "one class alone"),
        ("train.csv", "text,label\n,好评\n ,差评\n", "its rows have labels and no text: give them some"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tnews, name, content, message):
    content = content if isinstance(content, bytes) else content.encode()
    (tnews / name).write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        prepare_data.main()
    assert str(stop.value.code).startswith(f"tnews/{name}") and message in stop.value.code
    assert (tnews / name).read_bytes() == content and not Path("data").exists()


def test_a_quote_that_begins_a_headline_takes_no_other_row_with_it(tnews, capsys):
    quotes = ['"', "", "", '"']
    lines = [f"{quotes[n % 4]}第{n}次买{quotes[n % 3]}\t{'好评' if n % 2 else '差评'}\n" for n in range(60)]
    (tnews / "train.tsv").write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")
    prepare_data.main()
    assert sum(map(len, load_data().values())) == 60
    assert "train.tsv: its quotes do not stand around cells: read as a part of the texts." in capsys.readouterr().out


def test_a_cell_beside_the_columns_of_a_sheet_is_named(tnews):
    REVIEWS[["text", "label"]].to_excel(tnews / "train.xlsx", index=False)
    book = openpyxl.load_workbook(tnews / "train.xlsx")
    book.active["E7"] = "another"
    book.save(tnews / "train.xlsx")
    with pytest.raises(SystemExit, match=r"train\.xlsx, row 7: more cells than the header: name its column in row 1"):
        prepare_data.main()


def test_a_sheet_that_is_cut_is_told(tnews):
    REVIEWS.to_excel(tnews / "whole.xlsx", index=False)
    with zipfile.ZipFile(tnews / "whole.xlsx") as whole, zipfile.ZipFile(tnews / "train.xlsx", "w") as cut:
        for name in whole.namelist():
            content = whole.read(name)
            cut.writestr(name, content[: len(content) // 2] if "sheet1" in name else content)
    with pytest.raises(SystemExit, match=r"train\.xlsx is no readable Excel file \(.*\): save it as \.xlsx again"):
        prepare_data.main()


def test_labels_of_a_table_can_be_described(tnews):
    REVIEWS.to_csv(tnews / "train.csv", index=False)
    rows = [{"label": "差评", "label_desc": "bad"}, {"label": "好评", "label_desc": "good"}]
    (tnews / "labels.json").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    prepare_data.main()
    assert load_descriptions() == {"差评": "bad", "好评": "good"}


def test_what_the_report_names_is_found_in_the_table(tnews):
    """The rows as a spreadsheet counts them, the texts as they are written there."""
    REVIEWS.to_excel(tnews / "train.xlsx", index=False)
    prepare_data.main()
    for part in load_data().values():
        for row, written in part.to_pandas()[["row", "written"]].values:
            assert REVIEWS["text"][row - 2] == written


def test_blanks_are_no_labels_and_what_is_not_read_is_named(tnews, capsys):
    with_spaces = REVIEWS.assign(label=[label + " " * (number % 3) for number, label in enumerate(REVIEWS["label"])])
    with_spaces.loc[5, "text"] = ""
    with_spaces.to_csv(tnews / "train.csv", index=False)
    REVIEWS.to_csv(tnews / "validation.csv", index=False)
    prepare_data.main()
    printed = capsys.readouterr().out
    assert load_labels() == {0: "好评", 1: "差评"}
    assert "tnews/train.csv: rows with a label and no text are left out, 1 of 60: 7.\n" in printed
    assert sum(map(len, load_data().values())) == 59
    assert "tnews/validation.csv is not read: files are called train, dev, test, test1.0 or labels" in printed
