import subprocess
import sys
from pathlib import Path

CORE = Path(__file__).parents[3] / "baldistill" / "core"


def test_core_needs_numpy_and_pyarrow_only():
    modules = [f"baldistill.core.{path.stem}" for path in sorted(CORE.glob("[a-z]*.py"))]
    assert len(modules) > 10
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
heavy = {{"ray", "torch", "transformers", "pydantic", "math_verify", "sympy", "pandas"}}
print(sorted(heavy & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
