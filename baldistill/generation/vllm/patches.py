"""Patches that rely on undocumented internals of vLLM 0.32.

Each function says what is wrong in vLLM, and which test will pass without the function once vLLM
is fixed. With another version of vLLM: delete a function's body, run that test, and if the test
passes delete the function.
"""

from __future__ import annotations

from typing import Any

from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.platforms import current_platform


def draw_no_token_before_the_prompt_is_read(engine: Any) -> None:
    """Let a row draw a token only when its whole prompt has been read.

    vLLM reads a long prompt in several steps. After each of them it draws a token, drops the token,
    and sets the row's random generator back by one draw. The generators of a CPU cannot be set
    back, so the first seeded prompt that takes more than one step kills the engine.

    No longer needed when `test_a_seed_decides_a_sampled_answer_and_not_its_neighbours` in
    tests/integration/test_vllm.py passes without it: its prompts fill several steps.
    """
    if current_platform.is_cpu():
        engine.collective_rpc(_set_generators_of_cut_prompts_aside)


def _set_generators_of_cut_prompts_aside(worker: Any) -> None:
    runner = worker.model_runner
    if not hasattr(runner, "discard_request_mask"):  # vLLM's second runner, which wants Triton
        return
    sample = runner.sample_tokens

    def sample_tokens(*args: Any, **kwargs: Any) -> Any:
        generators = runner.input_batch.generators  # by row
        cut = runner.discard_request_mask.np[: runner.input_batch.num_reqs].nonzero()[0]
        aside = {row: generators.pop(row) for row in cut.tolist() if row in generators}
        try:
            return sample(*args, **kwargs)
        finally:
            generators.update(aside)

    runner.sample_tokens = sample_tokens


def reload_weights(engine: Any, path: str) -> None:
    """Load other weights of the same shape into an engine.

    vLLM reloads the embeddings, but not the packed copy of them that its CPU kernels use for an
    output head that is tied to the embeddings: the head would stay that of the model before.

    Packing again is no longer needed when
    `test_new_weights_come_into_the_running_engines` in tests/integration/test_vllm.py passes
    without it.
    """
    engine.collective_rpc("reload_weights", kwargs={"weights_path": path})
    if current_platform.is_cpu():
        engine.apply_model(_pack_heads)
    engine.reset_prefix_cache()  # holds the keys and values of the model before


def _pack_heads(model: Any) -> None:
    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def shut_down(engine: Any) -> None:
    """Free what an engine holds.

    No longer needed when `LLMEngine` has a method of its own for it.
    """
    engine.engine_core.shutdown()
