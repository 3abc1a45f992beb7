"""The character table: HanLP's own, read through pyhanlp, and the built-in one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bert_to_bilstm.text.char_table import CharTable, builtin_table, hanlp_table
from bert_to_bilstm.text.hanlp import HanLPUnavailable, ask_words

# The classes that pyhanlp looks up when it is imported, and CharTable with HanLP's three signatures.
STUB_CLASSES = {
    "com.hankcs.hanlp.HanLP": """public class HanLP {
        public static class Config {}
        public static class Term { public String word; public Object nature; }
        public static java.util.List<Term> segment(String text) {
            java.util.List<Term> terms = new java.util.ArrayList<>();
            for (String word : text.split("(?<= )|(?= )")) {
                Term term = new Term();
                term.word = word;
                term.nature = word.equals(" ") ? "w" : "n";
                terms.add(term);
            }
            return terms;
        }
    }""",
    "com.hankcs.hanlp.model.perceptron.PerceptronLexicalAnalyzer": "public class PerceptronLexicalAnalyzer {}",
    "com.hankcs.hanlp.seg.Other.DoubleArrayTrieSegment": "public class DoubleArrayTrieSegment {}",
    "com.hankcs.hanlp.collection.AhoCorasick.AhoCorasickDoubleArrayTrie": "public class AhoCorasickDoubleArrayTrie {}",
    "com.hankcs.hanlp.corpus.io.IOUtil": "public class IOUtil {}",
    "com.hankcs.hanlp.dictionary.other.CharTable": """public class CharTable {
        public static char convert(char c) {
            return c == '\\u50cd' ? '\\u52d5' : c == '\\u52d5' ? '\\u52a8' : Character.toLowerCase(c);
        }
        public static char[] convert(char[] characters) { return convert(new String(characters)).toCharArray(); }
        public static String convert(String text) {
            StringBuilder result = new StringBuilder();
            for (char c : text.toCharArray()) result.append(convert(c));
            return result.toString();
        }
    }""",
}


@pytest.fixture
def java_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A HanLP of a few lines, compiled into a jar that pyhanlp finds."""
    if shutil.which("javac") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs javac for the test of pyhanlp")
        pytest.skip("no javac on this machine")
    sources = []
    for name, code in STUB_CLASSES.items():
        package, _, class_name = name.rpartition(".")
        sources.append(tmp_path / f"{class_name}.java")
        sources[-1].write_text(f"package {package};\n{code}\n", encoding="utf-8")
    subprocess.run(["javac", "-d", tmp_path / "classes", *sources], check=True)
    jar = tmp_path / "hanlp-stub.jar"
    subprocess.run(["jar", "cf", jar, "-C", tmp_path / "classes", "."], check=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "hanlp.properties").touch()
    monkeypatch.setenv("HANLP_JAR_PATH", str(jar))
    monkeypatch.setenv("HANLP_STATIC_ROOT", str(tmp_path))
    return tmp_path


def test_hanlps_table_is_read_through_pyhanlp(java_stub):
    table = hanlp_table(timeout=120)
    assert table.source == "HanLP"
    assert table.convert("働く NBA") == "動く nba"  # one application: 働 → 動
    assert table.fixed_point()["働"] == "动"  # and 動 → 动


def test_words_and_parts_of_speech_are_read_through_pyhanlp(java_stub):
    assert ask_words(["球队 赢", '"'], timeout=120) == [[("球队", "n"), (" ", "w"), ("赢", "n")], [('"', "n")]]


def test_missing_hanlp_is_told_in_one_line():
    with pytest.raises(HanLPUnavailable, match=r"/missing/hanlp\.jar") as reason:
        hanlp_table(timeout=120)
    assert "\n" not in str(reason.value)


def test_slow_hanlp_is_stopped():
    with pytest.raises(HanLPUnavailable, match="no answer within 0 s"):
        hanlp_table(timeout=0.01)


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        ("發現Ａ股大漲", "发现a股大涨"),  # Traditional, full width, upper case
        ("“双11”、「NBA」", '"双11","nba"'),
        ("【图】[赞]«书»", "《图》《赞》《书》"),
        ("①个\u3000②\t③", "一个 二 三"),
        ("皇后在干什么", "皇后在干什么"),  # Simplified text stays
    ],
)
def test_builtin_table(raw, normalised):
    assert builtin_table().convert(raw) == normalised


def test_builtin_table_keeps_the_length_of_a_text():
    assert {len(new) for new in builtin_table().table.values()} == {1}


def test_normalizer_is_the_fixed_point():
    table = CharTable("test", {"働": "動", "動": "动", "A": "a", "甲": "乙", "乙": "甲"})
    assert table.normalizer().normalize_str("働動动A甲乙丙 ") == "动动动a乙乙丙 "


def test_normalizer_knows_every_character_of_the_builtin_table():
    table = builtin_table()
    fixed_point, normalizer = table.fixed_point(), table.normalizer()
    assert [c for c in table.table if normalizer.normalize_str(c) != fixed_point.get(c, c)] == []
