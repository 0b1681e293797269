"""Runs code in a Python process of its own: what happens at import, after fork and at exit."""

import os
import subprocess
import sys
import textwrap

# Settings of the process that runs the tests must not reach the process under test.
OURS = ("FASTSEQ_ISA", "FASTSEQ_NUM_THREADS", "OMP_NUM_THREADS")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def output_of(code: str, **environment: str) -> str:
    """What the code prints; fails with its error if it fails."""
    done = run_python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
