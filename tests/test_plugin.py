"""The tab's routes, as a browser and TensorBoard meet them."""
from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.plugins import base_plugin
from werkzeug.test import Client, TestResponse

import gradscope
from gradscope.board import files, plotly
from gradscope.board.documents import Documents
from gradscope.plugin import DOCUMENTS, GradscopePlugin, page_of
from gradscope.rules.catalogue import RULES
from tests.boards import Writer, finding, plain_run
from tests.shell import environment

ROOT = Path(gradscope.__file__).parent.parent


class Browser:
    """Asks a plugin's routes."""

    def __init__(self, logdir: Path | str | None, **context: Any) -> None:
        logdir = None if logdir is None else str(logdir)
        self.plugin = GradscopePlugin(base_plugin.TBContext(logdir=logdir, **context))
        self.apps = self.plugin.get_plugin_apps()

    def get(self, address: str, method: str = "GET", **settings: Any) -> TestResponse:
        route, _, query = address.partition("?")
        return Client(self.apps[f"/{route}"]).open(query_string=query, method=method, **settings)


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    plain_run(tmp_path / "run")
    return Browser(tmp_path)


# -- what TensorBoard asks ------------------------------------------------------------------------------------------


def test_the_entry_point() -> None:
    """`pip install` makes the tab known, with its files, and brings what draws the charts."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert "gradscope = gradscope.plugin:GradscopePlugin" in config["options.entry_points"]["tensorboard_plugins"]
    assert "static/*" == config["options.package_data"]["gradscope.board"]
    assert "plotly>=5.24" in config["options"]["install_requires"].split()


def test_it_is_there_where_a_record_is(tmp_path: Path, browser: Browser) -> None:
    metadata = browser.plugin.frontend_metadata()
    assert ("GradScope", "/index.js") == (metadata.tab_name, metadata.es_module_path)
    assert browser.plugin.is_active()
    assert not Browser(tmp_path / "elsewhere").plugin.is_active()
    assert Browser(tmp_path / "run").plugin.is_active()


@pytest.mark.parametrize("context", [{"logdir": None}, {"logdir": ""}, {"logdir": "gs://bucket"}, {"logdir": "\0"},
                                     {"logdir": "a" * 5000}])  # fmt: skip
def test_without_a_log_directory(context: dict[str, Any]) -> None:
    """Inactive, and no reason to fail."""
    browser = Browser(**context)
    assert not browser.plugin.is_active()
    assert [] == browser.get("runs").json["runs"]


def test_log_directories_with_names(tmp_path: Path) -> None:
    """`--logdir_spec`."""
    plain_run(tmp_path / "x" / "1")
    plain_run(tmp_path / "y")
    spec = f"first:{tmp_path / 'x'},second:{tmp_path / 'y'}"
    browser = Browser("", flags=type("Flags", (), {"logdir_spec": spec}))
    assert browser.plugin.is_active()
    assert ["first/1", "second"] == [run["run"] for run in browser.get("runs").json["runs"]]


def test_nothing_raises_when_looking_fails(monkeypatch: pytest.MonkeyPatch, browser: Browser) -> None:
    """A tab that fails must not take TensorBoard with it; the user gets one sentence."""

    def fail(*_: Any) -> Any:
        raise RuntimeError("planted\nfailure")

    monkeypatch.setattr("gradscope.board.runs.Runs.any", fail)
    monkeypatch.setattr(Documents, "get", fail)
    assert not browser.plugin.is_active()
    answer = browser.get("runs")
    assert (500, {"error": "gradscope could not make this: RuntimeError"}) == (answer.status_code, answer.json)


LIGHT = """
import sys
from tensorboard.plugins import base_plugin
import gradscope.plugin
plugin = gradscope.plugin.GradscopePlugin(base_plugin.TBContext(logdir=sys.argv[1]))
plugin.get_plugin_apps(), plugin.is_active(), plugin.frontend_metadata()
heavy = ("torch", "rich", "plotly", "pandas", "sklearn", "tensorflow", "gradscope.rules", "gradscope.board.heatmap")
print([name for name in heavy if name in sys.modules])
from werkzeug.test import Client
apps = plugin.get_plugin_apps()
for address in ("/runs", "/run?run=run", "/heatmap?run=run", "/moment?run=run", "/rule?code=GS101", "/plotly.js"):
    route, _, query = address.partition("?")
    assert Client(apps[route]).get("/?" + query).status_code == 200, address
