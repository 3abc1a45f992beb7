"""The student's vocabulary and tokenizer."""

import string
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from bert_to_bilstm.text.char_table import CharTable

MINIMUM_COUNT = 3  # a token must be seen so often in train to enter the vocabulary (the article's "more than twice")
LONGEST_WORD = 100  # characters
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def make_vocabulary(sentences: Iterable[str]) -> list[str]:
    """BERT's own pre-tokens seen at least MINIMUM_COUNT times, most frequent first, ties by code point.

    Before them the special tokens; among the last, every letter and digit alone and as a `##` piece, so that WordPiece
    can spell any Latin word and any number.
    """
    normalizer, pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(token for token, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(sentence)))
    frequent = sorted((token for token in counts if counts[token] >= MINIMUM_COUNT), key=lambda t: (-counts[t], t))
    single = string.ascii_lowercase + string.digits
    return list(dict.fromkeys([*SPECIAL_TOKENS.values(), *frequent, *single, *("##" + letter for letter in single)]))


def make_tokenizer(vocabulary: list[str], table: CharTable) -> PreTrainedTokenizerFast:
    """BERT's tokenization over `vocabulary` with the character table inside; adds no special tokens.

    Longer words than LONGEST_WORD come in parts: WordPiece takes the third power of their length.
    """
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
    tokenizer.normalizer = normalizers.Sequence([table.normalizer(), normalizers.BertNormalizer()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.FixedLength(LONGEST_WORD)]
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **SPECIAL_TOKENS
    )
