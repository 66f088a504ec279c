"""What all tests share: quiet libraries, and one local Ray for those that need it."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from baldistill.placement.engines import Engines

# torch, transformers and Ray leave much here: seeking garbage in it takes a fifteenth of the time
gc.set_threshold(50_000)
settings.register_profile("any machine", deadline=None)  # a busy machine is no defect
settings.load_profile("any machine")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# vLLM looks at a model's class in another process, unless it finds the result of an earlier start
os.environ.setdefault("VLLM_CACHE_ROOT", os.path.join(sys.prefix, "cache", "vllm"))
os.environ.setdefault("BALDISTILL_TEST_KEY", "sk-of-the-tests-0123456789")  # for Ray's workers
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
os.environ.setdefault("RAY_DATA_USAGE_DISABLED", "1")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
# Ray's workers import what tests send them: as pytest's `pythonpath`
TESTS = Path(__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# a shell starts what runs in the background without Ctrl-C, and children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
# as baldistill/placement/local_ray.py does it for a Ray of its own
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "300000")
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A local Ray of four CPUs; its files go to a home folder of its own."""
    import ray
    import ray.data
    from rays import started

    from baldistill.ray_patches import without_data_attendants

    home = os.environ.get("HOME")
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    options = {"num_cpus": 4, "object_store_memory": 256 * 2**20, "include_dashboard": False}
    started(lambda: ray.init(log_to_driver=False, logging_level="ERROR", **options))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with without_data_attendants():
        yield
    ray.shutdown()
    if home is not None:
        os.environ["HOME"] = home


@pytest.fixture(scope="session")
def engines(ray_session: None) -> Iterator[Engines]:
    """One bundled teacher and one bundled student for runs in this process, one after the other.

    Starting both costs more than a small run. They reserve nothing that other tests could miss.
    """
    import ray
    from runs import ENGINES

    from baldistill.config.loading import load_config
    from baldistill.placement.engines import Engines
    from baldistill.placement.resources import Cluster, place

    config = load_config(None, ENGINES)
    shared = Engines(config, place(config, Cluster.single(int(ray.cluster_resources()["CPU"]))))
    yield shared
    shared.close()
