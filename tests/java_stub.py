"""A HanLP of a few lines, for tests of what is asked of it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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
