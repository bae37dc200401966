"""Starts JupyterLab for the browser tests, on loopback and apart from the user's own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

START_SECONDS = 60.0


class LabServer:
    """A JupyterLab on loopback that touches nothing outside its own folder.

    Args:
        folder: an empty folder; the notebooks served lie in its `notebooks`.
        package_root: the checkout whose package the kernels import, installed or not.
    """

    def __init__(self, folder: Path, package_root: Path) -> None:
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.log = folder / "server.log"
        self._package_root = package_root
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> LabServer:
        self.notebooks.mkdir()
        self._write_settings()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"]
        command += [
            f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.notebooks}",
            "--ServerApp.allow_root=True",
            "--ServerApp.disable_check_xsrf=True",
            "--IdentityProvider.token=",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly",
            "--LanguageServerManager.autodetect=False",
            # What a test leaves behind need not end by itself.
            "--KernelManager.shutdown_wait_time=0.2",
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_until_it_answers()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def add_notebook(self, path: Path) -> str:
        """Copies a notebook to where it is served, and returns its path there."""
        number = sum(1 for _ in self.notebooks.iterdir())
        folder = self.notebooks / f"{number:03d}"
        folder.mkdir()
        shutil.copy(path, folder / path.name)
        return f"{folder.name}/{path.name}"

    def shut_down_kernels(self) -> None:
        """Ends every kernel, so that no test meets, or pays for, another's."""
        for session in json.loads(self._request("GET", "/api/sessions")):
            self._request("DELETE", f"/api/sessions/{session['id']}")

    def _request(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: bytes = answer.read()
            return body

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._request("GET", "/api/status")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise AssertionError(f"JupyterLab did not start; its log:\n{self.log.read_text()}")

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self._package_root), os.environ.get("PYTHONPATH", "")])
        return {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            # The kernel written below must win over any `python3` beside this Python.
            "JUPYTER_PREFER_ENV_PATH": "0",
            "JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "workspaces"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": path.rstrip(os.pathsep),
        }

    def _write_settings(self) -> None:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        kernel = {"argv": argv, "display_name": "Python 3", "language": "python"}
        settings = {
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "docmanager-extension/plugin": {"autosave": False},
        }
        files = {
            f"settings/@jupyterlab/{name}.jupyterlab-settings": content
            for name, content in settings.items()
        }
        files["data/kernels/python3/kernel.json"] = kernel
        for name, content in files.items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(content))
