"""The team of threads: who takes part, how many, after fork, beside other threads, in which float mode."""

import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest
import threadpoolctl
from python_process import output_of, run_python

import fastseq
from fastseq import _core

pytestmark = pytest.mark.skipif(not _core.has_openmp(), reason="built without OpenMP: one thread")

# Python warns that a process with threads forks; that it works here is what these tests show.
ignore_fork_warning = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")


@pytest.fixture(autouse=True)
def default_threads():
    yield
    fastseq.set_num_threads(0)


def members(wanted):
    """(index, count) of each member; fails unless each ran once, on a thread of its own."""
    seen = _core.probe_team(wanted)
    assert len({thread for *_, thread, _ in seen}) == len(seen)
    return [(index, count) for index, count, *_ in seen]


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_every_member_runs_once(n):
    fastseq.set_num_threads(n)
    for _ in range(20):
        assert members(n) == [(i, n) for i in range(n)]


def test_team_is_no_larger_than_wanted_or_allowed():
    fastseq.set_num_threads(3)
    assert members(2) == [(0, 2), (1, 2)]
    assert members(5) == [(0, 3), (1, 3), (2, 3)]
    assert members(1) == [(0, 1)]


def test_set_num_threads_grows_and_shrinks_the_team():
    for n in (2, 4, 1, 3, 2):
        fastseq.set_num_threads(n)
        assert fastseq.get_num_threads() == n
        assert len(members(n)) == n


def test_members_stay_between_calls():
    fastseq.set_num_threads(2)
    first, second = _core.probe_team(2), _core.probe_team(2)
    assert [thread for *_, thread, _ in first] == [thread for *_, thread, _ in second]


def test_members_wake_after_sleeping():
    fastseq.set_num_threads(2)
    for _ in range(5):
        time.sleep(0.02)
        assert len(members(2)) == 2


@needs_affinity
def test_members_wake_on_cpus_of_their_own():
    """A caller that slept itself: Linux would wake the member beside it, and both would take turns there."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one CPU")
    fastseq.set_num_threads(2)
    apart = 0
    for _ in range(20):
        time.sleep(0.01)
        apart += len({cpu for _, _, cpu, *_ in _core.probe_team(2)}) == 2
    assert apart >= 15, apart
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            assert os.sched_getaffinity(int(task)) == allowed


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_meetings_hold_everyone(n):
    fastseq.set_num_threads(n)
    for meetings in (1, 2, 1000):
        assert _core.probe_meetings(n, meetings) == 0


def test_negative_number_of_threads():
    with pytest.raises(ValueError) as error:
        fastseq.set_num_threads(-1)
    assert str(error.value) == "set_num_threads: n must be at least 0, got -1"


# --- how many --------------------------------------------------------------------------------------


def count_with(**environment):
    return int(output_of("import fastseq; print(fastseq.get_num_threads())", **environment))


def test_default_follows_affinity_and_quota():
    quota = max(1, round(min(_core.cpu_quota(), 10**6)))
    assert count_with() == min(len(os.sched_getaffinity(0)), quota)


@needs_affinity
def test_default_with_one_cpu():
    code = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import fastseq
        print(fastseq.get_num_threads())
    """
    assert output_of(code) == "1"


def test_environment_variable():
    assert count_with(FASTSEQ_NUM_THREADS="3") == 3
    assert count_with(FASTSEQ_NUM_THREADS="3", OMP_NUM_THREADS="1") == 3
    assert count_with(FASTSEQ_NUM_THREADS="") == count_with()


def test_openmp_variable_lowers_the_default():
    assert count_with(OMP_NUM_THREADS="1") == 1
    assert count_with(OMP_NUM_THREADS="1,4") == 1
    assert count_with(OMP_NUM_THREADS="500") == count_with()


@pytest.mark.parametrize("text", ["0", "-2", "two", "2x", "1.5"])
def test_senseless_environment_variable(text):
    done = run_python("import fastseq", FASTSEQ_NUM_THREADS=text)
    assert done.returncode == 1
    message = f"RuntimeError: fastseq: FASTSEQ_NUM_THREADS must be a number of at least 1, got {text}"
    assert done.stderr.strip().splitlines()[-1] == message


def test_set_num_threads_zero_reads_the_environment_again():
    code = """
        import fastseq
        fastseq.set_num_threads(5)
        fastseq.set_num_threads(0)
        print(fastseq.get_num_threads())
    """
    assert output_of(code, FASTSEQ_NUM_THREADS="3") == "3"


def write_tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, float("inf")),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, float("inf")),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        (  # the parent's limit binds too
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
            },
            3.0,
        ),
        (  # the host's path, seen from inside a container
            {"proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            float("inf"),
        ),
        ({"proc/self/cgroup": "nonsense\n\n::\n", "sys/fs/cgroup/cpu.max": "x y\n"}, float("inf")),
    ],
)
def test_quota_of_control_groups(tmp_path, files, quota):
    write_tree(tmp_path, files)
    assert _core.cpu_quota(str(tmp_path)) == quota


# --- threadpoolctl -----------------------------------------------------------------------------------


def test_threadpoolctl_limits_and_gives_back():
    openmp = threadpoolctl.ThreadpoolController().select(user_api="openmp")
    before = [library.num_threads for library in openmp.lib_controllers]
    if max(before, default=1) < 2:
        pytest.skip("OpenMP has one thread here: nothing to lower")
    for chosen in (0, 2):
        fastseq.set_num_threads(chosen)
        n = fastseq.get_num_threads()
        with threadpoolctl.threadpool_limits(limits=1):
            assert fastseq.get_num_threads() == 1
            assert members(2) == [(0, 1)]
        assert fastseq.get_num_threads() == n
        assert len(members(n)) == n


