"""The byte-level BPE tokenizer that bundled teacher and student share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE: Final = 512
NUM_WORDS: Final = 208
"""Pieces that are whole words, found without merges; the others are bytes and their merges."""
BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"


def _frequent_words(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Return the words that save the most pieces when each is one piece."""
    splitter = tokenizer.pre_tokenizer
    assert splitter is not None
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    savings = {
        word: count * (len(tokenizer.model.tokenize(word)) - 1) for word, count in counts.items()
    }
    best = sorted(savings, key=lambda word: (-savings[word], word))
    return [word for word in best if savings[word]][:NUM_WORDS]


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Learn the pieces of the corpus's language.

    Any text can be encoded and is decoded to itself. Each digit is a piece of its own, and so is
    each newline: text before and after a newline is encoded independently. Nothing is added to a
    text when it is encoded, neither bos nor eos.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - NUM_WORDS,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    vocabulary: dict[str, int] = learned["vocab"]
    for word in _frequent_words(tokenizer, texts):
        vocabulary[word] = len(vocabulary)
    merges = [(left, right) for left, right in learned["merges"]]
    tokenizer.model = models.BPE(vocabulary, merges, ignore_merges=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
