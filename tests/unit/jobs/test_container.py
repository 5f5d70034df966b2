"""Jobs inside an image: the script that starts it, with a fake runtime that writes down how it was
called; what is refused on the node and at submission. Real containers: tests/cluster."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoagent.config import Config, resolve
from geoagent.errors import UsageError
from geoagent.run import Run
from jobs.container import enter, images
from jobs.container.binds import Bind, binds_of
from jobs.container.check import check_images
from jobs.container.enter import interpreter
from jobs.container.images import described, image_of
from jobs.container.said import INSIDE, refusal
from jobs.plan import make_plan

FAKE = """#!/bin/bash
# Not Apptainer: it writes down how it was called, and runs what the image's Python would.
printf '%s\\0' "$@" > "$FAKE_CALLED/arguments"
env -0 > "$FAKE_CALLED/environment"
while [[ $1 != /opt/geoagent/bin/python ]]; do shift; done
exec "${FAKE_PYTHON:-true}" "${@:2}"
"""
HERE = Path(enter.__file__).parent


@dataclass
class Node:
    """A machine with a fake runtime, a run and an image."""

    folder: Path
    config: Config
    home: Run
    variables: dict[str, str]

    @property
    def image(self) -> Path:
        return self.folder / "train.sif"

    @property
    def scratch(self) -> Path:
        return self.folder / "local"

    def script(self, stage: str = "sft") -> Path:
        plan = make_plan(self.config, ["sft", "grpo", "eval"])
        chosen = {one.name: one for one in (*plan.stages, *([plan.agent] if plan.agent else []))}
        command = interpreter([self.config], self.home, chosen[stage])
        assert command is not None
        return Path(shlex.split(command)[1])

    def run(
        self, script: Path, *words: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(script), *words],
            capture_output=True,
            text=True,
            cwd=cwd or self.folder,
            env=self.variables | variables,
            timeout=60,
        )

    def arguments(self) -> list[str]:
        return (self.folder / "arguments").read_text().split("\0")[:-1]

    def environment(self) -> dict[str, str]:
        entries = (self.folder / "environment").read_text().split("\0")[:-1]
        return dict(entry.split("=", 1) for entry in entries)

    def refused(self, job: str = "here") -> str:
        return refusal(self.home, self.home, job) or ""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "local").mkdir()
    put(tmp_path / "bin" / "apptainer", FAKE)
    (tmp_path / "train.sif").write_bytes(b"an image")
    config = resolve(["container.runtime=apptainer", f"container.train_image={tmp_path}/train.sif"])
    home = Run(tmp_path / "runs" / "one")
    home.path.mkdir(parents=True)
    variables = {
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "TMPDIR": str(tmp_path / "local"),
        "FAKE_CALLED": str(tmp_path),
        "SLURMD_NODENAME": "n1",
    }
    return Node(tmp_path, config, home, variables)


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


# --- the command line --------------------------------------------------------------------------


def test_the_command_line_of_apptainer(node: Node) -> None:
    result = node.run(node.script(), "-u", "-m", "submitit.core._submit", "a folder")
    assert result.returncode == 0, result.stderr
    found = " ".join(node.arguments())
    scratch = node.environment()["APPTAINERENV_TMPDIR"].removesuffix("/tmp")
    found = found.replace(scratch, "SCRATCH").replace(str(node.folder), "HERE")
    infiniband = " --bind /dev/infiniband" if Path("/dev/infiniband").is_dir() else ""
    assert found == (
        "exec --cleanenv --home SCRATCH/home --pwd HERE"
        " --bind HERE:HERE:ro --bind HERE/runs/one:HERE/runs/one:rw"
        f" --bind SCRATCH --bind /dev/shm{infiniband}"
        " HERE/train.sif /opt/geoagent/bin/python -u -m submitit.core._submit a folder"
    )
    assert scratch.startswith(str(node.scratch))


def test_gpus_come_along_where_the_stage_asks_for_them(node: Node) -> None:
    node.config = configured(node, "cluster.sft.gpus_per_node=2")
    script = node.script()
    (node.folder / "nvidia0").touch()
    script.write_text(script.read_text().replace("/dev/nvidia[", f"{node.folder}/nvidia["))
    assert node.run(script).returncode == 0
    assert "--nv" in node.arguments()
    assert node.run(node.script("prepare")).returncode == 0
    assert "--nv" not in node.arguments()


def configured(node: Node, *words: str) -> Config:
    image = f"container.train_image={node.image}"
    return resolve(["container.runtime=apptainer", image, *words])


def test_only_variables_on_the_list_come_in(node: Node) -> None:
    node.config = configured(
        node,
        "cluster.environment={MY_FABRIC: ib0}",
        "container.environment=[WANDB_*, TORCH_HOME]",
        "agent.token_variable=OPENAI_API_KEY",
    )
    given = {
        "NCCL_DEBUG": "INFO",
        "OMP_NUM_THREADS": "4",
        "SLURM_JOB_ID": "12",
        "https_proxy": "http://proxy:3128",
        "HF_HUB_OFFLINE": "1",
        "GEOAGENT_AGENT_TOKEN": "very\nsecret",
        "MY_FABRIC": "ib0",
        "WANDB_API_KEY": "key",
        "TORCH_HOME": "/shared/torch",
        "OPENAI_API_KEY": "key",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "USER": "somebody",
    }
    kept_out = {
        "LD_LIBRARY_PATH": "/host",
        "AWS_SECRET_ACCESS_KEY": "x",
        "PYTHONHOME": "/host",
        "CUDA_HOME": "/opt/modules/cuda",
        "HF_DATASETS_CACHE": "/home/me",
        "TORCH_EXTENSIONS_DIR": "/home/me",
    }
    assert node.run(node.script(), **given, **kept_out).returncode == 0
    found = node.environment()
    for name, value in given.items():
        assert found[f"APPTAINERENV_{name}"] == value
    assert not [name for name in kept_out if f"APPTAINERENV_{name}" in found]
    assert found["APPTAINERENV_PYTHONPATH"] == str(node.home.code)
    assert found["APPTAINERENV_PYTHONNOUSERSITE"] == "1"
    digest = hashlib.sha256(b"an image").hexdigest()
    assert found[f"APPTAINERENV_{INSIDE}"] == f"{node.image}@sha256:{digest}"


def test_no_secret_is_on_the_command_line_or_in_the_script(node: Node) -> None:
    script = node.script()
    node.run(script, GEOAGENT_AGENT_TOKEN="very-secret")
    assert "very-secret" not in " ".join(node.arguments()) + script.read_text()


def test_caches_are_on_the_node_and_leave_with_the_job(node: Node) -> None:
    assert node.run(node.script()).returncode == 0
    found = node.environment()
    for name in ("TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "TRITON_CACHE_DIR"):
        assert found[f"APPTAINERENV_{name}"].startswith(f"{node.scratch}/geoagent-")
    gone(node)


def gone(node: Node) -> None:
    """All that a job had on the node, soon after it has ended."""
    deadline = time.monotonic() + 60
    while [*node.scratch.glob("geoagent-*-*")]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["scratch", "relay", "home", "python", "image", "kept"])
def test_variables_that_are_called_like_the_scripts_own(node: Node, name: str) -> None:
    precious = node.folder / "precious"
    precious.mkdir()
    assert node.run(node.script(), **{name: str(precious)}).returncode == 0
    result = node.run(node.script(), **{name: str(precious), "TMPDIR": "/proc"})
    assert result.returncode == 2
    assert precious.is_dir()


def test_what_a_killed_job_has_left_is_removed(node: Node) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = node.scratch / f"geoagent-{os.getuid()}-n1-{ended.pid}-abcdef"
    mine = node.scratch / f"geoagent-{os.getuid()}-n1-{os.getpid()}-abcdef"
    other = node.scratch / f"geoagent-{os.getuid()}-n2-{ended.pid}-abcdef"
    for folder in (left, mine, other):
        folder.mkdir()
    assert node.run(node.script()).returncode == 0
    assert not left.exists()
    assert mine.exists()
    assert other.exists()  # nodes may share the place


def test_it_ends_as_the_program_inside_does(node: Node) -> None:
    result = node.run(node.script(), "-c", "exit 7", FAKE_PYTHON="bash")
    assert result.returncode == 7
    assert not node.refused()


def test_what_is_written_inside_has_the_rights_it_would_have_outside(node: Node) -> None:
    assert node.run(node.script(), "-c", "umask", FAKE_PYTHON="bash").stdout == run("umask")


def run(command: str) -> str:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout


def test_signals_to_the_script_are_the_programs(node: Node) -> None:
    """Where Slurm keeps a job's processes in cgroups it signals only those that it started."""
    heard = "trap 'echo heard; exit 3' USR2; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        ["bash", str(node.script()), "-c", heard],
        stdout=subprocess.PIPE,
        text=True,
        env=node.variables | {"FAKE_PYTHON": "bash"},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGUSR2)
    assert process.communicate(timeout=20)[0] == "heard\n"
    assert process.returncode == 3
    gone(node)