print([name for name in ("torch", "plotly", "pandas", "sklearn") if name in sys.modules])
"""


def test_it_starts_in_no_time(tmp_path: Path) -> None:
    """TensorBoard loads it at every start: no torch, no rules, nothing heavy; torch never."""
    plain_run(tmp_path / "run")
    command = [sys.executable, "-c", LIGHT, str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert ("[]\n[]\n", "") == (done.stdout, done.stderr)


# -- routes ---------------------------------------------------------------------------------------------------------


def test_each_document_has_a_route() -> None:
    """And no other: the plugin lists them without importing what makes them."""
    assert DOCUMENTS == Documents(None, page_of, tuple).names  # type: ignore[arg-type]
    shown = {f"/{name}" for name in (*DOCUMENTS, *files.SCRIPTS, *files.OTHERS, "plotly.js")}
    assert shown | {f"/static/{name}" for name in (*files.SCRIPTS, *files.OTHERS)} == set(Browser(None).apps)


@pytest.mark.parametrize("address", ["files", "runs", "run?run=run", "curves?run=run", "rule?code=GS101",
                                     "heatmap?run=run&stat=state&lines=0-2", "parameter?run=run&line=1",
                                     "moment?run=run&step=3"])  # fmt: skip
def test_documents_are_json(browser: Browser, address: str) -> None:
    answer = browser.get(address)
    assert (200, "application/json; charset=utf-8") == (answer.status_code, answer.headers["Content-Type"])
    assert ("nosniff", "no-store") == (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"])
    assert "error" not in answer.json
    head = browser.get(address, "HEAD")
    assert (200, b"", answer.headers["Content-Length"]) == (head.status_code, head.data, head.headers["Content-Length"])


@pytest.mark.parametrize("address, status", [("run?run=none", 404), ("run", 404), ("heatmap?run=run&stat=x", 400),
                                             ("heatmap?run=run&stream=9", 404), ("curves?run=run&from=x", 400),
                                             ("moment?run=run&step=99", 404), ("rule?code=%3Cb%3E", 404),
                                             ("run?run=..%2Frun", 404), ("run?run=run%00", 404)])  # fmt: skip
def test_what_is_refused(browser: Browser, address: str, status: int) -> None:
    """One sentence, and what is wrong is the status."""
    answer = browser.get(address)
    assert status == answer.status_code
    assert ["error"] == list(answer.json) and "\n" not in answer.json["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_get(browser: Browser, method: str) -> None:
    assert 405 == browser.get("runs", method).status_code


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(DOCUMENTS), query=st.text("&=%0123456789-,*abcfgilmnoprstu\\/.\0é", max_size=60))
def test_any_address(browser: Browser, name: str, query: str) -> None:
    """Whatever comes: an answer in JSON, never a traceback."""
    answer = browser.get(f"{name}?run=run&{query}")
    assert answer.status_code in (200, 400, 404)
    assert isinstance(json.loads(answer.data), dict)


def test_findings_are_in_order_and_have_pages(tmp_path: Path) -> None:
    """Causes first, as the rules know them: what is folded under what is worked out anew."""
    writer = plain_run(tmp_path / "run")
    for told in (("GS203", "warning"), ("GS101", "error")):
        writer.folder.finding(finding(*told))
    browser = Browser(tmp_path)
    run = browser.get("run?run=run").json
    assert [("GS101", None), ("GS203", "GS101")] == [(f["code"], f["caused_by"]) for f in run["findings"]]
    assert (1, 0) == tuple(browser.get("runs").json["runs"][0][name] for name in ("errors", "warnings"))
    for rule in RULES:
        assert rule.page() == browser.get(f"rule?code={rule.code}").json["page"]


def test_the_files_of_the_front_end(browser: Browser) -> None:
    """Those that are listed, and nothing else that lies beside them."""
    lying = {file.name for file in files.FOLDER.iterdir() if file.suffix in (".js", ".css")}
    assert set(files.SCRIPTS) <= lying
    for name in lying & {*files.SCRIPTS, *files.OTHERS}:
        answer = browser.get(name)
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        assert (200, f"{kind}; charset=utf-8") == (answer.status_code, answer.headers["Content-Type"])
        assert answer.data == (files.FOLDER / name).read_bytes() == browser.get(f"static/{name}").data
    for name in ("__init__.py", "../plugin.py", "", "INDEX.js"):
        with pytest.raises(KeyError):
            files.read(name)


def test_plotly(browser: Browser) -> None:
    """The installed one, zipped for a browser that can unzip."""
    script = plotly.script()
    assert script is not None and script.stat().st_size > 1e6
    assert browser.get("files").json["plotly"] is True
    plain, zipped = browser.get("plotly.js"), browser.get("plotly.js", headers={"Accept-Encoding": "gzip, br"})
    assert "text/javascript; charset=utf-8" == plain.headers["Content-Type"]
    assert script.read_bytes() == plain.data == gzip.decompress(zipped.data)
    assert "gzip" == zipped.headers["Content-Encoding"]


@pytest.mark.parametrize("found", [None, "elsewhere"])
def test_without_plotly(browser: Browser, monkeypatch: pytest.MonkeyPatch, found: str | None, tmp_path: Path) -> None:
    """Not installed, or without its script: the tab works, and says what to install."""
    spec = None if found is None else type("Spec", (), {"submodule_search_locations": [str(tmp_path / found)]})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert browser.get("files").json["plotly"] is False
    answer = browser.get("plotly.js")
    assert (404, "the charts need plotly: pip install plotly") == (answer.status_code, answer.json["error"])


# -- in TensorBoard itself ------------------------------------------------------------------------------------------

DISTRIBUTION = """Metadata-Version: 2.1
Name: gradscope
Version: {version}
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """`served(arguments)` starts TensorBoard with the entry point of setup.cfg, and returns its address."""
    known = tmp_path / "installed" / f"gradscope-{gradscope.__version__}.dist-info"  # whatever is installed here
    known.mkdir(parents=True)
    (known / "METADATA").write_text(DISTRIBUTION.format(version=gradscope.__version__))
    (known / "entry_points.txt").write_text("[tensorboard_plugins]\ngradscope = gradscope.plugin:GradscopePlugin\n")
    servers: list[subprocess.Popen[bytes]] = []

    def serve(*arguments: str) -> str:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        command = [sys.executable, "-m", "tensorboard.main", "--host", "127.0.0.1", "--port", str(port), *arguments]
        path = f"{known.parent}:{ROOT}"
        environ = {**environment(), "PYTHONPATH": path}
        servers.append(subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return f"http://127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.terminate()
        server.wait()


def fetch(address: str, seconds: float = 60.0) -> Any:
    """A document, as soon as the server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return {"status": error.code}
        except OSError:
            assert time.monotonic() < deadline, "TensorBoard does not answer"
            time.sleep(0.2)


@pytest.mark.parametrize("loading", [[], ["--load_fast=false"]])
def test_tensorboard_has_the_tab(served: Any, tmp_path: Path, loading: list[str]) -> None:
    """Enabled where there is a run; the routes work, nothing outside can be read; a run that goes on shows more."""
    writer: Writer = plain_run(tmp_path / "logs" / "run", steps=5)
    address = served("--logdir", str(tmp_path / "logs"), *loading)
    listed = fetch(f"{address}/data/plugins_listing")["gradscope"]
    assert (True, "GradScope") == (listed["enabled"], listed["tab_name"])
    assert "/data/plugin/gradscope/index.js" == listed["loading_mechanism"]["module_path"]
    at = f"{address}/data/plugin/gradscope"
    assert [("run", 5)] == [(run["run"], run["steps"]) for run in fetch(f"{at}/runs")["runs"]]
    assert 404 == fetch(f"{at}/static/..%2f..%2fplugin.py")["status"]
    assert 404 == fetch(f"{at}/run?run=..%2Frun")["status"]
    writer.meta.rows = 50
    writer.flush("running")
    assert [50] == [run["steps"] for run in fetch(f"{at}/runs")["runs"]]
