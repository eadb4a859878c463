"""Chromium, JupyterLab and marimo for browser tests: nothing but loopback is reached, and every page error counts."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

ONLY_LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", ONLY_LOOPBACK]
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; where it is missing the test is skipped with a reason, and under CI it fails."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path, sync_playwright = None, None
    if path is None:
        missing = "browser tests need chromium (apt-get install chromium) and playwright (pip install playwright)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Watched(NamedTuple):
    """A page, with what went wrong on it and what it asked for."""

    page: Any
    problems: list[str]
    requests: list[str]

    def check(self) -> None:
        """No error, no script of somebody else's, nothing from the network."""
        assert self.problems == []
        assert not self.page.evaluate("window.hasRun ?? false")
        addresses = map(urlsplit, self.requests)
        assert {(one.scheme, one.hostname) for one in addresses if one.hostname not in (None, "127.0.0.1")} == set()


@contextmanager
def watched(browser: Any, *, scheme: str = "light", width: int = 932, height: int = 1000) -> Iterator[Watched]:
    """A fresh page in a light or dark colour scheme."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    problems: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error.stack)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: requests.append(request.url))
    try:
        yield Watched(page, problems, requests)
    finally:
        page.close()


@contextmanager
def jupyter_home(folder: Path) -> Iterator[None]:
    """Settings, trust and state of Jupyter of its own, for this process and those that it starts."""
    config = folder / "config"
    config.mkdir(parents=True)
    settings = {
        "ServerApp": {"disable_check_xsrf": True, "allow_root": True, "open_browser": False},
        "LabApp": {"expose_app_in_browser": True, "news_url": None, "open_browser": False},
        "IdentityProvider": {"token": ""},
    }
    (config / "jupyter_server_config.json").write_text(json.dumps(settings))
    quiet = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    homes = {f"JUPYTER_{kind.upper()}_DIR": str(folder / kind) for kind in ("config", "data", "runtime")}
    homes |= {f"JUPYTERLAB_{kind.upper()}_DIR": str(folder / kind) for kind in ("settings", "workspaces")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in homes.items():
            patch.setenv(name, value)
        yield


@contextmanager
def jupyterlab(root: Path) -> Iterator[str]:
    """The address of a JupyterLab that serves the folder; it stops, and its kernels with it, in the end."""
    port = _free_port()
    options = {"root_dir": root, "port": port, "ip": "127.0.0.1", "port_retries": 0}
    command = ["jupyterlab", *(f"--ServerApp.{name}={value}" for name, value in options.items())]
    with _served(command, root, f"http://127.0.0.1:{port}", "/api/status") as address:
        yield address


@contextmanager
def marimo(notebook: Path) -> Iterator[str]:
    """The address of a marimo that serves the notebook as an app."""
    port = _free_port()
    command = ["marimo", "run", notebook.name, "--headless", "--no-token", f"--port={port}", "--host=127.0.0.1"]
    with _served(command, notebook.parent, f"http://127.0.0.1:{port}", "/health") as address:
        yield address


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _served(command: list[str], root: Path, address: str, status: str) -> Iterator[str]:
    """The address, once the server (a Python module with its arguments) answers there; it is stopped in the end."""
    log = root / f"{command[0]}.log"
    with log.open("wb") as said:
        server = subprocess.Popen([sys.executable, "-m", *command], stdout=said, stderr=subprocess.STDOUT, cwd=root)
    try:
        _wait_for(address + status, server, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"{address} does not answer: {log.read_text()[-2000:]}")


def open_notebook(page: Any, address: str, name: str) -> None:
    """Open a notebook of the served folder and wait until its kernel is ready."""
    page.goto(f"{address}/doc/tree/{name}?reset")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext", timeout=60_000)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")


def run_all_cells(page: Any) -> None:
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")


def wait_until_idle(page: Any) -> None:
    status = "window.jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus"
    page.wait_for_function(f"{status} === 'idle'", timeout=240_000)


def run_cell(page: Any, place: int) -> str:
    """Run one cell again and give back what it printed."""
    page.evaluate(
        """async (place) => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = place;
            await window.jupyterapp.commands.execute('notebook:run-cell');
        }""",
        place,
    )
    return "\n".join(page.locator(".jp-Cell").nth(place).locator(".jp-OutputArea-output").all_inner_texts())


def shut_down_kernel(page: Any) -> None:
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