def test_singularity_will_do(node: Node) -> None:
    (node.folder / "bin" / "apptainer").rename(node.folder / "bin" / "singularity")
    assert node.run(node.script(), TZ="UTC").returncode == 0
    assert node.environment()["SINGULARITYENV_TZ"] == "UTC"


# --- refused on the node -----------------------------------------------------------------------


def check_refused(node: Node, result: subprocess.CompletedProcess[str], said: str) -> None:
    assert result.returncode == 2
    assert result.stderr.startswith("error: node n1: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert said in node.refused()
    assert not (node.folder / "arguments").exists()


def test_an_image_that_is_gone(node: Node) -> None:
    script = node.script()
    node.image.unlink()
    check_refused(node, node.run(script), f"there is no image {node.image}: is its file system")


def test_an_image_that_was_changed_after_submission(node: Node) -> None:
    script = node.script()
    assert node.run(script).returncode == 0
    (node.folder / "arguments").unlink()
    node.image.write_bytes(b"another")
    check_refused(node, node.run(script), "is another one than at submission (sha256 ")


def test_a_large_image_is_read_once_a_node(node: Node) -> None:
    script = node.script()
    put(node.folder / "bin" / "sha256sum", '#!/bin/bash\necho >> "$FAKE_CALLED/read"\n'
        "exec /usr/bin/sha256sum\n")  # fmt: skip
    for _ in range(3):
        assert node.run(script).returncode == 0
    assert (node.folder / "read").read_text() == "\n"


def test_a_folder_that_this_node_has_not(node: Node) -> None:
    data = node.folder / "more data"
    data.mkdir()
    node.config = configured(node, f"container.binds=['{data}:/data:ro']")
    script = node.script()
    data.rmdir()
    check_refused(node, node.run(script), f"{data} is not there, and jobs are to see it")


def test_no_gpu_on_the_node(node: Node) -> None:
    if [*Path("/dev").glob("nvidia[0-9]*")]:
        pytest.skip("this machine has a GPU")
    node.config = configured(node, "cluster.sft.gpus_per_node=2")
    said = "there is no /dev/nvidia* here, and sft asks for 2 GPUs a node"
    check_refused(node, node.run(node.script()), said)
    assert "cluster.additional.exclude=n1" in node.refused()


def test_scratch_that_cannot_be_written(node: Node) -> None:
    result = node.run(node.script(), TMPDIR="/proc")
    check_refused(node, result, "/proc cannot be written: name a folder on its own disk in TMPDIR")


def test_no_runtime_on_the_node(node: Node) -> None:
    (node.folder / "bin" / "apptainer").unlink()
    check_refused(node, node.run(node.script()), "there is no apptainer here: load its module")


def test_a_refusal_is_forgotten_once_the_node_can(node: Node) -> None:
    script, there = node.script(), node.image.with_name("away")
    node.image.rename(there)
    assert node.run(script, SLURM_JOB_ID="17").returncode == 2
    assert "there is no image" in node.refused("17")
    there.rename(node.image)
    assert node.run(script, SLURM_JOB_ID="17").returncode == 0
    assert not node.refused("17")


def test_elements_of_an_array_are_told_apart(node: Node) -> None:
    script = node.script()
    node.image.unlink()
    of_array = {"SLURM_JOB_ID": "21", "SLURM_ARRAY_JOB_ID": "20", "SLURM_ARRAY_TASK_ID": "1"}
    assert node.run(script, **of_array).returncode == 2
    assert "there is no image" in node.refused("20_1")


# --- Slurm's commands from inside --------------------------------------------------------------

SLURM = """#!/bin/bash
printf '%s|' "${0##*/}" "$@"
echo "to stderr" >&2
exit 5
"""


@pytest.fixture
def relayed(node: Node) -> Node:
    for name in ("scontrol", "squeue", "sacct", "sbatch"):
        put(node.folder / "bin" / name, SLURM)
    return node


def ask(node: Node, *words: str) -> subprocess.CompletedProcess[str]:
    """Have the program inside run a command by the path that it has there."""
    command = (
        "PATH=$APPTAINERENV_PREPEND_PATH:/usr/bin:/bin "
        'GEOAGENT_RELAY=$APPTAINERENV_GEOAGENT_RELAY "$@"'
    )
    return node.run(node.script(), "-c", command, "-", *words, FAKE_PYTHON="bash")


def test_commands_of_slurm_are_run_outside(relayed: Node) -> None:
    result = ask(relayed, "scontrol", "show", "job", "two words", "", "a\nline")
    assert result.stdout == "scontrol|show|job|two words||a\nline|"
    assert (result.stderr, result.returncode) == ("to stderr\n", 5)


@pytest.mark.parametrize(
    "words",
    [["scontrol", "shutdown"], ["sbatch", "script.sh"], ["scontrol"], ["sbatch", "--wrap=id"]],
)
def test_others_are_not_let_out(relayed: Node, words: list[str]) -> None:
    result = ask(relayed, *words)
    assert result.returncode == 1
    assert "is not let out of the image" in result.stderr
    assert not result.stdout


def test_the_relay_ends_with_its_job(relayed: Node) -> None:
    assert ask(relayed, "squeue").returncode == 5
    gone(relayed)
    deadline = time.monotonic() + 60
    while relays(relayed):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def relays(node: Node) -> bytes:
    return subprocess.run(["pgrep", "-f", f"relay.sh {node.scratch}"], capture_output=True).stdout


def test_a_relay_that_starts_late(relayed: Node) -> None:
    slow = '#!/bin/bash\n[[ $* == *relay.sh* ]] && sleep 1\nexec /bin/bash "$@"\n'
    put(relayed.folder / "bin" / "bash", slow)
    assert ask(relayed, "squeue").returncode == 5
    assert ask(relayed, "bash", "-c", "[[ -p $GEOAGENT_RELAY/bell ]]").returncode == 0
    kept = relayed.script().parent / "relay.sh"
    result = relayed.run(relayed.script(), str(kept), FAKE_PYTHON="rm")
    assert (result.returncode, kept.exists()) == (0, False)
    gone(relayed)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_arguments_arrive_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("relay")
    put(folder / "squeue", "#!/bin/bash\nprintf '%s\\0' \"$@\"\n")
    (folder / "bin").mkdir()
    put(folder / "bin" / "squeue", (HERE / "ask.sh").read_text())
    (folder / "relay").mkdir()
    os.mkfifo(folder / "relay" / "bell")
    relay = subprocess.Popen(
        ["bash", str(HERE / "relay.sh"), str(folder), str(os.getpid())],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
    )
    try:
        result = subprocess.run(
            [str(folder / "bin" / "squeue"), *words],
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", "GEOAGENT_RELAY": str(folder / "relay")},
            timeout=30,
        )
    finally:
        relay.kill()
        relay.wait()
    shown = result.stdout.decode().split("\0")[:-1]
    assert shown == (words or [""])  # printf says something even of nothing


# --- at submission -----------------------------------------------------------------------------


def test_the_digest_of_a_setting_must_be_the_files(node: Node) -> None:
    digest = hashlib.sha256(b"an image").hexdigest()
    right = replaced(node, f"{node.image}@sha256:{digest}")
    assert image_of(right, "sft") == images.Image(node.image, digest, 8)
    with pytest.raises(UsageError, match=r"train_image: .*train.sif has sha256 .* is asked for"):
        image_of(replaced(node, f"{node.image}@sha256:{'0' * 64}"), "sft")


def replaced(node: Node, image: str) -> Config:
    return replace(node.config, container=replace(node.config.container, train_image=image))


def test_images_that_are_none(node: Node) -> None:
    with pytest.raises(UsageError, match=r"train_image: .*there is no such file; make images"):
        image_of(replaced(node, "none.sif"), "sft")
    with pytest.raises(UsageError, match=r"is no file; name the image's file"):
        image_of(replaced(node, str(node.folder)), "sft")


def test_the_agent_may_have_an_image_of_its_own(node: Node) -> None:
    other = node.folder / "agent.sif"
    other.write_bytes(b"other")
    config = configured(node, f"container.agent_image={other}")
    assert image_of(config, "agent").path == other
    assert image_of(config, "grpo").path == node.image
    found = described(config)
    assert found["agent"] == {
        "path": str(other),
        "sha256": hashlib.sha256(b"other").hexdigest(),
        "bytes": 5,
    }
    json.dumps(found)


def test_a_digest_is_known_until_the_file_changes(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images.sha256_of(node.image)
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", None)
        assert images.sha256_of(node.image) == before
    node.image.write_bytes(b"another one")
    assert images.sha256_of(node.image) == hashlib.sha256(b"another one").hexdigest()


def test_what_the_configuration_names_is_seen(node: Node) -> None:
    places = {name: node.folder / name for name in ("model", "judge", "more", "geocoder")}
    for place in places.values():
        place.mkdir()
    key = node.folder / "key"
    key.write_text("secret")
    config = configured(
        node,
        "model.kind=pretrained",
        f"model.path={places['model']}",
        "agent.backend=vllm",
        f"agent.model={places['judge']}",
        f"container.binds=[{places['more']}:/more]",
        f"rewards.geocoder.cache={places['geocoder']}",
        "rewards.geocoder.service=nominatim",
        f"rewards.geocoder.key_file={key}",
    )
    found = {bind.target: bind for bind in binds_of([config], node.home)}
    for path in (node.folder, places["model"], places["judge"], key):
        assert found[path] == Bind(path, path)
    for path in (node.home.path, places["geocoder"]):
        assert found[path] == Bind(path, path, writable=True)
    assert found[Path("/more")] == Bind(places["more"], Path("/more"), writable=True)


def test_what_search_reads_and_writes_is_seen(node: Node) -> None:
    guides, record, cache = (node.folder / name for name in ("guides", "record", "cache"))
    guides.mkdir()
    key = node.folder / "search-key"
    key.write_text("secret")
    offline = [f"documents={guides}", f"record={record / 'searches.jsonl'}"]
    online = ["provider=brave", f"key_file={key}", f"cache={cache}"]
    replay = [f"replay={record / 'searches.jsonl'}"]
    found = {}
    for words in (replay, offline, online):
        config = configured(node, *(f"rollout.search.{word}" for word in words))
        record.mkdir(exist_ok=True)
        found[words[0]] = {bind.target: bind for bind in binds_of([config], node.home, make=True)}
    assert found[replay[0]][record] == Bind(record, record)
    assert found[offline[0]][guides] == Bind(guides, guides)
    assert found[offline[0]][record] == Bind(record, record, writable=True)
    assert found[online[0]][key] == Bind(key, key)
    assert found[online[0]][cache] == Bind(cache, cache, writable=True)


def test_images_of_a_dataset_elsewhere_are_seen(node: Node) -> None:
    data, pictures = node.folder / "data", node.folder / "pictures"
    data.mkdir()
    pictures.mkdir()
    (data / "dataset.json").write_text(json.dumps({"images": str(pictures)}))
    sources = [bind.source for bind in binds_of([configured(node, f"data.path={data}")], node.home)]
    assert {data, pictures} <= {*sources}


def test_a_path_that_no_runtime_can_be_told(node: Node) -> None:
    odd = node.folder / "a:b"
    odd.mkdir()
    with pytest.raises(UsageError, match="its name has a colon or a comma"):
        binds_of([configured(node, f"data.path={odd}")], node.home)
    with pytest.raises(UsageError, match=r"container.binds: /nowhere: is not there"):
        binds_of([configured(node, "container.binds=[/nowhere]")], node.home)


PLAN = ("prepare", "sft")


def probed(node: Node, monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    """Look into an image whose Python is such a program."""
    put(node.folder / "python", python)
    for name, value in {**node.variables, "FAKE_PYTHON": str(node.folder / "python")}.items():
        monkeypatch.setenv(name, value)
    check_images(node.config, make_plan(node.config, PLAN))


def says(**facts: object) -> str:
    known = {"python": [3, 11], "lacks": [], "submitit": "1.5.4", **facts}
    return f"#!/bin/bash\necho '{json.dumps(known)}'\n"


@pytest.mark.parametrize(
    ("python", "problem"),
    [
        (says(lacks=["geoagent", "swift"]), "lacks geoagent, swift: it is no image for prepare"),
        (says(python=[3, 10]), "has Python 3.10 and submitit 1.5.4"),
        (says(submitit="1.4.0"), "has Python 3.11 and submitit 1.4.0; jobs are submitted from"),
        ("#!/bin/bash\necho 'no such file' >&2\nexit 255\n", "does not start (no such file)"),
    ],
)
def test_an_image_without_what_jobs_need(
    node: Node, monkeypatch: pytest.MonkeyPatch, python: str, problem: str
) -> None:
    with pytest.raises(UsageError) as caught:
        probed(node, monkeypatch, python)
    assert str(caught.value).startswith("container.train_image: ")
    assert problem in str(caught.value)


def test_an_image_that_will_do(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    probed(node, monkeypatch, says())
    assert "torch" in node.arguments()
    gone(node)


def test_no_image_within_an_image(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INSIDE, "train.sif")
    stage = make_plan(node.config, PLAN).stages[0]
    assert interpreter([node.config], node.home, stage) is None


def test_without_images_nothing_is_written(node: Node) -> None:
    plan = make_plan(Config(), PLAN)
    assert interpreter([Config()], node.home, plan.stages[0]) is None
    assert not [*node.home.path.iterdir()]


def test_names_with_quotes_and_spaces(node: Node) -> None:
    odd = node.folder / "it's a $(place)"
    odd.mkdir()
    node.config = configured(node, f'container.binds=["{odd}"]')
    assert node.run(node.script()).returncode == 0
    assert f"{odd}:{odd}:rw" in node.arguments()


# --- binds -------------------------------------------------------------------------------------


def test_links_in_a_place_that_is_seen_lead_to_what_is_seen(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime cannot mount on a link; what it leads to is there by its own name."""
    project, elsewhere = node.folder / "project", node.folder / "elsewhere"
    for folder in (project, elsewhere / "runs" / "one"):
        folder.mkdir(parents=True)
    (project / "runs").symlink_to(elsewhere / "runs")
    monkeypatch.chdir(project)
    found = binds_of([node.config], Run(project / "runs" / "one"))
    real = elsewhere / "runs" / "one"
    assert Bind(real, real, writable=True) in found
    assert project / "runs" / "one" not in [bind.target for bind in found]


def test_a_link_elsewhere_is_seen_by_its_name_too(node: Node, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="data") as folder:
        link = Path(folder) / "link"
        (Path(folder) / "real").mkdir()
        link.symlink_to("real")
        found = binds_of([configured(node, f"data.path={link}")], node.home)
    real = Path(folder) / "real"
    assert {Bind(real, real), Bind(real, link)} <= {*found}


def test_the_blobs_of_a_hub_snapshot_are_seen(node: Node) -> None:
    with tempfile.TemporaryDirectory(prefix="hub") as hub:
        blobs, snapshot = Path(hub) / "blobs", Path(hub) / "snapshots" / "abc"
        blobs.mkdir()
        snapshot.mkdir(parents=True)
        (blobs / "1").write_text("{}")
        (snapshot / "config.json").symlink_to("../../blobs/1")
        config = configured(node, "model.kind=pretrained", f"model.path={snapshot}")
        assert Bind(blobs, blobs) in binds_of([config], node.home)


def test_what_is_above_comes_first_and_hides_nothing(node: Node) -> None:
    config = configured(node, f"container.binds=[{node.folder.parent}:{node.folder.parent}:ro]")
    targets = [bind.target for bind in binds_of([config], node.home)]
    assert targets.index(node.folder.parent) < targets.index(node.home.path)


def test_runs_of_an_array_see_what_each_of_them_needs(node: Node) -> None:
    folders = [node.folder.parent / f"model-{name}" for name in "ab"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    configs = [configured(node, "model.kind=pretrained", f"model.path={f}") for f in folders]
    assert {*folders} <= {bind.source for bind in binds_of(configs, node.home)}


def test_jobs_that_wait_keep_their_script(node: Node) -> None:
    before = node.script()
    text = before.read_text()
    node.config = configured(node, "cluster.sft.gpus_per_node=2")
    assert node.script() != before
    assert before.read_text() == text


def test_a_dry_run_makes_no_folder(node: Node) -> None:
    cache = node.folder / "answers"
    config = configured(
        node, "rewards.geocoder.service=nominatim", f"rewards.geocoder.cache={cache}"
    )
    binds_of([config], node.home)
    assert not cache.exists()
    assert Bind(cache, cache, writable=True) in binds_of([config], node.home, make=True)
    bad = configured(node, "rewards.geocoder.service=nominatim", "rewards.geocoder.cache=/proc/no")
    with pytest.raises(UsageError, match="/proc/no: "):
        binds_of([bad], node.home, make=True)


@pytest.mark.parametrize("variable", ["GEOAGENT_GAZETTEER", "GEOAGENT_SEARCH_INDEX"])
def test_a_database_that_is_named_comes_along(
    node: Node, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="bundle") as folder:
        file = Path(folder) / "places.sqlite"
        file.touch()
        monkeypatch.setenv(variable, str(file))
        assert node.run(node.script(), **{variable: "other"}).returncode == 0
        assert node.environment()[f"APPTAINERENV_{variable}"] == str(file)
        assert f"{folder}:{folder}:ro" in node.arguments()


def test_a_refusal_of_an_earlier_start_is_not_told_again(node: Node) -> None:
    script, there = node.script(), node.image.with_name("away")
    node.image.rename(there)
    assert node.run(script, SLURM_JOB_ID="30").returncode == 2
    there.rename(node.image)
    again = {"SLURM_JOB_ID": "30", "SLURM_RESTART_COUNT": "1", "SLURMD_NODENAME": "n2"}
    assert node.run(script, **again).returncode == 0
    assert not node.refused("30")


def test_a_local_job_within_an_allocation_has_its_own_number(node: Node) -> None:
    script = node.script()
    node.image.unlink()
    local = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "4711", "SLURM_JOB_ID": "500"}
    assert node.run(script, **local).returncode == 2
    assert "there is no image" in node.refused("4711")


def test_an_image_is_taken_for_apptainers_unless_it_is_said(node: Node) -> None:
    image = f"container.train_image={node.image}"
    assert images.runtime_of(resolve([image])) == "apptainer"
    assert images.runtime_of(resolve([image, "container.runtime=none"])) == "none"
    assert images.runtime_of(Config()) == "none"
