from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from baldistill.core.label_sets import Labels
from baldistill.errors import ConfigError
from baldistill.generation.types import Message
from baldistill.teacher.prompts import PromptSet, load_prompts
from baldistill.yaml12 import write_yaml
from tools.bundled_models import formats

SHOWN = [{"question": "What is 1 plus 1?", "answer": "2"}, {"question": "2 < 3?", "answer": "y&n"}]
TEMPLATES: dict[str, object] = {
    "student": "Q: {{ question }}\n",
    "rationale": [{"role": "user", "content": "{{ question }} -> {{ answer }}"}],
    "solve": "Solve {{ question }}\n",
    "synthesis": "{% for d in demonstrations %}{{ d.question }}{% endfor %}\n",
}


def written(tmp_path: Path, **changes: object) -> str:
    path = tmp_path / "prompts.yaml"
    entries = {key: value for key, value in {**TEMPLATES, **changes}.items() if value is not None}
    path.write_text(write_yaml(entries), "utf-8")
    return str(path)


def texts(prompts: PromptSet) -> list[str]:
    rendered = [
        prompts.render("student", question="What is 3 < 4?", domain="sums"),
        prompts.render("rationale", question="What is 3 < 4?", answer="yes", domain="sums"),
        prompts.render("solve", question="What is 3 < 4?", domain="sums"),
        prompts.render("synthesis", demonstrations=SHOWN, domain="sums"),
    ]
    return [p if isinstance(p, str) else "\n".join(turn.content for turn in p) for p in rendered]


EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples" / "prompts").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_prompts_are_whole_sets_of_their_own(path: Path) -> None:
    prompts, plain = load_prompts(str(path), model="any"), load_prompts("instruct", model="any")
    assert prompts.templates.keys() == plain.templates.keys()
    # the others are of any set
    for purpose in ("student", "rationale", "solve", "synthesis", "explain"):
        assert prompts.templates[purpose] != plain.templates[purpose]
    assert texts(prompts)[1].endswith('"Answer: " and the final answer alone.')


@pytest.mark.parametrize("name", ["instruct", "compact"])
def test_shipped_sets_show_what_they_are_given_unescaped(name: str) -> None:
    student, rationale, solve, synthesis = texts(load_prompts(name, model="any"))
    for text in (student, rationale, solve):
        assert "What is 3 < 4?" in text
    assert "yes" in rationale
    assert "yes" not in student + solve
    assert "sums" in synthesis
    for shown in SHOWN:
        assert f"Question: {shown['question']}\nAnswer: {shown['answer']}\n" in synthesis


def test_the_compact_set_is_what_the_bundled_models_were_trained_on() -> None:
    prompts = load_prompts("compact", model="bundled")
    student, rationale, solve, synthesis = texts(prompts)
    assert student == solve == formats.solve_prompt("What is 3 < 4?")
    assert rationale == formats.rationale_prompt("What is 3 < 4?", "yes")
    shown = [(example["question"], example["answer"]) for example in SHOWN]
    assert synthesis == formats.synthesis_prompt("sums", shown)


@pytest.mark.parametrize(("model", "name"), [("bundled", "compact"), ("org/model", "instruct")])
def test_auto_goes_by_the_model(model: str, name: str) -> None:
    assert load_prompts("auto", model=model) == load_prompts(name, model=model)


def test_a_users_file_may_mix_texts_and_chats(tmp_path: Path) -> None:
    prompts = pickle.loads(pickle.dumps(load_prompts(written(tmp_path), model="any")))
    assert prompts.render("student", question="q", domain="d") == "Q: q\n"
    rationale = prompts.render("rationale", question="q", answer="a", domain="d")
    assert rationale == (Message("user", "q -> a"),)


@pytest.mark.parametrize("name", ["instruct", "compact"])
def test_a_student_that_learns_both_is_asked_for_the_answer_alone(name: str) -> None:
    plain = load_prompts(name, model="any")
    assert plain.for_target("rationale") == plain.for_target("label") == plain
    both = plain.for_target("both")
    asked = both.render("student", question="1 < 2?", domain="d")
    assert asked == plain.render("predict", question="1 < 2?", domain="d")
    assert asked != plain.render("student", question="1 < 2?", domain="d")
    assert asked != both.render("explain", question="1 < 2?", domain="d")
    assert "step" not in str(asked)
    chat = both.render("explain", question="And 3?", domain="d", context=CONTEXT)
    assert (len(chat) == 4) if name == "instruct" else ("User: Hello" in chat)


def test_a_set_without_prompts_for_both_serves_other_targets_alone(tmp_path: Path) -> None:
    prompts = load_prompts(written(tmp_path, predict="Short: {{ question }}\n"), model="any")
    assert prompts.for_target("label") == prompts
    with pytest.raises(
        ConfigError, match="needs the entries predict and explain, and there is no explain"
    ):
        prompts.for_target("both")
    with pytest.raises(ConfigError, match="entry explain does not show the question"):
        load_prompts(written(tmp_path, explain="Why?"), model="any")


