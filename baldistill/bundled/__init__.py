"""The embedded corpus, teacher and student: a real distillation with no network and no GPU."""

from baldistill.bundled.corpus import make_corpus
from baldistill.bundled.domains import DOMAINS, check, make_example, solve
from baldistill.bundled.paths import model_dir
from baldistill.bundled.questions import Example

__all__ = ["DOMAINS", "Example", "check", "make_corpus", "make_example", "model_dir", "solve"]
