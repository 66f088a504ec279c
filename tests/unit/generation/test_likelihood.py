"""The likelihood of a text: the model's own, and the same in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baldistill.errors import UserError
from baldistill.generation.encoding import context_token
from baldistill.generation.likelihood import TextLikelihood
from baldistill.generation.loading import load_pretrained
from baldistill.generation.types import ModelRef

TEXTS = ["What is 29 plus 74?", "It is May.", "plus What 74 is ? 29", "It is May. " * 400]


def test_a_text_is_as_likely_as_the_model_says_whatever_stands_beside_it() -> None:
    score = TextLikelihood("bundled")
    score.check()
    lengths, likely = score(TEXTS)
    for index, text in enumerate(TEXTS):
        alone = score([text])
        assert (alone[0][0], alone[1][0]) == (lengths[index], likely[index])
    assert lengths[3] <= 512
    tokenizer, model = load_pretrained(ModelRef("bundled-student").resolve(), torch.float32)
    ids = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(torch.tensor([[context_token(tokenizer), *ids[:-1]]])).logits[0]
    own = torch.log_softmax(logits, -1)[torch.arange(len(ids)), torch.tensor(ids)].sum()
    np.testing.assert_allclose(likely[0], float(own), rtol=1e-4)


def test_a_model_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(UserError, match="cannot load the model"):
        TextLikelihood("no/such-model-here").check()
