"""Our pool of vLLM engines against a bare `LLM.generate`, on the same prompts.

    python benchmarks/teacher_vllm.py [--quick] [--prompts 1500] [--rounds 5] [--starts 3]

Both run the bundled teacher with the same arguments, each in a process of its own, and take turns
after a warm-up; so does a third that leaves the length of a step to vLLM. Two processes that do the
same differ by some percent for as long as they live, so all are started several times, and the
ratio is the median of theirs. Beside the tokens per second stand those per second of processor time
(ours with the caller's part), which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

MAX_NEW_TOKENS = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="400 prompts, one start")
    parser.add_argument("--prompts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5, help="of each start")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--ray-data", action="store_true", help="ray.data.llm, too")
    arguments = parser.parse_args()
    number = 400 if arguments.quick else arguments.prompts
    starts = 1 if arguments.quick else arguments.starts

    from baldistill.bundled import DOMAINS, make_example

    rng = random.Random(0)
    made = [make_example(DOMAINS[i % len(DOMAINS)], rng) for i in range(number)]
    prompts = [f"Question: {e.question}\nGold answer: {e.answer}\n" for e in made]
    print(json.dumps(measure(prompts, starts, arguments.rounds, arguments.ray_data)))


def measure(prompts: list[str], starts: int, rounds: int, with_ray_data: bool) -> dict[str, Any]:
    """Return tokens per second of both: medians of each start's rounds, and of the starts."""
    import ray
    import torch

    from baldistill.config.teachers import VllmTeacher
    from baldistill.generation.pool import Pool
    from baldistill.generation.types import ModelRef, Request, Sampling
    from baldistill.generation.vllm.start import environment
    from baldistill.placement.cluster import connected

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.update(environment())
    gpus, cores = torch.cuda.device_count(), len(os.sched_getaffinity(0))
    requests = [Request(str(i), prompt) for i, prompt in enumerate(prompts)]
    sampling = Sampling(MAX_NEW_TOKENS)
    context = multiprocessing.get_context("spawn")

    def start(replicas: int) -> Pool:
        bundle, model = {"CPU": 1.0, "GPU": float(min(gpus, 1))}, ModelRef("bundled-teacher")
        return Pool.start(VllmTeacher(), model, replicas=replicas, bundle=bundle, batch_size=64)

    def used(pool: Pool) -> float:
        times = [a.__ray_call__.remote(lambda _: time.process_time()) for a in pool.actors]
        return time.process_time() + float(sum(ray.get(times)))

    def speed(pool: Pool) -> tuple[float, float, list[list[int]]]:
        processor, begin = used(pool), time.monotonic()
        answers = pool.generate(requests, sampling)
        seconds, processor = time.monotonic() - begin, used(pool) - processor
        # a bare engine counts the end-of-sequence token that ours leaves out
        tokens = sum(len(a.token_ids) + (a.finish_reason == "stop") for a in answers)
        return tokens / seconds, tokens / processor, [a.token_ids.tolist() for a in answers]

    if with_ray_data:  # each of its stages takes a CPU: on two it only waits
        ray.init(num_cpus=max(cores, 4), include_dashboard=False, log_to_driver=False)
    with connected():
        ours, reference, default, our_cpu, reference_cpu = (list[float]() for _ in range(5))
        equal: list[bool] = []
        for _ in range(starts):
            bare = [start_bare(context, prompts, own_steps) for own_steps in (False, True)]
            pool = start(1)
            for pipe, _ in bare:
                pipe.recv()  # it is warm
            speed(pool)
            taken: list[tuple[float, float, float, float, float]] = []
            for _ in range(rounds):
                (theirs, their_cpu, bare_tokens), (own, _, _) = (again(pipe) for pipe, _ in bare)
                mine, my_cpu, our_tokens = speed(pool)
                taken.append((mine, theirs, own, my_cpu, their_cpu))
                pairs = zip(our_tokens, bare_tokens, strict=True)
                # but for the end of the sequence
                equal += [a == b[: len(a)] and len(b) <= len(a) + 1 for a, b in pairs]
            for pipe, process in bare:
                pipe.send("end")
                process.join()
            pool.close()
            medians = map(statistics.median, zip(*taken, strict=True))
            for kept, median in zip(
                (ours, reference, default, our_cpu, reference_cpu), medians, strict=True
            ):
                kept.append(median)
        rate = statistics.median(ours)
        two: float | str = f"not measured: {cores} cores and {gpus} GPUs are too few for two"
        if gpus >= 2 or (gpus == 0 and cores >= 4):
            pool = start(2)
            speed(pool)
            two = statistics.median(speed(pool)[0] for _ in range(rounds)) / rate
            pool.close()
        through_ray_data = ray_data_llm(prompts, gpus) if with_ray_data else []
    return {
        "name": "teacher_vllm",
        "ours": rate,
        "reference": statistics.median(reference),
        "ratio": statistics.median(
            mine / theirs for mine, theirs in zip(ours, reference, strict=True)
        ),
        "unit": "tokens/s, one replica, median of the starts",
        "what": f"{len(prompts)} prompts of the bundled teacher, {starts} starts of each with "
        f"{rounds} rounds in turns; the reference is LLM.generate in a process of its own",
        "ours_starts": [round(start) for start in ours],
        "reference_starts": [round(start) for start in reference],
        "default_steps_starts": [round(start) for start in default],
        "ratio_to_default_steps": statistics.median(
            mine / theirs for mine, theirs in zip(ours, default, strict=True)
        ),
        "ours_per_processor_second": statistics.median(our_cpu),
        "reference_per_processor_second": statistics.median(reference_cpu),
        "equal_answers": statistics.mean(equal),
        "two_replicas_over_one": two,
        "ours_seconds": round(sum(map(len, our_tokens)) / rate, 2),
        "ray_data_llm_seconds": through_ray_data,
    }


