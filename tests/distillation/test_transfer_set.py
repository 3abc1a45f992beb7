"""The transfer set: what is taken from the user's files, and what the user is told of it."""

from bert_to_bilstm.distillation.transfer_set import gather_transfer_set
from bert_to_bilstm.text.dataset import load_data


def test_the_first_sentence_taken_from_a_file_is_shown(finished, tmp_path, capsys):
    known = load_data()["train"]["sentence"][0]
    more, old = tmp_path / "more.txt", tmp_path / "old.jsonl"
    more.write_text(f"{known}\n發現新的標題\n发现新的标题\n", encoding="utf-8")
    old.write_text(f'{{"sentence": "{known}"}}\n', encoding="utf-8")
    rows = list(gather_transfer_set(load_data(), [more, str(old)], 0, {}, 1))
    assert [row["sentence"] for row in rows if row["source"] == "unlabelled"] == ["发现新的标题"]
    assert capsys.readouterr().out.splitlines() == [
        f"{more}: the first sentence taken is '发现新的标题'.",
        f"{old}: no sentence taken, all of them stand in train or dev or came before.",
    ]
