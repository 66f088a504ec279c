"""The card and the Modelfile of a published student."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from baldistill.commands.card_facts import facts, model_name
from baldistill.core.longtail import by_size
from baldistill.generation.types import Message, Prompt
from baldistill.report.formats import markdown_table, percent
from baldistill.report.ranks import both_ends
from baldistill.report.tables import score
from baldistill.run_folder.layout import METRIC_NAMES, METRIC_TITLES
from baldistill.run_folder.reader import RunFolder, title
from baldistill.visible import visible

_MOST_DOMAINS = 100


@dataclass(frozen=True, slots=True)
class Prompting:
    """The prompt and the sampling of a student in its evaluations.

    Attributes:
        prompt: With QUESTION where the question stands.
        varies: Whether the prompt is another one in other domains.
    """

    QUESTION: ClassVar[str] = "{question}"

    prompt: Prompt
    varies: bool
    max_new_tokens: int
    temperature: float
    top_p: float


def model_card(
    folder: RunFolder, stage: int, name: str, prompting: Prompting, *, rank: int | None = None
) -> str:
    """Return the card, Markdown with the hub's metadata at the top.

    Args:
        folder: The run.
        stage: Of the student.
        name: OWNER/NAME on the hub.
        prompting: How it was asked.
        rank: Of its adapter, if that alone is published.
    """
    base = str(folder.setting("student.model", "bundled"))
    on_hub = base == model_name(base) and base.count("/") == 1
    domains = f"{len(folder.counts)} domains"
    lines = [
        "---",
        "# license: the owner's to say; see the base model's, the corpus's and the teacher's terms",
        f"library_name: {'transformers' if rank is None else 'peft'}",
        "pipeline_tag: text-generation",
        *([f"base_model: {base}"] if on_hub else []),
        "tags:",
        "- distillation",
        "- baldistill",
        "---",
        "",
        f"# {visible(name)}",
        "",
        f"{'The' if rank is None else 'The LoRA adapter of the'} student of stage {stage} of a "
        "Multi-Stage Balanced Distillation "
        f"([arXiv 2406.13114](https://arxiv.org/abs/2406.13114)) over {domains}, trained by "
        f"baldistill {visible(str(folder.versions.get('baldistill', '')))}.",
        "",
        *facts(folder, ("stage", f"{stage} of {folder.num_stages}"), *_versions(folder)),
        "",
        "## How good it is",
        "",
        *_figures(folder, stage),
        "",
        *_benchmarks(folder, stage),
        "## Use",
        "",
        *(_use(name, prompting) if rank is None else _use_adapter(name, base, rank, prompting)),
        "",
        "## Limits",
        "",
        *_limits(folder, prompting),
    ]
    return "\n".join(lines) + "\n"


def modelfile(prompting: Prompting) -> str:
    """Return a Modelfile, with which Ollama reads the folder and asks as the evaluations did."""
    lines = [
        "FROM .",
        f"PARAMETER temperature {prompting.temperature:g}",
        f"PARAMETER top_p {prompting.top_p:g}",
        f"PARAMETER num_predict {prompting.max_new_tokens}",
    ]
    if isinstance(prompting.prompt, str):
        shown = prompting.prompt.replace(Prompting.QUESTION, "{{ .Prompt }}")
        lines.append(f'TEMPLATE """{shown}"""')
    else:  # the model's own chat template stays
        lines += [f'SYSTEM """{t.content}"""' for t in prompting.prompt if t.role == "system"]
    return "\n".join(lines) + "\n"


def _versions(folder: RunFolder) -> list[tuple[str, str]]:
    """Return the versions that decide what weights come out."""
    wanted = ("torch", "transformers", "peft")
    found = [f"{name} {folder.versions[name]}" for name in wanted if name in folder.versions]
    return [("versions", ", ".join(found))] if found else []


def _figures(folder: RunFolder, stage: int) -> list[str]:
    """Return the figures of each domain, beside the base student's where they are known."""
    evaluated = folder.evaluated
    if title(stage) not in evaluated:
        return ["It was not evaluated."]
    columns = [name for name in (title(0), title(stage)) if name in evaluated]
    figures = [evaluated[name] for name in columns]
    if folder.teacher:
        columns, figures = [*columns, "teacher"], [*figures, folder.teacher]
    shown = both_ends(by_size(folder.counts), _MOST_DOMAINS)
    rows = []
    for domain in shown:
        if domain is None:
            rows.append(["...", "", "", *("" for _ in columns)])
            continue
        scores = [f["per_domain"].get(domain, {}).get("score") for f in figures]
        part = "head" if domain in folder.head else "tail"
        rows.append([domain, part, f"{folder.counts[domain]:,}", *map(percent, scores)])
    for name in METRIC_NAMES:
        shown_as = f"**{METRIC_TITLES.get(name, name)}**"
        rows.append([shown_as, "", "", *(percent(f.get(name)) for f in figures)])
    asked = sum(entry["count"] for entry in evaluated[title(stage)]["per_domain"].values())
    return [
        f"{folder.measure.capitalize()} in percent on {asked:,} evaluation questions, none of "
        "them in the corpus. `macro` is the mean over domains; `natural` weighs them as the "
        "corpus does; `worst` is the lowest domain. Two means lie between `macro` and `natural`: "
        "a domain with n of the corpus's N examples counts by -n log(n / N) in `entropy-weighted` "
        "and by n^(3/4) in `dodrans-weighted` ([Harbecke et al. 2022](https://arxiv.org/abs/2205.09460)).",
        "",
        *markdown_table(["domain", "part", "in the corpus", *columns], rows, slice(2, None)),
    ]


