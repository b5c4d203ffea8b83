"""Coverage-guided fuzzing with Atheris: `make fuzz TARGET=value SECONDS=60`, all targets where none is named.

New inputs that reach new code are kept in the corpus folder, and a crash is written beside it with the bytes to repeat it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Fuzz the targets named, one after another, each in a process of its own; 0 when none of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="names of targets; all where none is given")
    parser.add_argument("--seconds", type=int, default=60, help="how long each of them runs")
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"), help="folder for what was learned")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("Atheris is not installed; run make fuzz, which installs it (x86-64 only)", file=sys.stderr)
        return 2
    if arguments.inside:
        _fuzz(arguments.targets[0], arguments.seconds, arguments.corpus)
        return 0
    from tests.fuzz.targets import TARGETS

    unknown = [name for name in arguments.targets if name not in TARGETS]
    if unknown:
        print(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    failed = []
    for name in arguments.targets or TARGETS:
        print(f"== {name}, {arguments.seconds} s", flush=True)
        options = [name, "--inside", "--seconds", str(arguments.seconds), "--corpus", str(arguments.corpus)]
        if subprocess.run([sys.executable, "-m", "tests.fuzz", *options], check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "no target failed")
    return 1 if failed else 0


def _fuzz(name: str, seconds: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["connectors", "model"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.seeds import SEEDS

    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={folder}/{name}-", *limits], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
