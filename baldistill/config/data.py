"""The part of the config that says what is learned from: corpus, columns, task types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from baldistill.config.domains import LIKELIHOOD, DomainsConfig
from baldistill.config.sections import Count, Section, Share, switch
from baldistill.core.answers import AnyTask, Task
from baldistill.core.own_task import is_own_task
from baldistill.masking import masked_start
from baldistill.uris import holds_secret, masked


class Columns(Section):
    """Mapping from the parts of an example to the columns of the user's files."""

    added: ClassVar[frozenset[str]] = frozenset({"evaluation_answer", "messages", "each_turn"})

    question: str = "question"
    """The text that the student is asked."""
    answer: str | None = "answer"
    """The gold answer; in JSONL and Parquet also a list of acceptable ones. Any of them counts. The
    first is shown to the teacher, and the student learns to write it. null where nobody has
    labelled the corpus (see `rationale.accept`)."""
    evaluation_answer: str | None = None
    """The gold answer in the files of `data.evaluation`, where it is not `answer`."""
    domain: str | None = "domain"
    """The class, topic or task type to balance over; null: `data.domains` makes them."""
    choices: str | None = None
    """A list column of answer choices, shown to the models as lettered lines."""
    id: str | None = None
    """A unique id; by default a hash of domain and question."""
    split: str | None = None
    """A column that says `train` or else `test`, `eval`, `validation`, `dev`: such rows of
    `data.train` are the evaluation set."""
    messages: str | None = None
    """A column of chats, lists of turns {role, content} or {from, value}. The last turn of the user
    is the question. What the assistant says to it is the gold answer, unless `answer` names a
    column. All before is context."""
    each_turn: bool = False
    """Of chats: each turn of the assistant is an example, with what stands before it."""

    @model_validator(mode="before")
    @classmethod
    def _from_chats(cls, values: Any) -> Any:
        """Let chats give question and answer, where nothing else is said."""
        if isinstance(values, dict) and isinstance(chats := values.get("messages"), str):
            return {"question": chats, "answer": chats} | values
        return values

    @model_validator(mode="after")
    def _chats_have_the_question(self) -> Columns:
        if self.messages is None and self.each_turn:
            raise ValueError("each_turn is of chats: name their column as messages, too")
        if self.messages is not None and self.question != self.messages:
            raise ValueError(
                f"messages={self.messages} has the questions, the last turn of the user in each "
                f"chat: leave question={self.question} out"
            )
        if self.each_turn and self.answer != self.messages:
            raise ValueError(
                f"with each_turn the answers are turns of the chats: leave answer={self.answer} out"
            )
        return self


class NearDuplicatesConfig(Section):
    """Rule for near duplicates: rows whose sets of n-grams of words overlap."""

    threshold: Annotated[float, Field(ge=0.5, le=1.0)] = 0.8
    """Jaccard similarity, |A & B| / |A | B|, from which on two questions are near duplicates."""
    ngram: Annotated[int, Field(ge=1, le=13)] = 3
    """Words in a row that count as one; marks are words. A shorter question is one n-gram."""
    same_numbers: bool = True
    """Only questions with the same numbers are near duplicates: with others they have another
    answer."""


def _refuse_credentials(uris: Iterable[str]) -> None:
    for uri in uris:
        if holds_secret(uri):
            raise ValueError(
                f"{masked(uri)} has credentials in it: take them out and set them in the "
                "environment"
            )


class DecontaminateConfig(Section):
    """Rule that finds the rows that hold a question that the student is marked on."""

    files: tuple[str, ...] = ()
    """Further files, globs or URIs of questions, such as benchmarks: what stands in them is not
    trained on, besides the evaluation set."""
    column: str | None = None
    """The column of the questions in `files`; by default that of `columns.question`."""
    ngram: Annotated[int, Field(ge=4, le=50)] = 8
    """Words in a row; marks do not count. A question with fewer words is not found."""
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of the n-grams of a question from which on a row holds it."""

    @field_validator("files", mode="before")
    @classmethod
    def _one_file(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("files")
    @classmethod
    def _no_credentials(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_credentials(value)
        return value


def files_alone(value: Any) -> Any:
    """Let a file or a list of files stand for a section."""
    if isinstance(value, str) and value:
        return {"files": value}
    return {"files": value} if isinstance(value, list | tuple) else switch(value)


def _task_name(value: Any) -> Any:
    """Let `{kind: "package.module:Name"}` stand for a user's task type, and refuse unknown ones."""
    if isinstance(value, Mapping) and set(value) == {"kind"}:
        value = value["kind"]
    if isinstance(value, str) and value not in get_args(Task) and not is_own_task(value):
        raise ValueError(
            f"must be {', '.join(get_args(Task))}, or one of your own as package.module:Name, not "
            f"{masked_start(repr(value))}"
        )
    return value


