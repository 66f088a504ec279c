"""`baldistill publish`: a student with its card, as a folder and on the hub."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import peft
import pytest
import torch
from runs import FINISHED, mistake, without_login
from servers.hub import Hub, hub
from transformers import AutoModelForCausalLM

import baldistill
from baldistill.bundled import model_dir
from baldistill.config.loading import dump_config, load_config
from baldistill.errors import UserError

MADE = {"README.md", "Modelfile"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two stages; its second student is a model that can write."""
    run = Path(shutil.copytree(FINISHED, tmp_path / "run"))
    shutil.copytree(model_dir("teacher"), run / "stages/02/student", dirs_exist_ok=True)
    config = run / "config.yaml"
    config.write_text(re.sub(r"max_new_tokens: \d+", "max_new_tokens: 96", config.read_text()))
    return run


def python_of(card: str) -> str:
    return card.partition("```python\n")[2].partition("```")[0]


def test_a_dry_run_writes_a_model_that_answers_as_its_card_says(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = baldistill.publish(run, "me/puzzles", dry_run=True)
    folder = run / "publish"
    assert (done.stage, done.folder, done.address) == (2, str(folder), None)
    student = run / "stages/02/student"
    assert {path.name for path in folder.iterdir()} == set(done.files)
    assert set(done.files) == {path.name for path in student.iterdir()} | MADE
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (folder / name).read_bytes() == (student / name).read_bytes()
    generation = json.loads((folder / "generation_config.json").read_text())
    assert (generation["max_new_tokens"], generation["do_sample"]) == (96, False)
    question = "What is 12 plus 30?"
    code = python_of((folder / "README.md").read_text("utf-8"))
    code = code.replace('"me/puzzles"', repr(str(folder))).replace('"..."', repr(question))
    exec(code, {})
    assert capsys.readouterr().out.rstrip("\n") == baldistill.RunStudent(run).ask(question).text


def test_a_student_that_learnt_both_is_asked_for_the_answer_alone(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("target: rationale", "target: both"))
    baldistill.publish(run, "me/puzzles", dry_run=True)
    assert "Predict: " in python_of((run / "publish/README.md").read_text("utf-8"))


def test_the_card_has_the_figures_of_the_run(run: Path) -> None:
    baldistill.publish(run, "me/puzzles", stage=2, dry_run=True, out=run / "out")
    card = (run / "out/README.md").read_text("utf-8")
    metrics = json.loads((run / "stages/02/metrics.json").read_text())
    for domain, figure in metrics["per_domain"].items():
        assert re.search(rf"\| {domain} \|.*\| {100 * figure['score']:.1f} \|\n", card)
    assert f"| {100 * metrics['macro']:.1f} |\n" in card
    assert "base_model" not in card, "the bundled student is nowhere on the hub"
    assert "127.0.0.1" not in card, "addresses of servers are nobody's business"
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("  model: bundled\n", "  model: some/base\n"))
    baldistill.publish(run, "me/puzzles", dry_run=True, out=run / "out")
    assert "base_model: some/base\n" in (run / "out/README.md").read_text("utf-8")


def test_the_card_has_the_means_between_macro_and_natural(run: Path) -> None:
    path = run / "_commits/stages/02/metrics.json"
    marker = json.loads(path.read_text())
    marker["figures"] |= {"entropy": 0.4321, "dodrans": 0.5678}
    path.write_text(json.dumps(marker))
    baldistill.publish(run, "me/puzzles", dry_run=True)
    card = (run / "publish/README.md").read_text("utf-8")
    assert re.search(r"\| \*\*entropy-weighted\*\* \|.*\| 43\.2 \|\n", card)
    assert re.search(r"\| \*\*dodrans-weighted\*\* \|.*\| 56\.8 \|\n", card)
    assert "n^(3/4) in `dodrans-weighted` ([Harbecke et al. 2022]" in card


@pytest.fixture
def adapted(run: Path) -> Path:
    """The same run with LoRA: stage 2 has an adapter that changes what the base says."""
    base = model_dir("teacher")
    torch.manual_seed(0)
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    student = run / "stages/02/student"
    model.save_pretrained(student / "adapter")
    model.merge_and_unload().save_pretrained(student)
    options = ["student.lora={rank: 4, keep: true}", f"student.model={base}"]
    config = load_config(run / "config.yaml", [*options, "student.prompts=compact"])
    (run / "config.yaml").write_text(dump_config(config))
    return run