def _benchmarks(folder: RunFolder, stage: int) -> list[str]:
    """Return what the last student forgot of public benchmarks, where they were asked."""
    if not folder.benchmarks or stage != folder.trained_stage():
        return []
    rows = [
        [
            row["task"],
            row["metric"],
            *(score(row[name]) for name in ("before", "after")),
            row["verdict"] or "",
        ]
        for row in folder.benchmarks
    ]
    return [
        "## What it forgot",
        "",
        f"Public benchmarks by lm-eval {folder.final['benchmarks']['lm_eval']}: the base model "
        "before, this student after. Forgotten and gained: by over two standard errors.",
        "",
        *markdown_table(["benchmark", "metric", "before", "after", "verdict"], rows, slice(2, 4)),
        "",
    ]


def _use(name: str, prompting: Prompting) -> list[str]:
    shown, asked = _asking(prompting)
    lines = ["Ask it as it was asked in training:", "", "```python"]
    lines += ["from transformers import pipeline", "", *shown]
    lines += [*asked, f'student = pipeline("text-generation", "{name}")']
    lines += ['print(student(prompt, return_full_text=False)[0]["generated_text"])', "```", ""]
    api = "completions" if isinstance(prompting.prompt, str) else "chat/completions"
    lines += [
        f"- vLLM: `vllm serve {name}`, then `/v1/{api}` with the same prompt, "
        f"`temperature` {prompting.temperature:g} and `max_tokens` {prompting.max_new_tokens}.",
        "- Ollama: `ollama create student -f Modelfile` in this folder.",
        "- llama.cpp: `python convert_hf_to_gguf.py FOLDER --outfile student.gguf`.",
    ]
    return lines


def _use_adapter(name: str, base: str, rank: int, prompting: Prompting) -> list[str]:
    shown, asked = _asking(prompting)
    how: dict[str, object] = {"max_new_tokens": prompting.max_new_tokens}
    how["do_sample"] = prompting.temperature > 0
    if prompting.temperature > 0:
        how |= {"temperature": prompting.temperature, "top_p": prompting.top_p}
    sampling = ", ".join(f"{key}={value!r}" for key, value in how.items())
    lines = [
        f"It belongs to `{visible(model_name(base))}`. Ask it as it was asked in training:",
        "",
    ]
    lines += ["```python", "from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline"]
    lines += ["", f"BASE = {json.dumps(model_name(base))}", *shown, *asked]
    lines += [
        "model = AutoModelForCausalLM.from_pretrained(BASE)",
        f'model.load_adapter("{name}")  # needs peft',
        "tokenizer = AutoTokenizer.from_pretrained(BASE)",
        'student = pipeline("text-generation", model, tokenizer=tokenizer)',
        f"said = student(prompt, return_full_text=False, {sampling})",
        'print(said[0]["generated_text"])',
        "```",
        "",
        f"- vLLM: `vllm serve {visible(model_name(base))} --enable-lora --max-lora-rank {rank} "
        f"--lora-modules student={name}`.",
    ]
    return lines


def _asking(prompting: Prompting) -> tuple[list[str], list[str]]:
    """Return Python that holds the prompt with a question, and that puts the question into it."""
    question = 'question = "..."'
    if isinstance(prompting.prompt, str):
        shown = f"PROMPT = {json.dumps(prompting.prompt, ensure_ascii=False)}"
        return [shown, question], ['prompt = PROMPT.replace("{question}", question)']
    turns = [{"role": turn.role, "content": turn.content} for turn in _turns(prompting)]
    asked = (
        'prompt = [{**t, "content": t["content"].replace("{question}", question)} for t in CHAT]'
    )
    return [f"CHAT = {json.dumps(turns, ensure_ascii=False, indent=4)}", question], [asked]


def _turns(prompting: Prompting) -> tuple[Message, ...]:
    assert not isinstance(prompting.prompt, str)
    return prompting.prompt


def _limits(folder: RunFolder, prompting: Prompting) -> list[str]:
    lines = [
        "- It was trained for the domains above, on a model's explanations. Elsewhere nothing was "
        "measured.",
        f"- Its answers were at most {prompting.max_new_tokens:,} tokens long, and its training "
        f"examples at most {folder.setting('student.max_length', 1024):,}.",
    ]
    if prompting.varies:
        lines.append(
            "- The prompt names the domain or its labels, so it is another one in each domain; "
            "the largest domain's is shown."
        )
    return lines
