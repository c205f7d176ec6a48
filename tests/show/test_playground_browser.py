"""The playground in a real JupyterLab: a sentence is typed, a mask appears."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.browser import needed

CELL = """\
from ris_lib import create_model
from ris_lib.engine import Predictor
from ris_lib.show.playground import Playground
Playground({"baseline_tiny": Predictor(create_model("baseline_tiny", pretrained=True), device="cpu")}, number=7)
"""
#: The part of a canvas where nothing covers the picture: the answer dims what it does not mean.
CLEAR = """(canvas) => {
    const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return all.filter((value, place) => place % 4 == 3 && value < 10).length / (all.length / 4);
}"""
WAIT = 180_000  # milliseconds; a busy machine starts JupyterLab and a kernel slowly

chromium = pytest.fixture(scope="module")(needed)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab with one notebook."""
    folder = tmp_path_factory.mktemp("lab")
    cell = {"cell_type": "code", "id": "play", "metadata": {}, "source": CELL, "outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "play.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    options += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None", "--LabApp.check_for_updates_class="]
    options[-1] += "jupyterlab.NeverCheckForUpdate"
    here = {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "data")}
    with open(folder / "log.txt", "w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, cwd=folder, env=os.environ | here, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, server, folder / "log.txt")
        yield f"{address}/lab/tree/play.ipynb"
    finally:
        server.terminate()
        server.wait(20)


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(120):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(log.read_text())


@pytest.mark.slow
def test_a_sentence_is_typed_and_a_mask_appears(chromium, lab):
    page = chromium.new_page(viewport={"width": 1200, "height": 1400})
    page.set_default_timeout(WAIT)
    page.goto(lab)
    page.locator(".jp-NotebookPanel").wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    field = page.get_by_placeholder("words for one object, then Enter")
    field.fill("the smallest figure")
    field.press("Enter")
    view = page.locator(".ris-explorer")
    view.wait_for()
    caption = view.locator(".ris-caption")
    page.wait_for_function("document.querySelector('.ris-explorer .ris-caption').textContent.length > 0")
    assert "The answer to “the smallest figure”: its mask covers" in caption.inner_text()
    assert "IoU with the target" in caption.inner_text()  # the scene's own sentence, so its target is known
    said = float(re.search(r"covers ([\d.]+) %", caption.inner_text())[1]) / 100
    assert 0.005 < said < 0.5
    assert view.locator(".ris-stage canvas").evaluate(CLEAR) == pytest.approx(said, abs=0.01)
    field.fill("the zebra")
    field.press("Enter")
    alert = page.locator(".jp-NotebookPanel").get_by_role("alert")
    alert.wait_for()
    assert "does not know 'zebra'" in alert.inner_text()
    page.close()
