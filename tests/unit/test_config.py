"""The config: validation, overrides, errors that suggest, every shipped YAML."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from baldistill.config import Config
from baldistill.config.loading import dump_config, load_config
from baldistill.config.sections import Section
from baldistill.core.policies import Schedule
from baldistill.errors import ConfigError
from baldistill.methods import METHODS
from baldistill.yaml12 import read_yaml

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = sorted((ROOT / "examples" / "prompts").glob("*.yaml"))
EXAMPLES = sorted(set((ROOT / "examples").rglob("*.yaml")) - set(PROMPTS))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_valid_config(path: Path) -> None:
    config = load_config(path)
    assert load_config_text(dump_config(config)) == config


def load_config_text(text: str) -> Config:
    return Config.model_validate(read_yaml(text))


def test_the_commented_quickstart_is_the_built_in_one() -> None:
    assert load_config(ROOT / "examples" / "quickstart.yaml") == load_config()


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_presets_of_the_same_config(method: str) -> None:
    config = load_config(None, ["budget.calls=77", "seed=3"], method)
    assert config.budget.calls == 77
    assert config.seed == 3
    assert config.data == load_config().data
    assert (config.budget.total == 0) == (method == "zero-shot-cot")


def test_a_preset_of_another_kind_of_policy_takes_no_options_of_it(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("budget: {policy: {kind: schedule, w_first: 0.1, w_last: 0.8}, calls: 9}\n")
    config = load_config(path, [], "baldistill-g")
    assert (config.budget.policy.kind, config.budget.calls) == ("gain", 9)
    same = load_config(path, [], "baldistill-a-code")
    assert same.budget.policy == Schedule(w_first=0.0, w_last=0.8)
    path.write_text("budget: {policy: {kind: schedule, power: 2.0}}\n")
    assert load_config(path, [], "baldistill-a-code").budget.policy.power == 2.0  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["natural", "naive", "adaptive", "schedule", "split"])
def test_a_policy_that_asks_no_student_has_no_key_for_it(kind: str) -> None:
    config = load_config(None, [f"budget.policy={kind}"])
    assert config.budget.policy.questions == 0
    assert "questions" not in read_yaml(dump_config(config))["budget"]["policy"]
    with pytest.raises(ConfigError, match=r"budget\.policy\.questions: unknown key"):
        load_config(None, [f"budget.policy={{kind: {kind}, questions: 3}}"])


def test_overrides_are_typed_and_nested() -> None:
    config = load_config(
        None,
        [
            "budget.total=2000",
            "stages=5",
            "student.learning_rate=1e-3",
            "budget.policy.kind=split",
            "budget.policy.tail_shares=[0.1, 0.2, 0.3, 0.4, 0.5]",
            "student.lora.rank=4",
            "data.columns.split=part",
        ],
    )
    assert (config.budget.total, config.stages) == (2000, 5)
    assert config.student.learning_rate == 1e-3
    assert config.budget.policy.kind == "split"
    assert config.student.lora is not None
    assert config.student.lora.rank == 4
    assert config.data.columns.split == "part"


def test_overrides_and_files_are_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("name: no\nbudget: {total: 1_000}\nstudent: {learning_rate: 1e-4}\n")
    config = load_config(path, ["data.columns.question=12:30", "student.weight_decay=.5"])
    assert (config.name, config.budget.total) == ("no", 1000)
    assert config.student.learning_rate == 1e-4
    assert (config.data.columns.question, config.student.weight_decay) == ("12:30", 0.5)
    assert load_config_text(dump_config(config)) == config
    path.write_text("name: a\nseed: 1\nname: b\n")
    with pytest.raises(ConfigError, match=r'duplicate key "name"(.|\n)*line 3, column 1'):
        load_config(path)


def test_another_kind_forgets_the_options_of_the_first() -> None:
    config = load_config(ROOT / "examples" / "own-data.yaml", ["budget.policy.kind=naive"])
    assert config.budget.policy.kind == "naive"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("budgt.total=3", ["budgt: unknown key", "did you mean budget?"]),
        ("student.lora.rnk=3", ["did you mean student.lora.rank?"]),
        ("learning_rate=1e-3", ["did you mean student.learning_rate?"]),
        ("teacher.modle=x", ["teacher.modle: unknown key", "did you mean teacher.model?"]),
        (
            "teacher={kind: cascade, tiers: [{kind: replay, path: x, mising: skip}, bundled]}",
            ["teacher.tiers.0.mising: unknown key", "did you mean teacher.tiers.0.missing?"],
        ),
        (
            "teacher={kind: cascade, tiers: [{prices: {prompt_per_milion: 1}}, {kind: openai}]}",
            ["did you mean teacher.tiers.0.prices.prompt_per_million?"],
        ),
        ("budget.cost=5", ["budget.cost=5 caps money", "teacher.prices.prompt_per_million"]),
        ("stages=many", ["stages", "integer", "'many'"]),
        ("budget.policy=spilt", ["'spilt'", "did you mean split?"]),
        ("budget.total=-1", ["budget.total", "greater than or equal to 0"]),
        ("budget.policy={kind: errors, flor: 1}", ["budget.policy.flor: unknown key", "floor?"]),
        ("floor=0.3", ["floor: unknown key; did you mean budget.policy.floor?"]),
        (
            "budget.policy={kind: naive, floor: 0.3}",
            ["it belongs to another kind of budget.policy"],
        ),
        ("budget.policy={kind: errors, floor: 2}", ["budget.policy.floor: must be", "not 2.0"]),
        ("budget.policy={kind: gain, objective: 2}", ["budget.policy.objective: must be", "not 2"]),
        ("budget.policy={kind: gain, objective: best}", ["budget.policy.objective", "'worst'"]),
        ("budget.policy={kind: schedule, power: x}", ["budget.policy.power", "got 'x'"]),
        ("teacher.prices.prompt_per_million=-1", ["teacher.prices: prices must be 0 or more"]),
        ("stages=[1", ["override stages: not a YAML value", "line 1, column"]),
        ("data.domain_tasks={a: math, a: qa}", ['duplicate key "a"', "line 1, column 11"]),
        ("data.domain_tasks={2020: math}", ["data.domain_tasks.2020", "valid string"]),
        ("teacher.kind=gpt", ["teacher.kind"]),
        ("name=../../etc", ["name"]),
        ("rationale.accept=majority", ["rationale: accept=majority", "rationale.sees=question"]),
        ("rationale.accept=any", ["what the teacher was shown", "on_mismatch=keep"]),
        (
            "rationale={sees: question, accept: any, on_mismatch: keep}",
            ["on_mismatch=keep teaches the gold answer", "rationale.on_mismatch=drop"],
        ),
        ("tail.fill=[none, repeat]", ["tail.fill", "`none` comes last"]),
        ("tail.fill=[]", ["different fills in order"]),
        ("tail.fill=[repeat, repeat]", ["different fills in order"]),
        ("selection={metric: wrong, text: gold}", ["text=gold scores the gold", "text=own"]),
        ("selection={metric: disagreement, ceiling: 1}", ["selection.ceiling", "has none"]),
        ("tail.fill=write", ["tail.fill", "'synthesize'"]),
        (
            "data.columns.answer=null",
            ["data.columns.answer=null", "accept=gold compares", "rationale.accept=majority"],
        ),
        ("stages", ["key.subkey=value"]),
        (
            "budget.policy={kind: schedule, weights: [0.1, 0.2]}",
            ["budget.policy.weights has 2 entries for 4 stages", "stages=2"],
        ),
    ],
)
def test_errors_name_the_key_and_the_fix(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    for word in words:
        assert word in str(caught.value)


def test_further_rationales_need_a_student_that_learns_them() -> None:
    for several in ("tail.fill=[rationales, repeat]", "rationale.per_example=2"):
        with pytest.raises(ConfigError, match=r"an example several rationales.*target=rationale"):
            load_config(None, ["student.target=label", several])


def test_another_model_may_vote_on_new_examples() -> None:
    verifier = "tail.verifier={kind: openai, model: m, prices: {prompt_per_million: 2}}"
    config = load_config(None, ["tail.votes=1", verifier, "budget.cost=3"])
    assert [model.kind for model in config.models_asked] == ["transformers", "openai"]
    assert load_config_text(dump_config(config)) == config
    assert load_config(None, ["tail.votes=1", "tail.verifier=vllm"]).models_asked[1].kind == "vllm"
    assert "verifier" not in dump_config(load_config())
    for wrong, words in (
        (["tail.verifier=vllm"], "votes=0 asks for none: set tail.votes=1"),
        (["tail.votes=1", "tail.verifier={kind: replay, path: x}"], "kind: replay. knows none"),
        (["tail.votes=1", "tail.verifier={modle: x}"], "tail.verifier.modle: unknown key"),
        (["tail.votes=1", "tail.verifier=gpt"], "tail.verifier.kind: 'gpt' is none of"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_config(None, wrong)


def test_fills_are_one_or_several_in_order() -> None:
    text = dump_config(load_config(None, ["tail.fill=[synthesize]"]))
    assert text == dump_config(load_config()), "one of a list is the one alone"
    several = load_config(None, ["tail.fill=[rationales, none]"])
    assert several.tail.fills == ("rationales", "none")
    assert load_config_text(dump_config(several)) == several


def test_a_missing_file_and_a_broken_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "no.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(broken)
    broken.write_bytes(b"name: " + b"caf\xe9")
    with pytest.raises(ConfigError, match=r"broken\.yaml is not UTF-8 text"):
        load_config(broken)
    broken.write_text("- a list")
    with pytest.raises(ConfigError, match="mapping"):
        load_config(broken)


SECTIONS = ["data", "budget", "selection", "tail", "rationale", "teacher", "student"]
SECTIONS += ["evaluation", "cluster"]
"""Their classes have the docstrings."""


def test_every_option_has_a_docstring() -> None:
    schema = Config.model_json_schema()
    missing = [
        f"{section['title']}.{name}"
        for section in [schema, *schema["$defs"].values()]
        for name, option in section.get("properties", {}).items()
        if name != "kind" and not option.get("description")
    ]
    assert missing == [f"Config.{name}" for name in SECTIONS]


LIGHT = ["baldistill", "baldistill.config.loading", "baldistill.records", "baldistill.cli"]
PURE = ["budget", "longtail", "ifd", "selection", "ledger", "answers", "metrics"]


def test_config_and_core_import_without_ray_or_torch() -> None:
    modules = [*LIGHT, *(f"baldistill.core.{name}" for name in PURE)]
    code = (
        f"import sys, {', '.join(modules)}; "
        "print([m for m in ('ray', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_in_a_comparison_a_method_stays_what_it_is() -> None:
    options = ["budget.total=500", "stages=6", "budget.policy=schedule", "budget.policy.w_last=0.5"]
    zero = load_config(None, options, "zero-shot-cot", method_wins=True)
    assert zero.budget.total == 0
    one = load_config(None, options, "balance-ft-cot", method_wins=True)
    assert (one.stages, one.budget.total, one.budget.policy.kind) == (1, 500, "naive")
    assert load_config(None, options, "balance-ft-cot").stages == 6


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["teacher.kind=vllm", "teacher.engine_kwargs.enable_prefix_caching=no"],
            "teacher.engine_kwargs: enable_prefix_caching is the text 'no': write true or false",
        ),
        (
            ["teacher.kind=vllm", "teacher.chat_template_kwargs.enable_thinking=off"],
            "enable_thinking is the text 'off': write true or false",
        ),
        (
            ["teacher.kind=openai", "teacher.model=m", "teacher.batch_api=yes"],
            "must be true, false or a section, not the text 'yes'",
        ),
        (
            ["budget.policy.kind=schedule", "budget.policy.power=20"],
            "budget.policy.power: must be above 0 and at most 10, not 20",
        ),
        (
            ["budget.policy.kind=split", "budget.policy.head_mass=1"],
            "budget.policy.head_mass: must be above 0 and below 1",
        ),
    ],
)
def test_texts_that_were_booleans_and_bounds_of_policies_name_their_key(
    overrides: list[str], words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, overrides)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student.trainer.learning_rate=1", "set student.learning_rate"),
        ("student.trainer.per_device_train_batch_size=1", "set student.batch_size"),
        ("student.trainer.max_grad_nrom=1", "did you mean max_grad_norm"),
        ("student.optimizer=adafacter", "did you mean adafactor"),
    ],
)
def test_options_of_the_trainer_are_checked_before_a_run(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_any_other_field_of_the_trainer_is_taken() -> None:
    config = load_config(None, ["student.trainer.max_grad_norm=0.5", "student.optimizer=adafactor"])
    assert config.student.trainer == {"max_grad_norm": 0.5}
    assert load_config(None).student.trainer == {}


def test_keys_that_are_refused_are_fields_of_the_trainer() -> None:
    """Or a field of another version: `warmup_ratio` left in 5."""
    from baldistill.config.trainer_options import _OURS, _known

    assert _known()[0] >= {"max_grad_norm", "report_to", "adam_beta2"}
    assert set(_OURS) - _known()[0] <= {"warmup_ratio"}


def test_options_that_came_later_do_not_show_in_old_folders() -> None:
    class Old(Section):
        first: int = 1

    class New(Old):
        added = frozenset({"second"})
        second: str | None = None

    assert New().model_dump(mode="json") == Old().model_dump(mode="json")
    assert New(second="x").model_dump(mode="json") == {"first": 1, "second": "x"}
    assert New(second="x").model_dump(include={"second"}) == {"second": "x"}
    assert New().model_dump(exclude={"first"}) == {}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["data.columns.domain=null"], "nothing makes domains: name their column, or set"),
        (["data.domains={clusters: 8}"], "columns.domain=domain and domains both give"),
        (["data.columns.domain=null", "data.domains={clusters: 1}"], "greater than or equal to 2"),
        (["data.columns.domain=null", "data.domains={name: [a, b]}"], "did you mean .*names"),
        (["data.columns.domain=null", "data.domains={names: [a]}"], "1 names: give 2 to 256"),
        (["data.columns.domain=null", "data.domains={names: [a, a]}"], "'a' is named twice"),
        (["data.columns.domain=null", "data.domains={names: [a, 'A.']}"], "read as the same name"),
        (["data.columns.domain=null", "data.domains={names: [a, '?']}"], "no letter or figure"),
        (["data.columns.domain=null", "data.domains={names: [a, 1]}"], "1 is no text: put names"),
        (["data.columns.domain=null", "data.domains={names: [a, b], by: id}"], "give one of"),
        (["data.columns.domain=null", "data.domains={names: [a, b], sample: 9}"], "sample: Input"),
        (["data.columns.domain=null", "data.domains={clusters: 3, sample: 99}"], "is for names"),
        (["data.columns.domain=null", "data.domains={names: [a, b]}"], "bundled teacher cannot"),
        (["data.columns.domain=null", "data.domains={}"], "give one of clusters, names and by"),
        (["data.columns.domain=null", "data.domains={clusters: 3, by: id}"], "give one of"),
        (["data.columns.domain=null", "data.domains={clusters: 3, pattern: x}"], "needs a column"),
        (["data.columns.domain=null", "data.domains={by: id, pattern: '('}"], "no regular express"),
        (["data.columns.domain=null", "data.domains={by: likelihood}"], "set data.domains.bins=8"),
        (
            ["data.columns.domain=null", "data.domains={by: likelihood, bins: 3}"],
            "likelihood needs bins and model: set data.domains.model=HuggingFaceTB/SmolLM2-135M",
        ),
        (
            ["data.domains={by: likelihood, bins: 3, model: bundled, pattern: x}"],
            "takes no pattern: leave pattern out",
        ),
        (["data.columns.domain=null", "data.domains={by: id, bins: 3}"], "are for by: likelihood"),
    ],
)
def test_domains_come_from_one_place(items: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, items)


def test_a_config_that_makes_domains_is_read_back() -> None:
    config = load_config(None, ["data.columns.domain=null", "data.domains={clusters: auto}"])
    assert config.data.domains is not None
    assert config.data.domains.clusters == "auto"
    assert load_config_text(dump_config(config)) == config
    assert "domains" not in load_config().model_dump(mode="json")["data"]


def test_named_domains_are_read_back_in_their_order() -> None:
    named = "data.domains={names: {returns: null, billing: invoices}}"
    teacher = "teacher={kind: openai, model: m, base_url: http://127.0.0.1:1/v1}"
    config = load_config(None, ["data.columns.domain=null", named, teacher])
    again = load_config_text(dump_config(config))
    assert again == config
    assert again.data.domains is not None
    assert list((again.data.domains.names or {}).items()) == [
        ("returns", ""),
        ("billing", "invoices"),
    ]
    plain = load_config(None, ["data.columns.domain=null", "data.domains={names: [b, a]}", teacher])
    assert plain.data.domains is not None
    assert plain.data.domains.names == {"b": "", "a": ""}
    assert plain.data.domains.sample == 500


UNLABELLED = ["data.columns.answer=null", "rationale.sees=question", "rationale.accept=majority"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], ["data.evaluation", "data.columns.evaluation_answer", "evaluation.gold=teacher"]),
        (
            ["data.columns.evaluation_answer=a", "evaluation.gold=teacher"],
            ["for an evaluation set without gold answers", "evaluation.gold=corpus"],
        ),
        (
            ["evaluation.gold=teacher", "evaluation.teacher=true"],
            ["the teacher against itself", "evaluation.gold=corpus"],
        ),
        (["data.columns.evaluation_answer=a", "data.train=x"], ["data.evaluation"]),
        (["data.columns.evaluation_answer=a", "budget.policy=errors"], ["budget.policy=adaptive"]),
        (["data.columns.evaluation_answer=a", "selection.metric=wrong"], ["metric=disagreement"]),
        (["data.columns.evaluation_answer=a", "budget.policy=gain"], ["budget.policy=gain marks"]),
        (["data.columns.evaluation_answer=a", "tail.seeds=wrong"], ["tail.seeds=random"]),
        (["data.columns.evaluation_answer=a", "selection.text=gold"], ["selection.text=own"]),
    ],
)
def test_what_needs_gold_answers_is_refused_without(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [*UNLABELLED, *overrides])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_corpus_without_gold_answers_is_labelled_by_the_teacher() -> None:
    labelled = ["data.columns.evaluation_answer=answer"]
    config = load_config(None, [*UNLABELLED, *labelled])
    assert load_config_text(dump_config(config)) == config
    assert (config.rationale.votes, config.teacher_explains) == (3, True)
    # they mark the student's answers to training rows, or score their gold answers
    marks = {"baldistill-e", "baldistill-g", "llm2llm", "active-synthesis"}
    marks |= {"superfiltering", "cherry"}
    for method in set(METHODS) - marks:
        of_method = load_config(None, [*UNLABELLED, *labelled], method)
        assert of_method.teacher_explains, "labels without rationales are the teacher's, too"
    assert not load_config(None, [], "random-ft").teacher_explains


def test_options_of_unlabelled_corpora_are_not_in_the_dumps_of_others() -> None:
    """Their steps are those of folders that were written before there was such an option."""
    text = dump_config(load_config())
    assert not [
        word
        for word in ("sees:", "accept:", "evaluation_answer:", "gold:", "samples:", "seeds:")
        if word in text
    ]


def test_diversity_is_refused_before_anything_starts_where_it_cannot_work() -> None:
    vllm = ["student.engine=vllm", "selection.diversity=kmeans"]
    with pytest.raises(ConfigError, match=r"hidden states, which vLLM .* student.engine=transf"):
        load_config(None, vllm)
    load_config(None, ["student.engine=vllm", "selection.diversity=alps"])
    with pytest.raises(ConfigError, match=r"set selection.candidates_per_quota=10 or higher"):
        load_config(None, ["selection.diversity=cal", "selection.diversity_pool=10"])
    both = ["selection.diversity_pool=10", "selection.candidates_per_quota=10"]
    load_config(None, ["selection.diversity=cal", *both])
    assert "diversity" not in dump_config(load_config(None, [])), "old folders go on"


def test_a_window_that_no_share_meets_is_refused() -> None:
    window = load_config(None, ["tail.window=true"]).tail.window
    assert window is not None
    assert (window.low, window.high, window.samples) == (0.125, 0.875, 8)
    for none in ("{low: 0.9, high: 0.1}", "{low: 0.3, high: 0.45, samples: 2}"):
        with pytest.raises(ConfigError, match=r"tail.window: no number of . answers is a share"):
            load_config(None, [f"tail.window={none}"])
    assert "window" not in dump_config(load_config(None, [])), "old folders go on"


JUDGE = "judge={teacher: {kind: openai, model: m}, rubric: rubric.md}"


def test_a_judge_is_one_more_model_behind_the_ledger() -> None:
    config = load_config(None, ["data.task=judged", JUDGE])
    assert [model.kind for model in config.models_asked] == ["transformers", "openai"]
    assert load_config_text(dump_config(config)) == config
    assert "judge" not in dump_config(load_config())
    mixed = load_config(None, ["data.domain_tasks={sums: judged}", JUDGE])
    assert (mixed.is_judged("sums", real=True), mixed.is_judged("others", real=True)) == (1, 0)
    anyone = load_config(None, ["rationale={sees: question, accept: judge}", JUDGE])
    assert (anyone.is_judged("a", real=True), anyone.is_judged("a")) == (True, False)
    bare = ["data.task=judged", JUDGE, "rationale={sees: question, accept: judge}"]
    assert load_config(None, [*bare, "data.columns.answer=null"]).data.columns.answer is None


def test_thoughts_are_taught_where_they_are_about_the_question() -> None:
    keeps = ["rationale={keep: thoughts, sees: question}"]
    assert load_config(None, keeps).rationale.keep == "thoughts"
    assert " keep:" not in dump_config(load_config())
    with pytest.raises(ConfigError, match=r"set rationale\.sees=question"):
        load_config(None, ["rationale.keep=thoughts"])
    with pytest.raises(ConfigError, match=r"keep=thoughts is about rationales.*target=rationale"):
        load_config(None, [*keeps, "student.target=label"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.task=judged"], "there is none: set judge="),
        (["rationale={sees: question, accept: judge}"], r"rationale\.accept=judge lets a judge"),
        ([JUDGE], "judge decides nothing here"),
        (["data.task=judged", JUDGE, "judge.accept=6"], "at most 5: set judge.accept=4"),
        (["data.task=judged", JUDGE, "judge.accept=1"], "above the lowest score 1"),
        (["data.task=judged", JUDGE, "judge.scale=[5, 1]"], r"such as \[1, 5\]"),
        (["data.task=judged", "judge={teacher: {kind: replay, path: x}, rubric: r}"], "knows none"),
        (["data.task=judged", JUDGE, "rationale={sees: question, accept: majority}"],
         r"set rationale\.accept=judge"),
        (["data.task=judged", JUDGE, "tail.seeds=wrong"], r"set tail\.seeds=random"),
        (["data.task=judged", JUDGE, "tail.window=true"], r"set tail\.window=false"),
        (["data.task=judged", JUDGE, "selection.metric=wrong"], r"set selection\.metric=ifd"),
        (["data.task=judged", JUDGE, "budget.policy=errors"], r"set budget\.policy=adaptive"),
        (["data.task=judged", "judge={teacher: vllm, rubrik: r}"], "rubrik"),
    ],
)  # fmt: skip
def test_what_a_judge_cannot_do_is_told_with_the_way_out(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(None, overrides)
