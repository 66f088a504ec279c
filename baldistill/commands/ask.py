"""`baldistill ask`: a run's student answers questions, in this process and without Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, TextStreamer

from baldistill.commands.shown import student_prompts
from baldistill.config.loading import load_config
from baldistill.core.answers import AnyTask, extract
from baldistill.core.own_task import is_own_task
from baldistill.errors import UserError
from baldistill.generation.device import device_here
from baldistill.generation.encoding import encode_and_cut, end_tokens, prompt_limit
from baldistill.generation.loading import context_size, load_pretrained
from baldistill.generation.types import ModelRef, Prompt
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.reader import read_run
from baldistill.run_folder.trust import check_code_is_safe

OnText = Callable[[str], None]
Turn = Mapping[str, str]
"""A turn of a chat: `role` and `content`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The student's reply to a question.

    Attributes:
        text: All that it wrote.
        answer: The answer that an evaluation would read in it; None if it finds none.
    """

    question: str
    text: str
    answer: str | None


class RunStudent:
    """The student of a run, prompted, decoded and read as in the run's evaluations."""

    def __init__(self, run: str | Path, *, stage: int | None = None) -> None:
        """Load the student of a stage, by default of the last that has trained one.

        Raises:
            UserError: There is no such run or student, or it cannot be loaded.
        """
        folder = read_run(run)
        self.stage = folder.trained_stage(stage)
        self._counts = folder.counts
        self._config = load_config(folder.storage.uri_of(layout.CONFIG))
        if any(map(is_own_task, self._config.tasks)):
            check_code_is_safe(folder.storage, self._config)
        self._prompts = student_prompts(folder)
        student = ModelRef(StageLayout(self.stage).student, folder.storage)
        device = torch.device(device_here())
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self._tokenizer, model = load_pretrained(student.resolve(), dtype)
        self._model: Any = model.to(device).eval()
        self._model.generation_config = self._generation_config()

    @property
    def chats(self) -> bool:
        """Return whether a prompt holds earlier questions: of a chat model or a corpus of chats."""
        if self._config.data.columns.messages is not None:
            return True
        name = next(iter(self._counts))
        prompt = self._prompts.render("student", question="?", domain=name)
        return not isinstance(prompt, str) and bool(getattr(self._tokenizer, "chat_template", None))

    def remembered(self, reply: Reply) -> tuple[Turn, Turn]:
        """Return a question and its reply as turns of a chat: in a corpus of chats, the answer."""
        is_chat = self._config.data.columns.messages is not None
        said = reply.answer if is_chat and reply.answer is not None else reply.text
        return (
            {"role": "user", "content": reply.question},
            {"role": "assistant", "content": said.strip()},
        )

    def ask(
        self,
        question: str,
        *,
        domain: str | None = None,
        context: Sequence[Turn] = (),
        on_text: OnText | None = None,
    ) -> Reply:
        """Return the student's reply.

        Args:
            question: As in the corpus; choices stand in it as lines `A) ...`.
            domain: Of the question; needed where prompts or task types differ between domains.
            context: Earlier turns of the chat, oldest first: pairs of a question and its reply.
                The oldest are left out where they do not fit into the model's context.
            on_text: Called with each part of the text as soon as it is written.

        Raises:
            UserError: The domain is needed, or is none of the corpus.
        """
        _, task, domain = self._asked(question, domain)
        tokens = self._tokens(question, domain, list(context))
        parts: list[str] = []

        def tell(part: str) -> None:
            parts.append(part)
            if on_text is not None and part:
                on_text(part)

        inputs = torch.tensor([tokens], device=self._model.device)
        torch.manual_seed(self._config.seed)
        with torch.inference_mode():
            self._model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                streamer=_Streamer(self._tokenizer, tell),
            )
        text = "".join(parts)
        labels = self._prompts.labels_of(domain)
        return Reply(question, text, extract(task, text, labels, question))

    def domain_of(self, question: str, domain: str | None = None) -> str:
        """Return the domain as which a question is asked: the one given, or one like all others.

        Raises:
            UserError: As `ask`.
        """
        return self._asked(question, domain)[2]

    def _tokens(self, question: str, domain: str, context: list[Turn]) -> list[int]:
        """Return the prompt, without the oldest exchanges of a chat that is too long."""
        longest = context_size(self._model)
        limit = prompt_limit(longest, self._config.student.response.max_new_tokens)
        while True:
            asked: dict[str, Any] = {"question": question, "domain": domain, "context": context}
            prompt = self._prompts.render("student", **asked)
            ((tokens, was_cut),) = encode_and_cut(self._tokenizer, [prompt], limit)
            if not (was_cut and context):
                return tokens
            context = context[2:]

    def _asked(self, question: str, domain: str | None) -> tuple[Prompt, AnyTask, str]:
        """Return the prompt, the task type and the domain of a question."""
        if domain is not None and domain not in self._counts:
            raise UserError(f"--domain {domain!r} is none of the corpus: {self._some_domains()}")
        found: dict[tuple[Prompt, AnyTask], str] = {}
        for name in self._counts if domain is None else [domain]:
            prompt = self._prompts.render("student", question=question, domain=name)
            found.setdefault((prompt, self._config.task_of(name)), name)
        if len(found) > 1:
            raise UserError(
                "the student is asked in another way in each domain: name the question's with "
                f"--domain ({self._some_domains()})"
            )
        ((prompt, task), name) = next(iter(found.items()))
        return prompt, task, name

    def _some_domains(self) -> str:
        names = list(self._counts)
        return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")

    def _generation_config(self) -> GenerationConfig:
        """Return how an evaluation samples; the model's own defaults do not count there."""
        sampling, tokenizer = self._config.student.response, self._tokenizer
        ends = sorted(end_tokens(tokenizer, self._model.generation_config))
        padding = tokenizer.pad_token_id
        how: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            how = {"do_sample": True, "temperature": sampling.temperature}
            how |= {"top_p": sampling.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if padding is None and ends else padding,
            **how,
        )


class _Streamer(TextStreamer):  # type: ignore[misc]
    """Hands on what the model writes, in whole words, without the prompt."""

    def __init__(self, tokenizer: Any, on_text: OnText) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Hand on a finished part of the text."""
        self._on_text(text)
