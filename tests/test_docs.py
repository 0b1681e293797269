"""The pages under docs: every line of their code runs."""

import re
from pathlib import Path

import pytest
from python_process import run_python

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"^```python\n(.*?)^```", flags=re.M | re.S)
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if CODE.search(page.read_text())]


@pytest.mark.slow
@pytest.mark.skipif(not PAGES, reason="the pages are not here")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page, tmp_path):
    blocks = CODE.findall(page.read_text())
    if any("import keras" in block for block in blocks):
        pytest.importorskip("keras")
    done = run_python(
        f"import os\nos.chdir({str(tmp_path)!r})\n" + "\n".join(blocks), TF_CPP_MIN_LOG_LEVEL="3"
    )
    assert done.returncode == 0, done.stderr
    if page.name == "coming_from_keras.md":
        assert "run a model on data instead" in done.stdout
        assert "LSTM: activation must be one of elu, " in done.stdout
        assert "(did you mean 'categorical_crossentropy'?)" in done.stdout
        assert "True\n" in done.stdout