def test_a_question_is_no_template() -> None:
    prompts = load_prompts("compact", model="bundled")
    assert (
        prompts.render("student", question="{{ 1 + 1 }}", domain="d") == "Question: {{ 1 + 1 }}\n"
    )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"solve": None}, "needs exactly the entries student, rationale, solve, synthesis"),
        ({"other": "text"}, "needs exactly the entries"),
        ({"student": "{{ question }} {{ answer }}"}, "entry student: 'answer' is undefined"),
        ({"student": "{{ question"}, "entry student"),
        ({"student": "{{ question.__class__ }}"}, "entry student: access to attribute '__class__'"),
        ({"student": "{{ ''.__class__.__mro__ }}"}, "entry student: access to attribute"),
        ({"student": "{{ question + 1 }}"}, "entry student: can only concatenate str"),
        ({"student": "{{ 1 / 0 }}"}, "entry student: division by zero"),
        ({"student": "{% for i in range(10 ** 9) %}x{% endfor %}"}, "entry student: Range too big"),
        ({"student": "Answer the question."}, "entry student does not show the question"),
        ({"synthesis": "{{ domain }}"}, "entry synthesis does not show the demonstrations"),
        ({"student": 5}, "entry student must be a text or a list of role and content"),
        ({"student": []}, "entry student must be a text or"),
        ({"student": [{"role": "user"}]}, "entry student must be a text or"),
        (
            {"student": [{"role": "user", "content": None}]},
            "entry student must be a text or",
        ),
    ],
)
def test_templates_that_cannot_work(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(ConfigError) as raised:
        load_prompts(path, model="any")
    assert str(raised.value).startswith(f"prompts {path}: ")
    assert complaint in str(raised.value)


def test_a_template_that_fails_on_one_question_only_names_its_entry(tmp_path: Path) -> None:
    trap = "{{ question }}{% if question == 'x' %}{{ question.__class__ }}{% endif %}"
    prompts = load_prompts(written(tmp_path, student=trap), model="any")
    assert prompts.render("student", question="y", domain="d") == "y"
    with pytest.raises(ConfigError, match="entry student: access to attribute '__class__'"):
        prompts.render("student", question="x", domain="d")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"a: [", "not valid YAML"), (b"\xff\xfe", "not UTF-8"), (b"[]", "needs exactly")],
)
def test_files_that_are_no_prompt_set(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "broken.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        load_prompts(str(tmp_path / "broken.yaml"), model="any")


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(ConfigError, match="'nope': neither `instruct`, `compact` nor a file"):
        load_prompts("nope", model="any")


def test_classification_prompts_list_the_labels() -> None:
    plain = load_prompts("instruct", model="any")
    prompts = plain.with_labels(Labels({"news": ("acq", "earn")}))
    for purpose in ("student", "solve", "rationale"):
        values = {"question": "Profit rose.", "answer": "earn"}
        shown = str(prompts.render(purpose, domain="news", **values))
        assert "Answer with one of these labels: acq, earn." in shown
        other = prompts.render(purpose, domain="sums", **values)
        assert other == plain.render(purpose, domain="sums", **values)
        assert "labels" not in str(other)
    assert prompts.labels_of("news") == ("acq", "earn")
    assert prompts.labels_of("sums") is None
    assert pickle.loads(pickle.dumps(prompts)) == prompts


def test_the_shipped_prompts_ask_for_json_where_the_answer_is_to_be_json() -> None:
    prompts = load_prompts("instruct", model="any")
    plain, structured = (
        str(prompts.render("synthesis", domain="sums", demonstrations=SHOWN, structured=wanted))
        for wanted in (False, True)
    )
    assert "Question: the question, complete" in plain
    assert "JSON" not in plain
    assert '"question": the question, complete' in structured
    assert "Question: the question, complete" not in structured


CONTEXT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
]


def test_the_student_is_shown_a_chat_turn_by_turn(tmp_path: Path) -> None:
    prompts = load_prompts("instruct", model="any")
    *before, last = prompts.render("student", question="And 2 + 2?", domain="d", context=CONTEXT)
    assert before == [Message(turn["role"], turn["content"]) for turn in CONTEXT]
    assert last == prompts.render("student", question="And 2 + 2?", domain="d")[0]
    turns = [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "{{ question }}"},
    ]
    own = load_prompts(written(tmp_path, student=turns), model="any")
    shown = own.render("student", question="2 + 2?", domain="d", context=CONTEXT)
    assert [turn.content for turn in shown] == [
        "Add.\n\nBe brief.", "1 + 1?", "2", "Hello", "Hi", "2 + 2?",
    ]  # fmt: skip
    assert [turn.role for turn in shown[1:]] == ["user", "assistant"] * 2 + ["user"]


def test_teachers_and_plain_texts_get_the_chat_as_a_text() -> None:
    text = "System: Be brief.\n\nUser: Hello\n\nAssistant: Hi\n\nUser: And 2 + 2?"
    chat = {"question": "And 2 + 2?", "domain": "d", "context": CONTEXT}
    alone = {"question": text, "domain": "d"}
    for name, purpose in (("instruct", "rationale"), ("compact", "student"), ("compact", "solve")):
        prompts = load_prompts(name, model="any")
        more = {"answer": "4"} if purpose == "rationale" else {}
        assert prompts.render(purpose, **chat, **more) == prompts.render(purpose, **alone, **more)