def ray_data_llm(prompts: list[str], gpus: int) -> list[float]:
    """Seconds of Ray Data's own processor for the prompts, twice: each time it starts engines."""
    import ray.data
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from baldistill.bundled import model_dir
    from baldistill.config.engines import VllmOptions
    from baldistill.generation.vllm.start import engine_arguments, environment

    arguments = engine_arguments(str(model_dir("teacher")), VllmOptions())
    config = vLLMEngineProcessorConfig(
        model_source=arguments.pop("model"),
        engine_kwargs=arguments,
        concurrency=1,
        batch_size=64,
        placement_group_config={"bundle_per_worker": {"CPU": 1, "GPU": min(gpus, 1)}},
        runtime_env={"env_vars": environment()},
        log_engine_metrics=False,
        chat_template_stage=False,
    )
    sampling = {"temperature": 0.0, "max_tokens": MAX_NEW_TOKENS}
    processor = build_processor(
        config,
        preprocess=lambda row: {"prompt": row["prompt"], "sampling_params": sampling},
        postprocess=lambda row: {"text": row["generated_text"]},
    )
    seconds = []
    for _ in range(2):
        begin = time.monotonic()
        rows = processor(ray.data.from_items([{"prompt": p} for p in prompts])).take_all()
        seconds.append(round(time.monotonic() - begin, 2))
        assert len(rows) == len(prompts)
    return seconds


def start_bare(context: Any, prompts: list[str], own_steps: bool) -> tuple[Connection, Any]:
    """Start a process that runs `serve_bare`, and return the pipe to it, and the process."""
    here, there = context.Pipe()
    process = context.Process(target=serve_bare, args=(there, prompts, own_steps), daemon=True)
    process.start()
    return here, process


def again(pipe: Connection) -> tuple[float, float, list[list[int]]]:
    """Return tokens per second of another pass, per second of processor time, and the tokens."""
    pipe.send("again")
    return pipe.recv()  # type: ignore[no-any-return]


def serve_bare(pipe: Connection, prompts: list[str], own_steps: bool = False) -> None:
    """Run the class `LLM` as its documentation shows it; answer with rates and tokens."""
    from vllm import LLM, SamplingParams

    from baldistill.bundled import model_dir
    from baldistill.config.engines import VllmOptions
    from baldistill.generation.vllm.start import engine_arguments

    arguments = engine_arguments(str(model_dir("teacher")), VllmOptions())
    if own_steps:
        arguments.pop("max_num_batched_tokens", None)
    llm = LLM(**arguments)
    start = llm.get_tokenizer().bos_token  # ours adds it to a plain text, vLLM does not
    prompts = [start + prompt for prompt in prompts]
    params = SamplingParams(temperature=0.0, max_tokens=MAX_NEW_TOKENS)
    llm.generate(prompts, params, use_tqdm=False)
    pipe.send("warm")
    while pipe.recv() == "again":
        processor, begin = time.process_time(), time.monotonic()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        seconds, processor = time.monotonic() - begin, time.process_time() - processor
        tokens = [list(output.outputs[0].token_ids) for output in outputs]
        total = sum(map(len, tokens))
        pipe.send((total / seconds, total / processor, tokens))


if __name__ == "__main__":
    main()