def test_an_adapter_alone_answers_as_its_card_says(
    adapted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = baldistill.publish(adapted, "me/puzzles", adapter=True, dry_run=True)
    folder = adapted / "publish-adapter"
    assert (done.stage, done.folder) == (2, str(folder))
    made = {path.name for path in folder.iterdir()}
    assert made == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    card = (folder / "README.md").read_text("utf-8")
    assert "library_name: peft\n" in card
    assert str(model_dir("teacher")) not in card + (folder / "adapter_config.json").read_text()
    question = "What is 12 plus 30?"
    code = python_of(card).replace('BASE = "teacher"', f"BASE = {str(model_dir('teacher'))!r}")
    code = code.replace('"me/puzzles"', repr(str(folder))).replace('"..."', repr(question))
    exec(code, {})
    said = capsys.readouterr().out.rstrip("\n")
    assert said == baldistill.RunStudent(adapted).ask(question).text
    baldistill.publish(adapted, "me/other", adapter=True, dry_run=True)  # it is replaced


def test_an_adapter_that_is_not_there_is_told(
    run: Path, adapted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("me/puzzles", "--adapter", "--dry-run")
    config = load_config(run / "config.yaml")
    for changed, words in (
        ("student.init=previous", "belongs to the student of stage 1"),
        ("student.lora=null", "have no adapter: they were fine-tuned whole"),
    ):
        written = load_config(run / "config.yaml", [changed])
        (run / "config.yaml").write_text(dump_config(written))
        assert words in mistake(capsys, "publish", str(run), *options)
        (run / "config.yaml").write_text(dump_config(config))
    shutil.rmtree(run / "stages/02/student/adapter")
    said = mistake(capsys, "publish", str(run), *options)
    assert "stages/02/student/adapter is not there" in said
    assert "student.lora.keep=true" in said


def test_a_student_of_chats_keeps_its_template(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("prompts: auto", "prompts: instruct"))
    baldistill.publish(run, "me/puzzles", dry_run=True)
    code = python_of((run / "publish/README.md").read_text("utf-8"))
    assert '"role": "user"' in code
    assert "{question}" in code
    assert "TEMPLATE" not in (run / "publish/Modelfile").read_text("utf-8")


def test_a_folder_of_somebody_else_is_kept(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("my thesis")
    for name in ("README.md", "notes.txt"):
        (mine / name).write_text("my thesis")
        with pytest.raises(UserError, match=r"holds something else"):
            baldistill.publish(run, "me/puzzles", dry_run=True, out=mine)
        assert (mine / name).read_text() == "my thesis"
    baldistill.publish(run, "me/puzzles", dry_run=True, stage=2)
    baldistill.publish(run, "me/other", dry_run=True)  # an earlier one is replaced
    assert "# me/other\n" in (run / "publish/README.md").read_text("utf-8")


def test_an_upload_is_private_and_whole(run: Path, tmp_path: Path) -> None:
    with hub() as server:
        here = {"HF_ENDPOINT": server.endpoint, "HF_TOKEN": Hub.token}
        status, said = without_login(
            "publish", str(run), "me/puzzles", "--json", home=tmp_path, **here
        )
        assert status == 0, said
        done = json.loads(said.splitlines()[-1])
        assert done["address"] == f"{server.endpoint}/me/puzzles"
        assert server.private == {"me/puzzles": True}
        assert set(server.files) == {f"me/puzzles/{name}" for name in done["files"]}
        weights = (run / "stages/02/student/model.safetensors").read_bytes()
        assert server.files["me/puzzles/model.safetensors"] == weights
        status, said = without_login(
            "publish", str(run), "me/puzzles", home=tmp_path, **here | {"HF_TOKEN": Hub.reader}
        )
        assert status == 2
        assert "your token may not write to me/puzzles" in said
    # its server has gone
    status, said = without_login("publish", str(run), "me/puzzles", home=tmp_path, **here)
    assert status == 2
    assert "error: the hub cannot be reached" in said
    assert "try the same command again" in said


def test_what_a_user_can_mend(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # this process is offline
    assert "HF_HUB_OFFLINE is set" in mistake(capsys, "publish", str(run), "me/puzzles")
    assert "no name on the hub" in mistake(capsys, "publish", str(run), "my puzzles")
    for name in ("puzzles", "me/my/puzzles", "me/-puzzles"):
        assert "no name on the hub" in mistake(capsys, "publish", str(run), name, "--dry-run")
    said = mistake(capsys, "publish", str(run), "me/puzzles", "--stage", "1", "--dry-run")
    assert "holds no weights" in said  # the fixture's first student has none
