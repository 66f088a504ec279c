"""bespokelabs-curator and distilabel on the same loopback server, where they are installed.

BALDISTILL_PEERS names a folder with a virtual environment for each, called `curator` and
`distilabel` (see docs/teachers-http.md); their pins do not go together with ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from loopback import prompt, server

CURATOR = """
import json, os, sys, time
import litellm
os.environ["TIKTOKEN_CACHE_DIR"] = os.path.join(os.path.dirname(litellm.__file__),
                                                "litellm_core_utils", "tokenizers")
from bespokelabs import curator
url, concurrency, prompts = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)
llm = curator.LLM(model_name="m", backend="openai", generation_params={"max_tokens": 96},
                  backend_params={"base_url": url, "api_key": "none",
                                  "max_concurrent_requests": concurrency,
                                  "max_requests_per_minute": 10**6,
                                  "max_tokens_per_minute": 10**9, "max_retries": 10,
                                  "seconds_to_pause_on_rate_limit": 1})
start = time.monotonic()
answers = llm(prompts)
rows = getattr(answers, "dataset", answers)
print(json.dumps({"answers": len(rows), "rate": len(prompts) / (time.monotonic() - start)}))
"""

DISTILABEL = """
import json, sys, time
from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
url, concurrency, prompts = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)
if __name__ == "__main__":
    with Pipeline(name="http", cache_dir=sys.argv[3]) as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": p} for p in prompts],
                                 batch_size=concurrency)
        llm = OpenAILLM(model="m", base_url=url, api_key="none", max_retries=10,
                        generation_kwargs={"max_new_tokens": 96})
        ask = TextGeneration(llm=llm, input_batch_size=concurrency)
        load >> ask
    start = time.monotonic()
    answers = pipeline.run()["default"]["train"]
    print(json.dumps({"answers": len(answers),
                      "rate": len(prompts) / (time.monotonic() - start)}))
"""

SCRIPTS = {"curator": CURATOR, "distilabel": DISTILABEL}


def start_peer(
    name: str, number: int, concurrency: int, url: str, folder: str
) -> subprocess.Popen[str]:
    """Start one on `number` prompts; its cache is in `folder`, its result its last line."""
    python = Path(os.environ["BALDISTILL_PEERS"]) / name / "bin" / "python"
    script = Path(folder) / f"ask_{name}.py"  # distilabel's processes import it again
    script.write_text(SCRIPTS[name])
    asked = Path(folder) / "prompts.json"
    asked.write_text(json.dumps([prompt(i) for i in range(number)]))
    environment = {
        **os.environ, "TELEMETRY_ENABLED": "false", "CURATOR_CACHE_DIR": f"{folder}/cache",
        "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none", "HOME": folder, "PYTHONPATH": "",
        "CURATOR_DISABLE_RICH_DISPLAY": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }  # fmt: skip
    return subprocess.Popen(
        [str(python), str(script), url, str(concurrency), f"{folder}/cache"],
        stdin=asked.open(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip


def run_peers(
    number: int, concurrency: int, say: Callable[[str], None]
) -> dict[str, dict[str, float | None]]:
    """Return the requests a second of each peer, with and without refusals."""
    rates: dict[str, dict[str, float | None]] = {}
    for name in SCRIPTS:
        rates[name] = {}
        for title, latency, refuse in (
            ("200ms", 0.2, 0.0), ("500ms", 0.5, 0.0), ("500ms_refused", 0.5, 0.1)
        ):  # fmt: skip
            with (
                tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as folder,
                server(latency, refuse) as url,
            ):
                process = start_peer(name, number, concurrency, url, folder)
                rates[name][title] = _result(process)
            say(f"{name}, {title}: {rates[name][title]} requests/s")
    return rates


def _result(process: subprocess.Popen[str]) -> float | None:
    """Return the rate that a peer printed last; None if it gave up or took over five minutes."""
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        return None
    lines = [line for line in output.splitlines() if line.startswith('{"answers"')]
    return float(json.loads(lines[-1])["rate"]) if lines else None
