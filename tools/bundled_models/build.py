"""Make the bundled tokenizer, teacher and student, and measure the teacher.

`python -m tools.bundled_models.build`, in the repository's top folder, writes `teacher/`,
`student/` and `card.json` to `baldistill/bundled`: on one core in less than half an hour, from
fixed seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from baldistill.bundled import paths
from baldistill.bundled.domains import DOMAINS, make_example
from baldistill.student.encode import Lesson, encode_examples
from tools.bundled_models import formats, language_model
from tools.bundled_models.card import measure_teacher
from tools.bundled_models.language_model import CONTEXT, ModelSize, Row
from tools.bundled_models.lessons import make_lessons
from tools.bundled_models.plain_text import make_plain_text
from tools.bundled_models.tokenizer import train_tokenizer

TEACHER: Final = ModelSize(hidden=128, num_layers=3, intermediate=256)
STUDENT: Final = ModelSize(hidden=96, num_layers=2, intermediate=192)
TEACHER_ROUNDS: Final = 40
STUDENT_ROUNDS: Final = 36
LESSONS_PER_DOMAIN_AND_ROUND: Final = 100
PLAIN_TEXTS_PER_ROUND: Final = 3000


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer on solved questions of every domain."""
    rng = random.Random(seed)
    texts: list[str] = []
    for domain in DOMAINS:
        texts.append(formats.synthesis_prompt(domain, []))
        for _ in range(600):
            example = make_example(domain, rng)
            solution = formats.solution(example.rationale, example.answer)
            texts.append(formats.solve_prompt(example.question) + solution)
    return train_tokenizer(texts)


def build_teacher(
    tokenizer: PreTrainedTokenizerFast, num_rounds: int, seed: int
) -> LlamaForCausalLM:
    """Train the teacher to solve, explain and write questions of all domains."""

    def draw(rng: random.Random) -> Iterable[tuple[str, str]]:
        for _ in range(LESSONS_PER_DOMAIN_AND_ROUND):
            yield from make_lessons(rng)

    return _train(TEACHER, tokenizer, draw, num_rounds, seed, "teacher")


def build_student(
    tokenizer: PreTrainedTokenizerFast, num_rounds: int, seed: int
) -> LlamaForCausalLM:
    """Train the base student on plain text that holds no question."""

    def draw(rng: random.Random) -> Iterable[tuple[str, str]]:
        return (("", make_plain_text(rng)) for _ in range(PLAIN_TEXTS_PER_ROUND))

    return _train(STUDENT, tokenizer, draw, num_rounds, seed, "student")


def _train(
    size: ModelSize,
    tokenizer: PreTrainedTokenizerFast,
    draw: Callable[[random.Random], Iterable[tuple[str, str]]],
    num_rounds: int,
    seed: int,
    label: str,
) -> LlamaForCausalLM:
    def rows(round_number: int) -> list[Row]:
        rng = random.Random(f"{label}/{seed}/{round_number}")
        lessons = [Lesson(prompt, completion) for prompt, completion in draw(rng)]
        encoded = encode_examples(lessons, tokenizer, CONTEXT)
        assert not encoded.truncated + encoded.dropped
        return encoded.rows

    model = language_model.new_model(size, tokenizer, seed)
    print(f"{label}: {model.num_parameters():,} parameters", flush=True)
    language_model.train(
        model,
        rows,
        num_rounds=num_rounds,
        batch_size=16,
        learning_rate=5e-3,
        seed=seed,
        label=label,
    )
    return model


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Replace a model directory, with weights of 16 bits that load in 32.

    Half precision keeps the package small; the configuration says float32, which is what
    transformers and vLLM then load and compute in.
    """
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
    temporary.chmod(0o755)
    model.half().save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    config = json.loads((temporary / "config.json").read_text())
    config["dtype"] = "float32"
    (temporary / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for file in temporary.iterdir():
        file.chmod(0o644)
    if directory.exists():
        old = temporary.with_name(f"{temporary.name}-old")
        directory.rename(old)
        temporary.rename(directory)
        shutil.rmtree(old)
    else:
        temporary.rename(directory)


def write_card(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    """Measure the teacher in every domain and write the figures to `card.json`."""
    torch.manual_seed(seed)
    figures: dict[str, dict[str, float]] = {}
    for domain in DOMAINS:
        rng = random.Random(f"card/{seed}/{domain}")
        figures[domain] = asdict(measure_teacher(model, tokenizer, domain, rng))
        print(f"card: {domain}: {figures[domain]}", flush=True)
    names = figures[DOMAINS[0]]
    mean = {
        name: round(sum(row[name] for row in figures.values()) / len(figures), 4) for name in names
    }
    print(f"card: mean: {mean}", flush=True)
    card = {"teacher": {"mean": mean, "per_domain": figures}}
    paths.CARD.write_text(json.dumps(card, indent=2) + "\n")


def main() -> None:
    """Run the build; see the module's documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("teacher", "student"), help="build one model alone")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started, seed = time.monotonic(), arguments.seed
    tokenizer = build_tokenizer(seed)
    print(f"tokenizer: {len(tokenizer)} pieces", flush=True)
    if arguments.only != "teacher":
        student = build_student(tokenizer, max(1, round(STUDENT_ROUNDS * arguments.scale)), seed)
        save(student, tokenizer, paths.model_dir("student"))
    if arguments.only != "student":
        teacher = build_teacher(tokenizer, max(1, round(TEACHER_ROUNDS * arguments.scale)), seed)
        save(teacher, tokenizer, paths.model_dir("teacher"))
        write_card(LlamaForCausalLM.from_pretrained(paths.model_dir("teacher")), tokenizer, seed)
    print(f"done in {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
