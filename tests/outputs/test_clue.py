"""What CLUE's server would refuse is refused here, with the line that is wrong; and the zip that is uploaded."""

import json
import zipfile

import pytest

from bert_to_bilstm.outputs.clue import check_predictions, write_submission

LABELS = ["100", "103", "109"]
GOOD = [{"id": 0, "label": "100"}, {"id": 1, "label": "109"}, {"id": 2, "label": "100"}]


def check(rows: list, ids: list | None = None) -> None:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    check_predictions("tnews_predict.json", text, [0, 1, 2] if ids is None else ids, LABELS)


def test_what_clue_takes_passes():
    check(GOOD)
    check([row | {"label_desc": "news_story"} for row in GOOD])  # as CLUE's baseline writes it
    check([{"id": "a", "label": "103"}], ids=["a"])
    check_predictions("no newline at the end", "\n".join(map(json.dumps, GOOD)), [0, 1, 2], LABELS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(GOOD[:2], "2 predictions for 3 rows, id 2 is missing", id="too few"),
        pytest.param([], "0 predictions for 3 rows, id 0 is missing", id="none"),
        pytest.param([*GOOD, {"id": 3, "label": "100"}], "line 4: id 3 is not in the test set", id="too many"),
        pytest.param(
            [GOOD[0], {"id": 7, "label": "100"}, GOOD[2]], "line 2: id 7 is not in the test set", id="other id"
        ),
        pytest.param([GOOD[0], {"id": "1", "label": "100"}, GOOD[2]], 'line 2: id "1" is not in', id="id as text"),
        pytest.param([GOOD[0], {"id": True, "label": "100"}, GOOD[2]], "line 2: id true is not in", id="id true"),
        pytest.param([GOOD[0], GOOD[1], GOOD[1]], "line 3: id 1 stands in line 2 already", id="repeated"),
        pytest.param([GOOD[0], GOOD[2], GOOD[1]], "line 2: id 2 is out of order", id="out of order"),
        pytest.param(
            [GOOD[0], {"id": 1, "label": "news_tech"}, GOOD[2]], "line 2: label 'news_tech'", id="description"
        ),
        pytest.param([GOOD[0], {"id": 1, "label": 109}, GOOD[2]], "line 2: label 109 is not one", id="label as number"),
        pytest.param([GOOD[0], {"id": 1, "label": None}, GOOD[2]], "line 2: label None is not one", id="label null"),
        pytest.param([GOOD[0], {"id": 1}, GOOD[2]], "line 2: no field 'label'", id="no label"),
        pytest.param([GOOD[0], {"label": "100"}, GOOD[2]], "line 2: no field 'id'", id="no id"),
        pytest.param([GOOD[0], "", GOOD[1], GOOD[2]], "line 2: not one JSON object", id="blank line"),
        pytest.param([json.dumps(GOOD)], "line 1: not one JSON object", id="one array"),
        pytest.param([GOOD[0], json.dumps(GOOD[1]) + json.dumps(GOOD[2])], "line 2: not one JSON", id="two in a line"),
        pytest.param(
            [*json.dumps(GOOD[0], indent=1).split("\n")], "line 1: not one JSON object", id="over several lines"
        ),
    ],
)
def test_what_clue_refuses_is_refused(rows, message):
    with pytest.raises(SystemExit) as stop:
        check(rows)
    assert stop.value.code.startswith("tnews_predict.json")
    assert message in stop.value.code


def test_a_test_set_that_repeats_an_id_is_refused():
    with pytest.raises(SystemExit, match="the test set gives one id to several rows"):
        check(GOOD, ids=[0, 1, 2, 2])


def test_the_zip_holds_the_files_and_has_the_same_bytes_every_time(tmp_path):
    files = {"tnews_predict.json": json.dumps(GOOD[0]) + "\n", "tnews10_predict.json": "体育\n"}
    for name in ("a.zip", "b.zip"):
        write_submission(tmp_path / name, files)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]
