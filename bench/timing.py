"""Fair timing of programs that must not share a process: worker processes, interleaved rounds, medians.

A worker is `python WORKER NAME` that reads one JSON request per line and answers with one JSON line.
While one works the others wait for a line, so a busy moment of the machine falls on all alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# long enough for threads that spin after their work (libgomp, Eigen, ours) to go to sleep
REST = 0.02


class Missing(Exception):
    """A peer that is not installed."""


class Failed(Exception):
    """A peer that broke; the text says how."""


class Worker:
    """One peer in a process of its own, confined to `cpus` from before its first import."""

    def __init__(self, script: str | Path, name: str, cpus: Sequence[int]) -> None:
        self.name = name
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        environment["FASTSEQ_BENCH_CPUS"] = ",".join(map(str, cpus))
        self._process = subprocess.Popen(
            [sys.executable, str(script), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """The worker's answer to one request."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed(f"{self.name} died in {do}")
        answer = json.loads(line)
        if "missing" in answer:
            raise Missing(answer["missing"])
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer["answer"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Peak:
    """The machine's own turn, as long as fastseq's: seconds of one float operation on all threads."""

    name = "peak"

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @classmethod
    def of(cls, workers: Sequence[Worker]) -> list[Peak]:
        """The one that fastseq's worker measures; none without it."""
        return [cls(worker) for worker in workers if worker.name == "fastseq"]

    def ask(self, _: str, work: str) -> float:
        return 1.0 / self._worker.ask("peak", work=work)

    def at_rest(self) -> float:
        """Operations per second in the best of short tries."""
        time.sleep(10 * REST)  # the last to have its turn may spin on
        return float(self._worker.ask("peak_at_rest"))


class Floor:
    """The machine's own turn: seconds in which the threads read so many bytes from where they lie."""

    name = "floor"

    def __init__(self, worker: Worker, bytes: int, times: int) -> None:
        self._worker, self._bytes, self._times = worker, bytes, times

    @classmethod
    def of(cls, workers: Sequence[Worker], bytes: int, times: int = 1) -> list[Floor]:
        """The one that fastseq's worker measures; none without it."""
        return [cls(worker, bytes, times) for worker in workers if worker.name == "fastseq"]

    def ask(self, _: str, **__: Any) -> float:
        return self._times * self._bytes / float(self._worker.ask("read", bytes=self._bytes))


@contextlib.contextmanager
def opened(
    script: str | Path, names: Sequence[str], cpus: Sequence[int], folder: Path | None = None, **job: Any
) -> Iterator[tuple[list[Worker], dict[str, str]]]:
    """Workers that have read the job, and the versions of their libraries; others are named and left out.

    Args:
        script: The workers' program.
        names: The peers.
        cpus: The CPUs each may use.
        folder: Where each writes NAME.npz for ``check_agreement``; None leaves that to the caller.
        job: The arguments of "open".
    """
    workers, versions = [], {}
    try:
        for name in names:
            worker = Worker(script, name, cpus)
            try:
                version = worker.ask("open", **job)
                if folder is not None:
                    worker.ask("agree", path=str(folder / f"{name}.npz"))
                versions[name] = version
                workers.append(worker)
            except (Missing, Failed) as reason:
                print(f"  skipped {name}: {reason}")
                worker.close()
        yield workers, versions
    finally:
        for worker in workers:
            worker.close()


def serve(make: Callable[[str], Any]) -> None:
    """The worker's side: answers requests with the methods of `make(name)` until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is no answer
    cpus = [int(c) for c in os.environ["FASTSEQ_BENCH_CPUS"].split(",")]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    os.environ["OMP_NUM_THREADS"] = str(len(cpus))
    peer = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if peer is None:
                peer = make(sys.argv[1])
            answer = {"answer": getattr(peer, request.pop("do"))(**request)}
        except ImportError as error:
            answer = {"missing": str(error)}
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def interleave(workers: Sequence[Worker], rounds: int, do: str, **arguments: Any) -> dict[str, list[float]]:
    """Seconds of each round for each worker, everyone once a round, a different one first each time."""
    seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for n in range(rounds):
        first = n % max(len(workers), 1)
        for worker in [*workers[first:], *workers[:first]]:
            time.sleep(REST)
            seconds[worker.name].append(worker.ask(do, **arguments))
    return seconds


def check_agreement(
    names: Sequence[str],
    folder: Path,
    limit: float,
    limits: dict[str, float] | None = None,
    fewer: Sequence[str] = (),
) -> None:
    """Asserts that what each wrote to NAME.npz is what the others wrote.

    One element can cancel: errors are held against the largest element of the array.

    Args:
        names: The peers.
        folder: Where their files are.
        limit: Of the relative error.
        limits: Other limits, by array.
        fewer: Peers that need not have every array.
    """
    found = {}
    for name in names:
        with np.load(folder / f"{name}.npz") as arrays:
            found[name] = dict(arrays)
    for key in dict.fromkeys(key for values in found.values() for key in values):
        first, *others = [name for name in names if key in found[name] or name not in fewer]
        for name in others:
            expected = found[first][key]
            error = np.abs(found[name][key] - expected).max() / max(np.abs(expected).max(), 1e-30)
            if not error < (limits or {}).get(key, limit):
                raise SystemExit(f"{name} and {first} disagree in {key}: {error:.1e}")


def peaks(results: Sequence[dict[str, Any]]) -> str:
    """What shares of the peak are taken of, in words; nothing where none was measured."""
    parts = []
    for threads in sorted({result["threads"] for result in results}):
        mine = [result for result in results if result["threads"] == threads]
        meanwhile = [1e-9 / of["peak"] for r in mine for of in r["seconds"].values() if "peak" in of]
        at_rest = [1e-9 * r["at_rest"] for r in mine if r.get("at_rest")]
        if meanwhile and at_rest:
            parts.append(
                f"{min(meanwhile):.0f} to {max(meanwhile):.0f} GFLOP/s with {threads} threads "
                f"({max(at_rest):.0f} in a few milliseconds with nothing else on the cores)"
            )
    if not parts:
        return ""
    return f"The peak is what FMA alone reached in turns as long as fastseq's: {'; '.join(parts)}."


def summary(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "least": min(seconds), "rounds": len(seconds)}


def put_between(path: str | Path, mark: str, text: str) -> None:
    """Replaces what stands between `<!-- MARK begins -->` and `<!-- MARK ends -->` in a file."""
    begin, end = f"<!-- {mark} begins -->", f"<!-- {mark} ends -->"
    whole = Path(path).read_text()
    before, found, rest = whole.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{path} has no {begin} and {end}")
    Path(path).write_text(f"{before}{begin}\n{text}\n{end}{after}")


def where(facts: dict[str, Any]) -> str:
    """The machine in one line."""
    return f"Measured on {facts['cpus']} cores of {facts['cpu']} ({', '.join(facts['simd'])})."


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    flags: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            if key.strip() == "flags":
                flags = set(value.split())
    except OSError:
        pass
    return {
        "cpu": model,
        "simd": [f for f in ("avx2", "fma", "avx512f", "avx512_bf16") if f in flags],
        "cpus": len(available_cpus()),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def available_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
