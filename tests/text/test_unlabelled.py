"""Files of sentences without labels: what is read of each form, what is refused, and how much memory it takes."""

import gzip
import tracemalloc
from pathlib import Path

import pandas
import pytest

from bert_to_bilstm.text.unlabelled import LONGEST_LINE, read_unlabelled

TWO = ["今天,好", "明天"]
FORMS = {
    "more.txt": "今天,好\r\n\n  明天\n",
    "[组图]more": "今天,好\n明天",
    "more.jsonl": '{"id": 1, "sentence": "今天,好"}\n\n{"text": "明天", "label": null}\n',
    "lines.txt": '{"text": "今天,好"}\n{"text": "明天"}\n',  # JSON lines by any name
    "more.csv": '\ufefflabel,Text\r\n1,"今天,好"\r\n\r\n0,明天\r\n2,\r\n',
    "more.tsv": "sentence\tlabel\n今天,好\t1\n明天\t0\n",
    "more.json": '[\n{"text": "今天,好"},\n{"text": "明天"}\n]\n',
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_the_sentences_of_each_form_are_read(scratch, name, packed):
    if packed:
        Path(f"{name}.gz").write_bytes(gzip.compress(FORMS[name].encode()))
        assert list(read_unlabelled(f"{name}.gz")) == TWO
    else:
        Path(name).write_text(FORMS[name], encoding="utf-8", newline="")
        assert list(read_unlabelled(Path(name))) == TWO


def test_what_excel_and_windows_write_is_read(scratch):
    pandas.DataFrame({"id": [1, 2], "text": TWO}).to_excel("more.xlsx", index=False)
    Path("more.txt").write_text("今天,好\n明天", encoding="gb18030")
    Path("more.csv").write_text('text\n"今天,好"\n明天\n', encoding="utf-16")
    assert all(list(read_unlabelled(name)) == TWO for name in ("more.xlsx", "more.txt", "more.csv"))


def test_a_cell_of_a_table_may_hold_quotes_and_line_breaks(scratch):
    Path("more.csv").write_text('text,label\n"他说""好""\n走了",1\n', encoding="utf-8")
    Path("more.tsv").write_text('text\tlabel\n"他说\t1\n好"走了\t0\n', encoding="utf-8")
    assert list(read_unlabelled("more.csv")) == ['他说"好"\n走了']
    assert list(read_unlabelled("more.tsv")) == ['"他说', '好"走了']


def test_sentences_that_only_look_a_little_like_records_are_read(scratch):
    lines = ["[组图]今天下雪", "{笑话}明天", "a, b, and c", "第一\t第二", "今天 天气", "《书》: 好"]
    Path("more.txt").write_text("\n".join(lines), encoding="utf-8")
    assert list(read_unlabelled("more.txt")) == lines


REFUSED = {
    "records of Toutiao": (
        "a.txt",
        "655_!_101_!_news_culture_!_京城最值得你来场\n",
        "a.txt, line 1: looks like a record",
    ),
    "label behind a tab": ("a.txt", "第一行\n今天\t1\n明天\t0\n", "a.txt, line 2: looks like a record, not like a sen"),
    "labels of fastText": ("a.txt", "__label__1 今天\n", "looks like a record"),
    "JSON arrays": ("a.txt", '["今天", 1]\n', "looks like a record, not like a sentence ('[\"今天\", 1]'): write one"),
    "a table without its suffix": (
        "a.txt",
        "id,text\n1,今天\n",
        "name the column sentence or text and the file .jsonl",
    ),
    "other columns": ("a.csv", "title,label\n今天,1\n", "a.csv, row 2: no 'sentence' or 'text' among 'title', 'label'"),
    "semicolons": ("a.csv", "text;label\n今天;1\n", "a.csv: ';' stands between its cells"),
    "a row that is too long": ("a.csv", "text,label\n今天,好,1\n", "a.csv, row 2: more cells than the header"),
    "a quote that is not closed": ("a.csv", 'text,label\n"今天,1\n明天,0\n', "a.csv, line 3: not CSV (unexpected end"),
    "other fields": (
        "a.jsonl",
        '{"text": "好"}\n{"title": "今天"}\n',
        "a.jsonl, line 2: no 'sentence' or 'text' among 'title'",
    ),
    "half a JSON line": ("a.jsonl", '{"text": "好"}\n{"text": "今', "a.jsonl, line 2: not JSON"),
    "a number": ("a.jsonl", '{"text": 5}\n', "a.jsonl, line 1: no text but 5"),
    "nothing": ("a.txt", "", "a.txt in UNLABELLED holds no sentence"),
    "a header alone": ("a.csv", "text\n", "a.csv has no rows"),
    "a pointer": ("a.txt", "version https://git-lfs.github.com/spec/v1\n", "a.txt is a pointer of git-lfs"),
    "no line ends": ("a.txt", "今" * (LONGEST_LINE + 1), "a.txt, line 1: longer than 1,000,000 characters"),
    "no archive": ("a.txt.gz", "今天", "a.txt.gz in UNLABELLED cannot be read (Not a gzipped file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_no_sentences_stops_with_one_that_says_so(scratch, case):
    name, content, message = REFUSED[case]
    Path(name).write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        list(read_unlabelled(name))
    assert message in stop.value.code and "\n" not in stop.value.code and stop.value.code.endswith(".")


def test_a_packed_file_that_is_cut_is_told(scratch):
    Path("a.gz").write_bytes(gzip.compress("今天\n".encode() * 1000)[:-20])
    with pytest.raises(SystemExit, match="in UNLABELLED cannot be read"):
        list(read_unlabelled("a.gz"))


def test_a_tilde_is_the_users_home(scratch, monkeypatch):
    monkeypatch.setenv("HOME", str(scratch))
    Path("a.txt").write_text("今天", encoding="utf-8")
    assert list(read_unlabelled("~/a.txt")) == ["今天"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl.gz", "a.csv"])
def test_memory_does_not_grow_with_the_file(scratch, name):
    line = {"a.txt": "今天的标题\n", "a.jsonl.gz": '{"text": "今天的标题"}\n', "a.csv": "今天的标题\n"}[name]
    content = ("text\n" if name == "a.csv" else "").encode() + line.encode() * 100_000
    Path(name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    tracemalloc.start()
    assert sum(1 for _ in read_unlabelled(name)) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # bytes; the text is longer