def test_openmp_settings_of_the_process_stay():
    code = """
        import threadpoolctl, fastseq
        def settings():
            return [(pool["prefix"], pool["num_threads"]) for pool in threadpoolctl.threadpool_info()]
        before = settings()
        fastseq.set_num_threads(3)
        fastseq._core.probe_team(3)
        print(settings() == before)
    """
    assert output_of(code) == "True"


# --- fork and exit -----------------------------------------------------------------------------------


def count_members(wanted):
    return len(_core.probe_team(wanted))


@ignore_fork_warning
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_after_use(method):
    fastseq.set_num_threads(2)
    assert count_members(2) == 2
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        counts = pool.map_async(count_members, [2, 2, 1, 2]).get(timeout=60)
    # A spawned child has its own default, which may be one thread.
    expected = 2 if method == "fork" else min(2, count_with())
    assert counts == [expected, expected, 1, expected]
    assert count_members(2) == 2


@ignore_fork_warning
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_of_a_forked_child_and_exit():
    code = """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        import fastseq
        count = lambda: len(fastseq._core.probe_team(2))
        assert count() == 2
        for generation in range(3):
            child = os.fork()
            if child:
                _, status = os.waitpid(child, 0)
                assert count() == 2
                sys.exit(os.waitstatus_to_exitcode(status))   # through Python's and C's exit functions
            assert count() == 2
        print("last generation done")
    """
    assert output_of(code, FASTSEQ_NUM_THREADS="2") == "last generation done"


@ignore_fork_warning
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_while_another_thread_works():
    fastseq.set_num_threads(2)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            _core.time_team(2, 50, meetings=2)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if count_members(2) == 2 else 1)
            assert os.waitstatus_to_exitcode(wait_for_child(child)) == 0
    finally:
        stop.set()
        worker.join()


def wait_for_child(child, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("a forked child hangs")


def test_exit_with_sleeping_and_with_working_members():
    code = """
        import threading, time, fastseq
        fastseq.set_num_threads(3)
        fastseq._core.probe_team(3)
        endless = lambda: fastseq._core.time_team(3, 10**9)
        threading.Thread(target=endless, daemon={daemon}).start() if {working} else time.sleep(0.01)
        print("leaving")
    """
    for working in (False, True):
        assert output_of(code.format(daemon=True, working=working)) == "leaving"


# --- beside other threads ------------------------------------------------------------------------------


def test_eight_python_threads_at_once():
    fastseq.set_num_threads(2)
    failures, together = [], []

    def work():
        for _ in range(100):
            seen = _core.probe_team(2)
            indices = [index for index, *_ in seen]
            counts = {count for _, count, *_ in seen}
            together.append(len(seen))
            if indices != list(range(len(seen))) or counts != {len(seen)}:
                failures.append(seen)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    assert len(together) == 800
    assert set(together) <= {1, 2}
    assert 2 in together


def test_busy_team_means_the_caller_works_alone():
    fastseq.set_num_threads(2)
    worker = threading.Thread(target=lambda: _core.time_team(2, 1, work=0.5))
    worker.start()
    time.sleep(0.1)
    assert members(2) == [(0, 1)]
    worker.join()
    assert len(members(2)) == 2


def test_number_of_threads_changes_while_others_work():
    stop = threading.Event()

    def work():
        while not stop.is_set():
            _core.time_team(3, 10, meetings=3)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for n in (1, 2, 3, 2, 1, 3) * 3:
        fastseq.set_num_threads(n)
        assert fastseq.get_num_threads() == n
    stop.set()
    for worker in workers:
        worker.join(timeout=60)
        assert not worker.is_alive()


def test_members_that_wait_leave_the_cpu_to_others():
    """After a call the members soon sleep: the process uses next to no CPU time."""
    fastseq.set_num_threads(4)
    _core.probe_team(4)
    time.sleep(0.01)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05


# --- floating-point mode --------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [1, 3])
def test_one_float_mode_for_all_and_the_callers_own_afterwards(wanted):
    fastseq.set_num_threads(3)
    before = _core.float_mode()
    seen = _core.probe_team(wanted)
    assert {mode for *_, mode in seen} == {_core.work_float_mode()}
    assert _core.float_mode() == before
    assert before != _core.work_float_mode()


def test_float_mode_of_the_caller_does_not_matter():
    before = _core.float_mode()
    other = _core.work_float_mode() ^ before
    try:
        _core.set_float_mode(before | (other & -other))
        mine = _core.float_mode()
        assert {mode for *_, mode in _core.probe_team(2)} == {_core.work_float_mode()}
        assert _core.float_mode() == mine
    finally:
        _core.set_float_mode(before)


# --- memory of calls ----------------------------------------------------------------------------------------


def test_arenas_never_overlap():
    sizes = 2 * [1, 63, 64, 65, 4096, 10_000, 1 << 20, 0, 3_000_000, (2 << 20) - 64, (2 << 20) - 63, 2 << 20]
    assert _core.probe_arenas(sizes)
    assert _core.probe_arenas(sizes)  # more at once than are kept, so some have been given back
    results = []
    threads = [threading.Thread(target=lambda: results.append(_core.probe_arenas(sizes))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


# --- without OpenMP -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_build_without_openmp_is_serial(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not os.path.exists(os.path.join(root, "CMakeLists.txt")):
        pytest.skip("no sources here")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), root]
    subprocess.run([*pip, "--config-settings=cmake.define.FASTSEQ_OPENMP=OFF"], check=True, timeout=900)
    code = """
        import fastseq
        fastseq.set_num_threads(4)
        print(fastseq._core.has_openmp(), fastseq.get_num_threads(), len(fastseq._core.probe_team(4)))
    """
    assert output_of(code, PYTHONPATH=str(tmp_path)) == "False 1 1"
