"""Character normalisation: HanLP's CharTable, or general rules that come close to it.

HanLP's `CharTable.convert` maps single UTF-16 characters: Traditional to Simplified, full to half width, upper to lower
case, every kind of space to a space, and some punctuation. HanLP is asked once for the whole table, which is applied
with `str.translate` from then on.

HanLP: https://github.com/hankcs/HanLP (Apache-2.0).   OpenCC: https://github.com/BYVoid/OpenCC (Apache-2.0).
"""

import unicodedata

import sentencepiece
from opencc import OpenCC
from sentencepiece.sentencepiece_model_pb2 import NormalizerSpec  # type: ignore[attr-defined]  # made at import
from tokenizers import normalizers

from bert_to_bilstm.text.hanlp import CHARACTERS, ask_char_table

# What HanLP does to punctuation, which neither Unicode nor OpenCC asks for.
PUNCTUATION = {
    **dict.fromkeys("“”「」", '"'),
    "『": "‘",
    "』": "’",
    "、": ",",
    **dict.fromkeys("【[«〈〔{", "《"),
    **dict.fromkeys("】]»〉〕}", "》"),
    **dict(zip("①②③④⑤⑥⑦⑧⑨⑩", "一二三四五六七八九十", strict=True)),
}


class CharTable:
    """Character → normalised character, one for one, so that a text keeps its length.

    `source` says where `table` comes from, "HanLP" or "built-in"; characters that are not in `table` stay as they are.
    """

    def __init__(self, source: str, table: dict[str, str]) -> None:
        self.source = source
        self.table = table
        self._translation = str.maketrans(table)

    def convert(self, text: str) -> str:
        """`text` with every character replaced once, as HanLP's `CharTable.convert` does."""
        return text.translate(self._translation)

    def fixed_point(self) -> dict[str, str]:
        """The table applied until nothing changes: normalising an already normalised text leaves it as it is.

        HanLP's table is not at rest after one application for 23 characters (働 → 動, and 動 → 动). A chain that runs
        in a circle ends at the circle's smallest character.
        """
        result = {}
        for character in self.table:
            chain = [character]
            while (following := self.table.get(chain[-1], chain[-1])) not in chain:
                chain.append(following)
            result[character] = min(chain[chain.index(following) :])
        return {old: new for old, new in result.items() if old != new}

    def normalizer(self) -> normalizers.Normalizer:
        """The fixed point as a `tokenizers` normaliser: one look-up a character, however large the table.

        sentencepiece compiles the table into the character map that `tokenizers.normalizers.Precompiled` takes.
        """
        sentencepiece.set_min_log_level(1)  # its notes on loading a table are for its developers
        rules = sentencepiece.SentencePieceNormalizer(norm_map=sorted(self.fixed_point().items()))
        spec = NormalizerSpec.FromString(rules.serialized_normalizer_spec())
        return normalizers.Precompiled(spec.precompiled_charsmap)


def builtin_table() -> CharTable:
    """A table by general rules: OpenCC's t2s, Unicode NFKC, lower case, PUNCTUATION.

    A rule whose result is not one character of the basic plane leaves the character as it is.
    """

    def one(new: str, old: str) -> str:
        return new if len(new) == 1 and new < "\U00010000" else old

    traditional_to_simplified = OpenCC("t2s")
    table = {}
    for character in CHARACTERS:
        if character.isspace():
            normalised = " "
        else:
            normalised = one(unicodedata.normalize("NFKC", character), character)
            normalised = one(traditional_to_simplified.convert(normalised), normalised)
            normalised = one(normalised.lower(), normalised)
        normalised = PUNCTUATION.get(character, PUNCTUATION.get(normalised, normalised))
        if normalised != character:
            table[character] = normalised
    return CharTable("built-in", table)


def hanlp_table() -> CharTable:
    """HanLP's own table. Raises HanLPUnavailable where HanLP cannot be asked."""
    return CharTable("HanLP", ask_char_table())
