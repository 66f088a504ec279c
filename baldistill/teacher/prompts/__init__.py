"""Prompt templates: YAML files of Jinja texts. Their format is described in `instruct.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from baldistill.core.label_sets import Labels
from baldistill.errors import ConfigError
from baldistill.generation.types import Message, Prompt
from baldistill.records import transcript
from baldistill.yaml12 import NotYamlError, read_yaml

Purpose: TypeAlias = Literal[
    "student", "rationale", "solve", "synthesis", "domain", "predict", "explain"
]

_QUESTION = "31415926"  # digits, which no filter of a template changes
_VARIABLES: dict[Purpose, dict[str, Any]] = {
    "student": {"question": _QUESTION},
    "rationale": {"question": _QUESTION, "answer": "a"},
    "solve": {"question": _QUESTION},
    "synthesis": {"demonstrations": [{"question": _QUESTION, "answer": "a"}]},
    "domain": {"question": _QUESTION, "names": [{"name": "n", "description": "d"}]},
}
_FROM_INSTRUCT: Final[frozenset[Purpose]] = frozenset({"domain"})
"""Entries that a set takes from `instruct` if it has none of its own."""
_FOR_BOTH: Final[dict[Purpose, Purpose]] = {"predict": "student", "explain": "student"}
"""Entries that only `student.target: both` needs, and the entry whose variables they have."""
# What a template can raise: unknown or forbidden names, wrong types, division by zero, bad indices
_FAULTS = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
)


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Templates by purpose: a text, or turns of role and text. Picklable; compiled on use.

    Attributes:
        source: Name or path.
        templates: The texts.
        labels: The labels of the corpus. A template sees those that an answer of the domain may be
            as `labels`; there are none in a domain of another task.
    """

    source: str
    templates: dict[Purpose, str | tuple[tuple[str, str], ...]]
    labels: Labels = field(default_factory=Labels)

    def with_labels(self, labels: Labels) -> PromptSet:
        """Return the same templates for a corpus with these labels."""
        return replace(self, labels=labels)

    def for_target(self, target: str) -> PromptSet:
        """Return the set by which a student of this `student.target` is asked.

        One that learns `both` is asked for the answer alone, wherever it answers.

        Raises:
            ConfigError: The set has no prompts for this target.
        """
        if target != "both":
            return self
        if missing := [entry for entry in _FOR_BOTH if entry not in self.templates]:
            raise ConfigError(
                f"prompts {self.source}: student.target=both needs the entries predict and "
                f"explain, and there is no {' and no '.join(missing)} "
                "(see baldistill/teacher/prompts/instruct.yaml)"
            )
        return replace(self, templates={**self.templates, "student": self.templates["predict"]})

    def labels_of(self, domain: str) -> tuple[str, ...] | None:
        """Return the labels of a classification domain; None if they are unknown or too many."""
        return self.labels.among.get(domain)

    def render(
        self,
        purpose: Purpose,
        *,
        domain: str,
        context: Sequence[Mapping[str, str]] | None = None,
        **values: object,
    ) -> Prompt:
        """Fill in a template.

        A question of a chat has a context. The student is shown the chat turn by turn, if its
        template has turns. Everybody else reads the context as a text before the question.

        Raises:
            ConfigError: The template cannot be filled in with these values.
        """
        template = self.templates[purpose]
        in_turns = purpose in ("student", "explain") and not isinstance(template, str)
        if context and not in_turns:
            values["question"] = transcript(context, str(values["question"]))
        values = {
            "structured": False,
            **values,
            "domain": domain,
            "labels": self.labels.among.get(domain, ()),
        }
        try:
            if isinstance(template, str):
                return _compiled(template).render(values)
            turns = tuple(
                Message(role, _compiled(content).render(values)) for role, content in template
            )
            return _inserted(turns, context) if context and in_turns else turns
        except _FAULTS as error:
            raise ConfigError(f"prompts {self.source}: entry {purpose}: {error}") from None


def _inserted(
    turns: tuple[Message, ...], context: Sequence[Mapping[str, str]]
) -> tuple[Message, ...]:
    """Put the earlier turns of a chat before the last turn of the user, with one system turn."""
    before = [Message(turn["role"], turn["content"]) for turn in context]
    last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=len(turns) - 1)
    first, rest = list(turns[:last]), turns[last:]
    if before[0].role == "system":
        system = before.pop(0)
        if first and first[0].role == "system":
            first[0] = Message("system", f"{first[0].content}\n\n{system.content}")
        else:
            first.insert(0, system)
    return (*first, *before, *rest)


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    return _ENVIRONMENT.from_string(template)


def load_prompts(name: str, *, model: str) -> PromptSet:
    """Load a prompt set.

    Args:
        name: `instruct`, `compact`, a path, or `auto`: compact for the bundled models.
        model: The model that is asked.

    Raises:
        ConfigError: A missing file or entry, or a template that does not render.
    """
    if name == "auto":
        name = "compact" if model == "bundled" else "instruct"
    values = _read(name)
    if missing := _FROM_INSTRUCT - values.keys():
        values |= {entry: _read("instruct")[entry] for entry in missing}
    prompts = PromptSet(name, {key: _template(name, key, values[key]) for key in values})
    for purpose in values:
        variables = _VARIABLES[_FOR_BOTH.get(purpose, purpose)]
        prompt = prompts.render(purpose, domain="d", **variables)
        texts = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
        if not any(_QUESTION in text for text in texts):
            wanted = "demonstrations" if purpose == "synthesis" else "question"
            raise ConfigError(f"prompts {name}: entry {purpose} does not show the {wanted}")
    return prompts


def _read(name: str) -> dict[Purpose, Any]:
    if name in ("instruct", "compact"):
        text = resources.files(__package__).joinpath(f"{name}.yaml").read_text("utf-8")
    elif Path(name).is_file():
        try:
            text = Path(name).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"prompts {name}: not UTF-8 text: {error}") from None
    else:
        raise ConfigError(f"prompts {name!r}: neither `instruct`, `compact` nor a file")
    try:
        values = read_yaml(text)
    except NotYamlError as error:
        raise ConfigError(f"prompts {name}: not valid YAML: {error}") from None
    needed = [entry for entry in _VARIABLES if entry not in _FROM_INSTRUCT]
    optional = _FROM_INSTRUCT | _FOR_BOTH.keys()
    if not isinstance(values, dict) or set(values) - optional != set(needed):
        raise ConfigError(
            f"prompts {name}: needs exactly the entries {', '.join(needed)}, for "
            f"student.target=both {' and '.join(_FOR_BOTH)}, and if wanted "
            f"{', '.join(sorted(_FROM_INSTRUCT))} "
            "(see baldistill/teacher/prompts/instruct.yaml)"
        )
    return values


def _template(name: str, purpose: str, value: Any) -> str | tuple[tuple[str, str], ...]:
    if isinstance(value, str):
        return value
    turns = value if isinstance(value, list) else []
    if not turns or not all(_is_turn(turn) for turn in turns):
        raise ConfigError(
            f"prompts {name}: entry {purpose} must be a text or a list of role and content"
        )
    return tuple((turn["role"], turn["content"]) for turn in turns)


def _is_turn(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and all(isinstance(text, str) for text in value.values())
    )
