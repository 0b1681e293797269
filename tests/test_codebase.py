"""The code tested like code: who may include or import whom, and what the compiled kernels may contain.

CONTRIBUTING.md says why each arrow points where it does.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from python_process import output_of

from fastseq import _core

ROOT = Path(__file__).resolve().parent.parent
CPP = ROOT / "cpp"
PYTHON = ROOT / "python" / "fastseq"

pytestmark = pytest.mark.skipif(not CPP.exists(), reason="the sources are not here")

# --- C++ ---------------------------------------------------------------------------------------------

# room: the rooms and files it may include. Of cpu/, others see only tables of pointers and their choice.
ROOMS = {
    "base": {"base"},
    "math": {"math"},
    "cpu": {"cpu", "math", "base"},
    "ops": {"ops", "base", "cpu/kernels.h", "cpu/*_kernels.h"},
    "python": {"python", "ops", "base", "cpu/dispatch.h"},
}
# They would bring weak symbols compiled for one instruction set into code for all.
NOT_IN_KERNELS = {
    "algorithm",
    "array",
    "functional",
    "map",
    "memory",
    "string",
    "vector",
    "iostream",
    "stdexcept",
}


def cpp_files():
    return sorted(path for path in CPP.rglob("*") if path.suffix in {".h", ".cpp"})


def includes(path):
    """Of one file: the project's files it includes (relative to cpp/), and the system's."""
    own, system = [], []
    for kind, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', path.read_text(), flags=re.M):
        if kind == "<":
            system.append(name)
        else:
            beside = path.parent / name
            own.append((beside if beside.exists() else CPP / name).resolve().relative_to(CPP).as_posix())
    return own, system


@pytest.mark.parametrize("path", cpp_files(), ids=lambda path: path.relative_to(CPP).as_posix())
def test_cpp_arrows(path):
    room = path.relative_to(CPP).parts[0]
    assert room in ROOMS, f"say in ROOMS what {room}/ may include"
    own, system = includes(path)
    for name in own:
        assert (CPP / name).exists(), f"{name} does not exist"
        allowed = name.split("/")[0] in ROOMS[room] or any(fnmatch(name, pattern) for pattern in ROOMS[room])
        assert allowed, f"{room} must not include {name}"
    if room != "python":
        assert not [name for name in system if name.startswith(("pybind11/", "Python.h"))]
    if path.relative_to(CPP).as_posix() != "base/threads.cpp":
        assert "omp.h" not in system
        assert "#pragma omp" not in path.read_text()


def test_kernels_use_no_containers():
    seen, waiting = set(), [path for path in (CPP / "cpu").glob("*.cpp") if path.name != "dispatch.cpp"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        own, system = includes(path)
        assert not NOT_IN_KERNELS & set(system), path
        waiting += [CPP / name for name in own]


@pytest.mark.parametrize("path", cpp_files(), ids=lambda path: path.relative_to(CPP).as_posix())
def test_cpp_file_opens_with_its_promise(path):
    # A .cpp may leave it to the header of its name.
    if path.suffix == ".h" or not path.with_suffix(".h").exists():
        assert path.read_text().startswith("// ")


# --- Python --------------------------------------------------------------------------------------------

# A module imports only modules named before it. Put a new one as early as its imports allow.
ORDER = [
    "_core",
    "threads",
    "_arrays",
    "_registry",
    "_floatx",
    "_names",
    "_random",
    "_symbol",
    "ops",
    "text",
    "initializers",
    "constraints",
    "regularizers",
    "weights",
    "activations",
    "data",
    "losses",
    "metrics",
    "asked",
    "optimizers",
    "graph",
    "layers",
    "stepper",
    "objective",
    "checkpoint",
    "sources",
    "streams",
    "progress",
    "summary",
    "callbacks",
    "plots",
    "run",
    "training",
    "models",
    "utils",
    "backend",
    "interop",
    "recipes",
    "cli",
]
# What a module may import is less than the order would allow.
ONLY = {
    "text": {"_arrays"},
    "initializers": {"_arrays", "_names", "_random"},
    "constraints": {"_arrays", "_floatx", "_names"},
}
# These are written with the public names, as a user would; all others import what they need from its module.
USERS = {"recipes", "interop", "backend", "cli"}


def python_files():
    return sorted(PYTHON.rglob("*.py"))


def module_of(path):
    """The first name below fastseq: "ops" for ops/rnn.py; "" for fastseq/__init__.py."""
    first = path.relative_to(PYTHON).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def is_for_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported(tree):
    """Names below fastseq that a file imports, at its top or inside a function; "" for fastseq itself."""
    if is_for_type_checking(tree):
        return
    if isinstance(tree, ast.Import):
        for alias in tree.names:
            first, *rest = alias.name.split(".")
            if first == "fastseq":
                yield rest[0] if rest else ""
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, "imports are absolute"
        first, *rest = tree.module.split(".")
        if first == "fastseq":
            yield from [rest[0]] if rest else [alias.name for alias in tree.names]
    for child in ast.iter_child_nodes(tree):
        yield from imported(child)


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(PYTHON).as_posix())
def test_python_arrows(path):
    module = module_of(path)
    if module == "":
        return  # the public names: from anywhere
    assert module in ORDER, f"give {module} its place in ORDER"
    before = set(ORDER[: ORDER.index(module)]) | {module}
    allowed = ONLY[module] | {module} if module in ONLY else before
    for name in set(imported(ast.parse(path.read_text()))):
        if name in ORDER:
            assert name in allowed, f"{module} must not import {name}"
        else:
            assert module in USERS, f"{module} must import {name or 'fastseq'} from the module that has it"
        if module == "recipes":
            assert not name.startswith("_"), "recipes use public names only"
            assert name != "ops", "recipes know nothing of kernels"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(PYTHON).as_posix())
def test_python_file_opens_with_its_promise(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_stub_names_all_that_the_extension_has():
    tree = ast.parse((PYTHON / "_core.pyi").read_text())
    stub = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    there = {name for name in dir(_core) if not name.startswith("_")}
    assert stub == there


def test_import_brings_numpy_and_the_extension_only():
    code = """
        import sys, numpy
        before = set(sys.modules)
        import fastseq
        new = {name.split(".")[0] for name in set(sys.modules) - before}
        print(*sorted(new - set(sys.stdlib_module_names)))
    """
    # pybind11 keeps a module of its own for what its extensions share.
    assert [name for name in output_of(code).split() if not name.startswith("_pybind11")] == ["fastseq"]


def test_import_is_quick(tmp_path):
    # Compiled by the first of the runs, as by pip, wherever the process of the tests keeps bytecode or none.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    code = """
        import numpy, time
        start = time.process_time()
        import fastseq
        print(time.process_time() - start)
    """
    assert min(float(output_of(code, **compiled)) for _ in range(5)) < 0.15  # its own seconds, beyond numpy


# --- the compiled kernels -----------------------------------------------------------------------------

# Kernels neither allocate nor throw nor call anything compiled elsewhere.
MAY_CALL = {"memcpy", "memmove", "memset", "_GLOBAL_OFFSET_TABLE_"}


def kernel_objects():
    """(target, object file) of the build in FASTSEQ_BUILD_DIR, else of build/dev if there is one."""
    folder = Path(os.environ.get("FASTSEQ_BUILD_DIR", ROOT / "build" / "dev"))
    return [
        (found[1], path)
        for path in sorted(folder.rglob("*.o"))
        if (found := re.search(r"kernels_(\w+)\.dir", path.as_posix()))
    ]


@pytest.fixture(scope="module")
def symbols():
    """(target, file name, type, mangled name) of every symbol of every kernel object."""
    objects = kernel_objects()
    if shutil.which("nm") is None or sys.platform != "linux" or not objects:
        assert "FASTSEQ_BUILD_DIR" not in os.environ, "no symbols in FASTSEQ_BUILD_DIR"
        pytest.skip("needs nm and the object files of a build")
    found = []
    for target, path in objects:
        listing = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            *_, kind, name = line.split()
            found.append((target, path.name, kind, name))
    return found


def inside(target, name):
    return f"7fastseq{len(target)}{target}" in name


def test_every_family_is_there_for_every_target(symbols):
    families = {}
    for target, file, _, _ in symbols:
        families.setdefault(target, set()).add(file)
    assert set(_core.available_isas()) <= set(families)
    assert len({frozenset(files) for files in families.values()}) == 1


def test_symbols_lie_in_the_namespace_of_their_target(symbols):
    """The linker keeps one of several weak symbols: it may need instructions that the CPU does not have."""
    visible = [s for s in symbols if s[2] not in "Uw" and (s[2].isupper() or s[2] in "uvw")]
    assert visible
    assert [s for s in visible if not inside(s[0], s[3])] == []


def test_no_static_initialisers(symbols):
    """They would run at import, before the CPU is asked what it can do."""
    starts = ("_GLOBAL__", "__cxx_global_var_init", "_ZGV")
    assert [s for s in symbols if s[3].startswith(starts)] == []


def test_kernels_call_nothing_outside(symbols):
    undefined = {s for s in symbols if s[2] in "Uw" and s[3] not in MAY_CALL}
    assert {s for s in undefined if not inside(s[0], s[3])} == set()
