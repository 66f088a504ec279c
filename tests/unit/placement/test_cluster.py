"""Attaching to Ray, and what comes out of it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from baldistill.errors import ResourceError, UserError
from baldistill.placement.cluster import connected
from baldistill.progress.counter import Figures, Report, counted, start_counter
from baldistill.progress.display import Display

pytestmark = pytest.mark.ray


def test_a_running_ray_is_used_and_stays(ray_session: None) -> None:
    import ray

    with connected() as cluster:
        assert cluster.num_cpus == 4
    assert ray.is_initialized()


def run_pass(error: Exception) -> None:
    import ray.data

    def fail(batch: pa.Table, report: Report) -> pa.Table:
        raise error

    counter = start_counter()
    with Display(quiet=True).remote_task("fail", 3, counter), connected():
        ray.data.range(3).map_batches(counted(fail, counter), batch_format="pyarrow").take_all()


def test_what_a_user_did_comes_out_of_rays_wrappings(ray_session: None) -> None:
    with pytest.raises(UserError) as caught:
        run_pass(UserError("cannot load the model 'nothing'"))
    assert str(caught.value) == "cannot load the model 'nothing'"


def test_a_defect_stays_a_defect(ray_session: None) -> None:
    with pytest.raises(Exception, match="ours") as caught:
        run_pass(KeyError("ours"))
    assert not isinstance(caught.value, UserError)


def test_rows_are_counted_where_they_are_worked_on(ray_session: None) -> None:
    import ray
    import ray.data

    def half_told(batch: pa.Table, report: Report) -> pa.Table:
        report(len(batch) // 2, "")
        return batch

    counter = start_counter()
    with Display(quiet=True).remote_task("count", 100, counter):
        ray.data.range(100).map_batches(
            counted(half_told, counter), batch_format="pyarrow", batch_size=10
        ).take_all()
    assert ray.get(counter.figures.remote()) == Figures(100)


def test_an_address_where_no_cluster_answers_is_an_error() -> None:
    import subprocess
    import sys

    code = (
        "from baldistill.placement.cluster import connected\n"
        "from baldistill.errors import ResourceError\n"
        "try:\n    with connected('127.0.0.1:1'): pass\n"
        "except ResourceError as error: print('told:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False
    )
    assert "told: no Ray cluster answers at '127.0.0.1:1'" in done.stdout, done.stderr
    assert issubclass(ResourceError, UserError)
