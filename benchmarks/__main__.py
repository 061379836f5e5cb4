"""All benchmarks by one command.

``uv run --group bench python -m benchmarks [--quick] [--only NAME] [--out FOLDER]`` prints every
table as it is made; ``--out`` keeps all of them in ``benchmarks.md`` and ``benchmarks.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.table import Table

for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"  # read once, when NumPy is loaded: by the parts, further down

PARTS = (
    "accuracy",
    "asymmetry",
    "spatial",
    "gates",
    "cost",
    "engine_cost",
    "transport",
    "drawing",
)


def run_part(name: str, quick: bool) -> list[Table]:
    """Return the tables of one benchmark."""
    module: Any = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "run"):
        made: list[Table] = module.run(quick)
        return made
    if name == "spatial":
        folder = importlib.import_module("benchmarks.data").data_folder()
        seeds = 4 if quick else 20
        return [module.eyes(seeds, folder), module.envelopes(seeds, folder)]
    seeds_of = range(1, 4 if quick else module.SEEDS + 1)
    return [module.table(seeds_of), module.costs(seeds_of)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 when a benchmark failed, after all others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, a few minutes")
    parser.add_argument(
        "--only", action="append", choices=PARTS, metavar="NAME", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--out", type=Path, help="folder for benchmarks.md and benchmarks.json")
    given = parser.parse_args(arguments)
    from benchmarks.cost import circumstances, load_now
    from benchmarks.table import machine

    before = load_now()
    kept: dict[str, Any] = {"machine": machine(), "quick": given.quick, "parts": {}}
    texts = [f"# Benchmarks\n\n{machine()}\n"]
    failed = False
    sys.stdout.write(texts[0] + "\n")
    for name in given.only or PARTS:
        began = time.perf_counter()
        try:
            tables = run_part(name, given.quick)
        except Exception:  # the others are worth having
            failed = True
            tables = []
            sys.stderr.write(f"{name} failed:\n{traceback.format_exc()}\n")
        took_s = time.perf_counter() - began
        body = "\n".join(t.markdown() for t in tables) or "This benchmark failed.\n"
        text = f"## {name}\n\n{body}\n{took_s:.0f} s.\n"
        texts.append(text)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        kept["parts"][name] = {
            "took_s": took_s,
            "tables": [dataclasses.asdict(t) for t in tables],
        }
    kept["circumstances"] = circumstances(before)
    texts.append(kept["circumstances"] + "\n")
    sys.stdout.write(texts[-1])
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "benchmarks.md").write_text("\n".join(texts), encoding="utf-8")
        text = json.dumps(kept, indent=1, ensure_ascii=False)
        (given.out / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