TaskName: TypeAlias = Annotated[AnyTask, BeforeValidator(_task_name)]


class DataConfig(Section):
    """The corpus and the evaluation set."""

    added: ClassVar[frozenset[str]] = frozenset(
        {"domains", "bundled_level", "near_duplicates", "decontaminate"}
    )

    train: str | tuple[str, ...] = "bundled"
    """File, folder, glob or URI (s3://, gs://, hdfs://, hf://datasets/OWNER/NAME/path), or a list
    of them. hf://datasets/OWNER/NAME?config=CONFIG&split=SPLIT is a part of a data set of the hub,
    `bundled` the corpus of small reasoning domains inside the package."""
    evaluation: str | tuple[str, ...] | None = None
    """The evaluation set, in the same forms; by default a seeded split of every domain."""
    format: Literal["auto", "jsonl", "parquet", "csv"] = "auto"
    """`auto` goes by the file's ending."""
    columns: Columns = Columns()
    """Names of the columns in the files of `train` and `evaluation`."""
    domains: DomainsConfig | None = None
    """Makes domains, where `columns.domain` is null."""
    task: TaskName = "free_text"
    """Task type: the way that answers are extracted and compared: free_text | multiple_choice |
    classification | math | qa, or one of your own as `package.module:Name`."""
    domain_tasks: dict[str, TaskName] = Field(default_factory=dict)
    """The task of single domains, where it differs from `task`."""
    evaluation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of each domain that the seeded split sets aside, where `evaluation` is not given."""
    evaluation_max_per_domain: Count = 200
    """Most evaluation examples of a domain. It bounds the time that an evaluation takes."""
    max_question_chars: Count = 20_000
    """Characters; a longer question is quarantined as over-long."""
    max_answer_chars: Count = 4_000
    """Characters; a longer answer is quarantined as over-long."""
    max_bad_fraction: Share = 0.05
    """If more than this share of the rows cannot be used, the run stops and shows examples of them.
    Duplicates, and rows that stand in the evaluation set, are quarantined too but do not count."""
    near_duplicates: Annotated[NearDuplicatesConfig | None, BeforeValidator(switch)] = None
    """Leaves out rows whose question is nearly that of an earlier row of their domain, or of a row
    of the evaluation set; `true` by the defaults."""
    decontaminate: Annotated[DecontaminateConfig | None, BeforeValidator(files_alone)] = None
    """Leaves out rows to train on that hold most of a question of the evaluation set (`true`), and
    of further files (a list of them)."""
    bundled_level: Literal[1, 2] = 1
    """Difficulty of the questions of the bundled corpus. Those of 2 have longer sums, more steps
    and rarer words; the bundled teacher explains some 80 % of them as they should be."""
    bundled_rows: Annotated[int, Field(ge=100)] = 4000
    """Training rows of the bundled corpus."""
    bundled_alpha: Annotated[float, Field(ge=0.0, le=4.0)] = 2.0
    """Zipf exponent of the bundled corpus: the domain of rank k has about 1/k^alpha of rank 1."""
    bundled_evaluation_per_domain: Count = 60
    """Evaluation questions of each domain of the bundled corpus."""

    @property
    def evaluates_on_gold(self) -> bool:
        """Return whether the evaluation set has gold answers; the training rows may lack them."""
        own_files = self.evaluation is not None or self.train == "bundled"
        return self.columns.answer is not None or (
            own_files and self.columns.evaluation_answer is not None
        )

    @property
    def domain_column(self) -> str | None:
        """Return the column that decides a row's domain; None where the questions decide."""
        if self.domains is None:
            return self.columns.domain
        return None if self.domains.by == LIKELIHOOD else self.domains.by

    @field_validator("train", "evaluation")
    @classmethod
    def _no_credentials(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        """Refuse credentials, since `config.yaml` of the run folder holds these texts."""
        _refuse_credentials((value,) if isinstance(value, str) else value or ())
        return value

    @model_validator(mode="after")
    def _questions_have_a_column(self) -> DataConfig:
        rule = self.decontaminate
        if rule and rule.files and not rule.column and self.columns.messages is not None:
            raise ValueError(
                "decontaminate: the corpus has chats, so name the column of the questions in "
                "these files: data.decontaminate.column=question"
            )
        return self

    @model_validator(mode="after")
    def _domains_come_from_one_place(self) -> DataConfig:
        column = self.columns.domain
        if column is None and self.domains is None:
            raise ValueError(
                "columns.domain is null and nothing makes domains: name their column, or set "
                "data.domains={clusters: auto}"
            )
        if column is not None and self.domains is not None:
            raise ValueError(
                f"columns.domain={column} and domains both give the domains: set "
                "data.columns.domain=null, or leave data.domains out"
            )
        return self
