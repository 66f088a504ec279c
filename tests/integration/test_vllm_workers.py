"""One vLLM engine on several GPUs, its workers where Ray has reserved them; without a GPU here.

Ray is told of GPUs that are not there. vLLM runs on the CPU, on a platform of its own (a plugin of
vLLM's) that calls its devices GPUs as CUDA does; all else is what runs on real ones: the bundles,
vLLM's Ray backend, its worker on each bundle, tensor parallelism between them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef, Request, Sampling

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM has no build for this machine"
    ),
]

PLATFORM = """
from vllm.platforms.cpu import CpuPlatform

class CountedCpus(CpuPlatform):
    ray_device_key = "GPU"

def register():
    return "counted_cpus.CountedCpus"
"""

SCRIPT = """
import json, sys
import ray
from rays import started
from baldistill.config.engines import VllmOptions
from baldistill.generation.pool import Pool
from baldistill.generation.types import ModelRef
from baldistill.generation.types import Request, Sampling

def gpus(actor):
    executor = actor._engine._engine.engine_core.engine_core.model_executor
    return executor.parallel_config.assigned_physical_gpu_ids

@ray.remote(num_gpus=1)
class Other:
    def gpus(self):
        return [int(gpu) for gpu in ray.get_gpu_ids()]

started(lambda: ray.init(address="local", num_cpus=3, num_gpus=3, include_dashboard=False,
                         log_to_driver=False, object_store_memory=2**27))
other = Other.remote()
taken = ray.get(other.gpus.remote())
options = VllmOptions(tensor_parallel_size=2, engine_kwargs={"kv_cache_memory_bytes": 2**27})
pool = Pool.start(options, ModelRef("bundled-teacher"), replicas=1, bundle={"CPU": 1, "GPU": 1},
                  batch_size=16, bundles=2)
prompts = json.loads(sys.argv[1])
answers = pool.generate([Request(str(i), p) for i, p in enumerate(prompts)], Sampling(96))
workers = ray.get(pool.actors[0].__ray_call__.remote(gpus))
print(json.dumps({"taken": taken, "workers": workers, "texts": [a.text for a in answers]}))
"""


def test_workers_are_on_the_gpus_reserved_for_them_and_answer_as_one(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(_plugin(tmp_path)), os.environ.get("PYTHONPATH", "")]),
    }
    prompts = [
        f"Question: What is {10 + i} plus {i}?\nGold answer: {10 + 2 * i}\n" for i in range(8)
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(prompts)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert sorted(told["taken"] + told["workers"]) == [0, 1, 2]
    engine = TransformersEngine()
    engine.load(ModelRef("bundled-teacher"))
    requests = [Request(str(number), prompt) for number, prompt in enumerate(prompts)]
    expected = engine.generate(requests, Sampling(96))
    assert told["texts"] == [answer.text for answer in expected]


def _plugin(folder: Path) -> Path:
    """A folder that Python takes for an installed package with an entry point."""
    site = folder / "site"
    about = site / "counted_cpus-0.dist-info"
    about.mkdir(parents=True)
    (site / "counted_cpus.py").write_text(PLATFORM)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: counted-cpus\nVersion: 0\n")
    entry = "[vllm.platform_plugins]\ncounted_cpus = counted_cpus:register\n"
    (about / "entry_points.txt").write_text(entry)
    return site
