"""Tables that people open: no cell runs, and everything else is as it was."""

import pandas

from bert_to_bilstm.outputs.spreadsheet import write_table


def test_no_cell_begins_as_a_formula(tmp_path):
    texts = ["=1+1", "+1+1", "-1", "@SUM(A1)", "\tx", "＝1", "＋1", "\nx", "球队-5:3", "'"]
    table = pandas.DataFrame({"sentence": texts, "change": [-0.5] * len(texts)}, index=range(1, len(texts) + 1))
    write_table(tmp_path / "errors.csv", table.rename_axis("row"))
    read = pandas.read_csv(tmp_path / "errors.csv", encoding="utf-8-sig", index_col="row")
    assert read["sentence"].tolist() == [
        "'=1+1",
        "'+1+1",
        "-1",
        "'@SUM(A1)",
        "'\tx",
        "'＝1",
        "'＋1",
        "'\nx",
        "球队-5:3",
        "'",
    ]
    assert (read["change"] == -0.5).all()
    assert (tmp_path / "errors.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # for Excel
