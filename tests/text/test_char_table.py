"""The character table: HanLP's own, read through pyhanlp, and the built-in one."""

import pytest

from bert_to_bilstm.text import hanlp
from bert_to_bilstm.text.char_table import CharTable, builtin_table, hanlp_table
from bert_to_bilstm.text.hanlp import HanLPUnavailable, ask_words


def test_hanlps_table_is_read_through_pyhanlp(java_stub):
    table = hanlp_table()
    assert table.source == "HanLP"
    assert table.convert("働く NBA") == "動く nba"  # one application: 働 → 動
    assert table.fixed_point()["働"] == "动"  # and 動 → 动


def test_words_and_parts_of_speech_are_read_through_pyhanlp(java_stub):
    assert ask_words(
        ["球队 赢", '"'],
    ) == [[("球队", "n"), (" ", "w"), ("赢", "n")], [('"', "n")]]


def test_missing_hanlp_is_told_in_one_line():
    with pytest.raises(HanLPUnavailable, match=r"/missing/hanlp\.jar") as reason:
        hanlp_table()
    assert "\n" not in str(reason.value)


def test_slow_hanlp_is_stopped(monkeypatch):
    monkeypatch.setattr(hanlp, "TIMEOUT", 0.01)
    with pytest.raises(HanLPUnavailable, match="no answer within 0 s"):
        hanlp_table()


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
