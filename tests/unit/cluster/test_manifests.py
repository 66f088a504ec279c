"""What cluster/ ships: read by Ray and by KubeRay's schema, and agreeing with the package."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import (
    _default_utilization_scorer,
    get_nodes_for,
)
from ray.autoscaler._private.util import prepare_config, validate_config

from baldistill.config.loading import load_config, validate
from baldistill.placement.resources import Cluster, place
from baldistill.yaml12 import read_yaml

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = ROOT / "cluster"
TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCHEMA = json.loads((Path(__file__).parent / "kuberay_v1_6_2.schema.json").read_text())
LAUNCHED, KUBERAY = ["aws", "gcp"], ["raycluster", "rayjob"]


def load(name: str) -> Any:
    return yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())


def cluster_spec(name: str) -> Any:
    spec = load(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def node_types(name: str) -> dict[str, Any]:
    """The node types as Ray's autoscaler reads them."""
    if name in LAUNCHED:
        config = prepare_config(copy.deepcopy(load(name)))
    else:
        metadata = {"name": "baldistill", "namespace": "default"}
        resource = {"metadata": metadata, "spec": cluster_spec(name)}
        config = _derive_autoscaling_config_from_ray_cr(resource)
    validate_config(config)
    types = config["available_node_types"]
    return {"head" if "head" in name else name: node for name, node in types.items()}


@pytest.mark.parametrize("name", LAUNCHED + KUBERAY)
def test_ray_reads_node_types_for_teacher_and_student(name: str) -> None:
    types = node_types(name)
    assert set(types) == {"head", "data", "teacher", "student"}
    assert "GPU" not in types["head"]["resources"]
    assert types["head"]["max_workers"] == 0
    assert "GPU" not in types["data"]["resources"]
    assert types["data"]["resources"]["CPU"] > types["head"]["resources"]["CPU"]
    assert types["data"]["max_workers"] > types["data"]["min_workers"] == 0
    for role in ("teacher", "student"):
        resources = types[role]["resources"]
        assert resources[role] == resources["GPU"] > 0, "one unit of the resource for each GPU"
        assert any(key.startswith("accelerator_type:") for key in resources)
        assert types[role]["max_workers"] > types[role]["min_workers"] == 0


@pytest.mark.parametrize("name", LAUNCHED + KUBERAY)
def test_a_pass_over_the_corpus_starts_nodes_without_gpus(name: str) -> None:
    types = node_types(name)
    started, unmet = get_nodes_for(
        types,
        existing_nodes={"head": 1},
        head_node_type="head",
        max_to_add=10,
        resources=[{"CPU": 1.0}] * 100,  # as Ray Data asks
        utilization_scorer=partial(
            _default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({})
        ),
    )
    assert (set(started), unmet) == ({"data"}, [])


def test_the_example_lists_the_nodes_of_aws_yaml() -> None:
    types = node_types("aws")
    expected = [(max(1, node["max_workers"]), node["resources"]) for node in types.values()]
    nodes = load_config(ROOT / "examples" / "cluster.yaml").cluster.nodes
    assert [(node.count, node.resources) for node in nodes] == expected


@pytest.mark.parametrize("name", LAUNCHED + KUBERAY)
def test_the_example_fits_every_cluster_when_it_has_grown(name: str) -> None:
    nodes = [
        {key: float(amount) for key, amount in node["resources"].items() if key != "memory"}
        for node in node_types(name).values()
        for _ in range(max(1, node["max_workers"]))
    ]
    config = load_config(ROOT / "examples" / "cluster.yaml", ["cluster.nodes=[]"])
    placement = place(config, Cluster(tuple(nodes)))
    assert (placement.teachers[0].replicas, placement.num_workers) == (4, 8)
    assert not placement.take_turns


def test_the_options_in_the_docs_exist() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        validate(read_yaml(block), "docs/cluster.md")


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberays_schema_holds(name: str) -> None:
    jsonschema.validate(load(name), SCHEMA)


def break_at(path: tuple[str | int, ...], value: Any) -> Any:
    manifest = load("rayjob")
    node = manifest
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return manifest


