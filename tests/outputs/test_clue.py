"""What CLUE's server would refuse is refused here, with the line that is wrong; and the zip that is uploaded."""

import zipfile

import pytest

from bert_to_bilstm.outputs.clue import check_predictions, write_submission

GOOD = [{"id": 0, "label": "100"}, {"id": 1, "label": "109"}, {"id": 2, "label": "100"}]


def check(rows: list[dict], ids: list) -> None:
    check_predictions("tnews11_predict.json", rows, ids, ["100", "103", "109"])


def test_what_clue_takes_passes():
    check(GOOD, [0, 1, 2])
    check([{"id": "a", "label": "103"}], ["a"])


@pytest.mark.parametrize(
    ("rows", "ids", "message"),
    [
        ([GOOD[0], GOOD[0]], [0, 0], "line 2: id 0 stands in line 1 already"),
        ([GOOD[0], GOOD[2], GOOD[1]], [0, 1, 2], "line 2: id 2 is out of order"),
        ([GOOD[0], {"id": 1, "label": "news_tech"}], [0, 1], "line 2: label 'news_tech' is not one of the labels"),
    ],
)
def test_what_clue_refuses_is_refused(rows, ids, message):
    with pytest.raises(SystemExit) as stop:
        check(rows, ids)
    assert stop.value.code.startswith(f"tnews11_predict.json, {message}")


def test_the_zip_holds_the_files_and_has_the_same_bytes_every_time(tmp_path):
    files = {"tnews11_predict.json": '{"id": 0, "label": "100"}\n', "tnews10_predict.json": "体育\n"}
    for name in ("a.zip", "b.zip"):
        write_submission(tmp_path / name, files)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]
