"""How directories are replaced: whole or not at all, and never with a file in them that is not ours."""

from pathlib import Path

import pytest

from bert_to_bilstm.files import new_directory, remove_files

OURS = ["table.csv", "part-*/rows.txt"]


def write(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("old", encoding="utf-8")


def files(directory: str) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in Path(directory).rglob("*") if not path.is_dir()}


def replace(directory: str) -> None:
    with new_directory(Path(directory), OURS) as target:
        (target / "new.txt").write_text("new", encoding="utf-8")


def test_a_directory_of_ours_is_replaced(scratch):
    # the last one was left by a run that was killed
    write("out/table.csv", "out/part-1/rows.txt", "out/part-22/rows.txt", "out/new.txt", "out/.part-3.tmp/rows")
    replace("out")
    assert files(".") == {"out/new.txt"}
    assert Path("out/new.txt").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("mine", ["mine.txt", ".hidden", "part-1/mine.txt", "part-1/deep/rows.txt", "deep/table.csv"])
def test_a_file_of_the_users_stops_it(scratch, mine):
    write("out/table.csv", f"out/{mine}")
    with pytest.raises(SystemExit, match=rf"out/{mine} is none of the files that are to be replaced there: move it"):
        replace("out")
    assert files(".") == {"out/table.csv", f"out/{mine}"}


def test_a_file_of_the_users_behind_a_link_stops_it(scratch):
    write("elsewhere/mine.txt", "elsewhere/more.txt")
    Path("out").symlink_to("elsewhere")
    with pytest.raises(SystemExit, match=r"mine.txt \(and 1 more\) is none of the files"):
        replace("out")
    write("real/table.csv", "mine/rows.txt")
    Path("real/part-1").symlink_to("../mine")
    with pytest.raises(SystemExit, match="part-1 is none of the files"):
        replace("real")
    assert files("mine") == {"rows.txt"}


def test_what_a_run_that_was_killed_moved_aside_is_not_lost(scratch):
    write(".out.old/table.csv")  # between the two renames
    with pytest.raises(RuntimeError), new_directory(Path("out"), OURS):
        raise RuntimeError("no disk")
    assert files(".") == {"out/table.csv"}
    write(".out.old/mine.txt")
    with pytest.raises(SystemExit, match=r"\.out\.old/mine\.txt is none of the files"):
        replace("out")
    assert files(".") == {"out/table.csv", ".out.old/mine.txt"}


def test_only_what_is_ours_is_removed(scratch):
    write("out/table.csv", "out/part-1/rows.txt", "out/part-2/rows.txt", "out/part-2/mine.txt", "elsewhere/rows.txt")
    Path("out/part-3").symlink_to("../elsewhere")
    remove_files(Path("out"), OURS)
    assert files(".") == {"out/part-2/mine.txt", "elsewhere/rows.txt"} and Path("out/part-3").is_symlink()
    Path("link").symlink_to("elsewhere")
    remove_files(Path("link"), ["rows.txt"])
    assert files("elsewhere") == set() and Path("link").is_symlink()