HEAD = ("spec", "rayClusterSpec", "headGroupSpec")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("apiVersion",), "ray.io/v1alpha1"),
        (("spec", "entryPoint"), "baldistill run"),
        (("spec", "ttlSecondsAfterFinished"), "600"),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        ((*HEAD, "rayStartParams"), {"num-cpus": 0}),
        ((*HEAD, "template", "spec", "containers", 0, "resources", "limits", "cpu"), "8 cores"),
    ],
)
def test_the_schema_tells_a_broken_manifest(path: tuple[str | int, ...], value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(break_at(path, value), SCHEMA)


def test_a_ray_job_runs_on_the_cluster_of_raycluster_yaml() -> None:
    assert cluster_spec("rayjob") == cluster_spec("raycluster")


def pods(name: str) -> Iterator[Any]:
    spec = cluster_spec(name)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        yield group["template"]["spec"]


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_have_shared_memory_and_keys_from_the_secret(name: str) -> None:
    for pod in pods(name):
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        paths = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(paths.values()) == set(volumes)
        assert volumes[paths["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        sources = {item["name"]: item.get("valueFrom") for item in container["env"]}
        for key in ("OPENAI_API_KEY", "HF_TOKEN"):
            assert sources[key]["secretKeyRef"]["name"] == "baldistill"
    assert cluster_spec(name)["authOptions"] == {"mode": "token", "secretName": "baldistill"}


@pytest.mark.parametrize("name", KUBERAY)
def test_nothing_is_reported_to_the_makers_of_ray(name: str) -> None:
    for pod in pods(name):
        values = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        assert values["RAY_USAGE_STATS_ENABLED"] == "0"
    image = (CLUSTER / "Dockerfile").read_text()
    assert "\nENV RAY_USAGE_STATS_ENABLED=0\n" in image, "aws.yaml and gcp.yaml use it, too"


def patched(manifest: Any) -> Any:
    """rayjob.yaml as `kubectl apply -k cluster` sends it."""
    settings = load("kustomization")
    assert settings["resources"] == ["rayjob.yaml"]
    ((patch, target),) = [(one["patch"], one["target"]) for one in settings["patches"]]
    assert target == {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}
    for step in yaml.safe_load(patch):
        *path, last = step["path"].strip("/").replace("~1", "/").split("/")
        node = manifest
        for part in path:
            node = node[int(part) if isinstance(node, list) else part]
        assert (step["op"] == "add") == (last not in node), step
        if step["op"] == "remove":
            del node[last]
        else:
            node[last] = step["value"]
    return manifest


def test_kueue_takes_the_job() -> None:
    """Its rules for a RayJob: it starts the job, knows the size, and sees the cluster end."""
    job = patched(load("rayjob"))
    jsonschema.validate(job, SCHEMA)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    assert job["spec"]["suspend"] is True
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is False
    groups = cluster["workerGroupSpecs"]
    assert len(groups) <= 7
    assert all(g["minReplicas"] <= g["replicas"] <= g["maxReplicas"] for g in groups)
    assert all(group["replicas"] > 0 for group in groups)


@pytest.mark.parametrize("name", LAUNCHED)
def test_launched_nodes_get_keys_and_token_from_a_secret(name: str) -> None:
    config = load(name)
    assert any(
        option == "--env-file /home/ubuntu/baldistill.env"
        for option in config["docker"]["run_options"]
    )
    assert any("secret" in command for command in config["initialization_commands"])
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


def ray_pin() -> str:
    (pin,) = (line for line in PROJECT["dependencies"] if line.startswith("ray["))
    return str(re.fullmatch(r"ray\[.*\]==(\S+)", pin)[1])  # type: ignore[index]


def test_the_image_has_the_pinned_ray_and_a_python_that_the_package_takes() -> None:
    text = (CLUSTER / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    assert arguments["RAY_VERSION"] == ray_pin()
    major, minor = re.fullmatch(r"py(\d)(\d+)", arguments["PYTHON_TAG"]).groups()  # type: ignore[union-attr]
    assert PROJECT["requires-python"] == f">={major}.{minor}"
    assert set(arguments["EXTRAS"].split(",")) <= set(PROJECT["optional-dependencies"])
    # every other version comes from pyproject.toml itself, at build time
    assert not re.search(r"[=<>]=\s*\d", text)


def test_the_images_requirements_are_those_of_pyproject() -> None:
    text = (CLUSTER / "Dockerfile").read_text().replace("\\\n", "")
    code = re.search(r'RUN python -c "(.*?)" "\$\{EXTRAS\}"', text)
    assert code is not None
    done = subprocess.run(
        [sys.executable, "-c", code[1], "jobs,math"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    extras = PROJECT["optional-dependencies"]
    assert done.stdout.splitlines() == [*PROJECT["dependencies"], *extras["jobs"], *extras["math"]]


def test_the_image_has_what_the_package_is_built_from() -> None:
    copied = re.findall(r"^COPY --chown=ray (.+) \S+$", (CLUSTER / "Dockerfile").read_text(), re.M)
    wheel = TOOL["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["shared-data"], PROJECT["readme"], "LICENSE"}
    assert needed <= {name for names in copied for name in names.split()}


def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.prefix) / "bin" / "hadolint"
    if not linter.exists():
        pytest.skip("hadolint has no build for this machine")
    done = subprocess.run(
        [linter, CLUSTER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_ray_and_image_versions_agree_everywhere() -> None:
    for name in KUBERAY:
        assert cluster_spec(name)["rayVersion"] == ray_pin()
    tags = {
        tag
        for path in CLUSTER.iterdir()
        for tag in re.findall(r"REGISTRY/baldistill:([\w.]+)", path.read_text())
    }
    assert tags == {PROJECT["version"]}
