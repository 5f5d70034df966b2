"""Serves the consistency agent: `python -m geoagent.agent.server --run DIR --replica K`.

The embedded backend is llama.cpp inside this process (xllamacpp) with a small model that comes in
a wheel; `vllm` starts `vllm serve`. Both speak OpenAI's API and ask for a bearer token. A replica
announces itself only after it has answered a real question.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import RENEW_S, Endpoint, endpoint_file
from geoagent.agent.prompt import HEALTH
from geoagent.config import AgentConfig
from geoagent.errors import OutageError, UsageError, end_now, exit_code
from geoagent.files import sha256
from geoagent.progress import Progress
from geoagent.run import Run

_LOOK_S: Final = 10.0


@dataclass(frozen=True)
class _Server:
    """A started server, and how to see whether it still runs and to stop it."""

    url: str
    model: str
    running: Callable[[], bool]
    stop: Callable[[], None]


def serve(
    settings: AgentConfig,
    folder: Path,
    replica: int = 0,
    stop: threading.Event | None = None,
    on_ready: Callable[[Endpoint], None] | None = None,
) -> None:
    """Serve until `stop` is set. OutageError if the server does not come up or goes down."""
    stop = stop or threading.Event()
    token = secrets.token_urlsafe(32)
    started = time.monotonic()
    # The first replica speaks for all: they come up and end together.
    progress = Progress(folder / "progress.json", unit="second") if replica == 0 else None
    if progress is not None:
        progress.update(0, "loading the model")
    log = _log_file(folder, replica)
    log.parent.mkdir(parents=True, exist_ok=True)
    server = _start(settings, token, log)
    path = endpoint_file(folder, replica)
    try:
        endpoint = Endpoint(
            url=server.url,
            model=server.model,
            token=token,
            revision=_revision(settings),
            pid=os.getpid(),
            host=socket.gethostname(),
            started=time.time(),
        )
        _wait_for_answer(settings, endpoint, server, stop)
        if on_ready is not None and not stop.is_set():
            on_ready(endpoint)
        heard = time.monotonic()
        while not stop.is_set():
            said = replies(server.url)
            heard = time.monotonic() if said else heard
            if said is None or not server.running():
                raise OutageError(f"the agent's server has stopped by itself; see {log}")
            if time.monotonic() - heard > settings.request_timeout_s:
                raise OutageError(
                    f"the agent's server takes connections but has not replied for "
                    f"{settings.request_timeout_s:.0f} s; see {log}"
                )
            endpoint.write(path)
            if progress is not None:
                progress.update(int(time.monotonic() - started), "answers")
            stop.wait(RENEW_S)
    finally:
        path.unlink(missing_ok=True)
        server.stop()


def _log_file(folder: Path, replica: int) -> Path:
    return folder / "logs" / f"replica-{replica}.log"


def replies(url: str) -> bool | None:
    """Whether the server replies to a look at its health, within ten seconds and however busy it
    is; None once nothing takes connections there."""
    import httpx

    try:
        httpx.get(url.removesuffix("/v1") + "/health", timeout=_LOOK_S, trust_env=False)
    except httpx.ConnectError:
        return None
    except httpx.HTTPError:
        return False
    return True


def _wait_for_answer(
    settings: AgentConfig, endpoint: Endpoint, server: _Server, stop: threading.Event
) -> None:
    """Return once the server has answered a question in the form that training needs."""
    once = replace(settings, patience_s=2.0, request_timeout_s=settings.start_timeout_s)
    client = AgentClient(once, endpoints=[endpoint])
    deadline = time.monotonic() + settings.start_timeout_s
    reason = "no answer"
    try:
        while time.monotonic() < deadline and not stop.is_set():
            if not server.running():
                raise OutageError("the agent's server ended while it was starting; see its log")
            try:
                judgement = client.ask([HEALTH])[0]
            except OutageError as error:
                reason = str(error)
                continue
            if not judgement.failed:
                return
            reason = judgement.reason or "unusable reply"
        if not stop.is_set():
            raise OutageError(
                f"the agent did not answer a question within {settings.start_timeout_s:.0f} s "
                f"({reason})"
            )
    finally:
        client.close()


def _start(settings: AgentConfig, token: str, log: Path) -> _Server:
    if settings.backend == "llama_cpp":
        return _start_llama_cpp(settings, token, log)
    if settings.backend == "vllm":
        return _start_vllm(settings, token, log)
    raise UsageError("agent.backend=external: that agent is not ours to serve")


def _start_llama_cpp(settings: AgentConfig, token: str, log: Path) -> _Server:
    path = model_file(settings.model)
    _send_output_to(log)
    # Training's threads sleep while they wait, so that others get their cores. Here each token is
    # hundreds of short parallel steps: waking up for each takes longer than the step. A thousand
    # turns are as fast as libgomp's 300,000, and cost less where others want the same cores
    # (benchmarks/agent.py).
    os.environ.pop("OMP_WAIT_POLICY", None)
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    import xllamacpp

    threads = settings.threads or len(os.sched_getaffinity(0))
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.hostnames = [listen_address()]
    parameters.port = 0
    parameters.api_keys = [token]
    parameters.n_parallel = settings.slots
    parameters.n_ctx = settings.context * settings.slots
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.cpuparams.poll = parameters.cpuparams_batch.poll = 0  # wait without spinning
    parameters.n_gpu_layers = 0
    parameters.cache_ram_mib = 0  # prompts once answered are not asked again in a run
    parameters.ui = False
    try:
        server: Any = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise UsageError(f"agent.model: {path}: llama.cpp cannot load it ({error})") from error
    return _Server(
        url=f"{server.listening_address.rstrip('/')}/v1",
        model=path.stem,
        running=lambda: server is not None,
        stop=lambda: None,  # it ends with the process; its destructor may wait for open requests
    )


def _start_vllm(settings: AgentConfig, token: str, log: Path) -> _Server:
    """vLLM as a child process. The token goes through the environment, not the command line."""
    host = listen_address()
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    command = ["vllm", "serve", settings.model, "--host", host, "--port", str(port)]
    command += ["--max-num-seqs", str(settings.slots), "--max-model-len", str(settings.context)]
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env={**os.environ, "VLLM_API_KEY": token},
            )
    except FileNotFoundError as error:
        raise UsageError("agent.backend=vllm: the command vllm is not installed here") from error

    def stop() -> None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()

    return _Server(f"http://{host}:{port}/v1", settings.model, lambda: process.poll() is None, stop)


def listen_address() -> str:
    """Where clients reach this server: in a Slurm job at the node's address, else only from here.

    UsageError if the node's name has no address.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return "127.0.0.1"
    name = os.environ.get("SLURMD_NODENAME", socket.gethostname())
    try:
        address = socket.gethostbyname(name)
    except OSError as error:
        raise UsageError(f"{name}: the name of this node has no address ({error})") from error
    # Some systems give their own name an address of the loopback device in /etc/hosts.
    return _outward_address() if address.startswith("127.") and address != name else address


def _outward_address() -> str:
    """Address of the interface that other machines are reached by; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of the network that is set aside for examples
        except OSError:  # no way out: there is only this machine
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def model_file(model: str) -> Path:
    """The GGUF file of `agent.model`: a path, or `package:NAME` for one inside a wheel."""
    if not model.startswith("package:"):
        path = Path(model)
        if path.is_dir():
            raise UsageError(f"agent.model: {model}: is a folder; name the GGUF file in it")
        if not path.is_file():
            raise UsageError(f"agent.model: {model}: no such file")
        return path
    package = model.partition(":")[2]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # `a.b` without `a`; an empty name
        spec = None
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise UsageError(
            f"agent.model: {model}: no such package, or no GGUF file in it; make setup"
        )
    return files[0]


def _revision(settings: AgentConfig) -> str:
    """First 16 digits of the SHA-256 of the model file; empty for hub names."""
    if settings.backend != "llama_cpp":
        return ""
    return sha256(model_file(settings.model))[:16]


def _send_output_to(log: Path) -> None:
    """llama.cpp writes to the process's own output from C++, as long as it serves: all that goes
    to the log. Our own errors still reach the terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1)


def _say_ready(endpoint: Endpoint) -> None:
    _say(f"the agent answers at {endpoint.url} (Ctrl-C stops it)")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m geoagent.agent.server", description=__doc__)
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory")
    parser.add_argument("--replica", type=int, default=0, metavar="K", help="number of this one")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    came: queue.SimpleQueue[int] = queue.SimpleQueue()

    def end() -> None:
        came.get()
        stop.set()

    threading.Thread(target=end, daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        # A handler runs in the thread that waits for the event, which may hold its lock just then;
        # this kind of queue alone can be put into at any moment.
        signal.signal(number, lambda it, _: came.put(it))

    def program() -> int:
        run = Run.open(options.run)
        settings = run.config().agent
        log = _log_file(Run(Path(options.run)).agent, options.replica)  # as one would type it
        _say(f"loading the agent's model {settings.model} (log: {log})")
        serve(settings, run.agent, options.replica, stop, on_ready=_say_ready)
        return 0

    return exit_code(program)


if __name__ == "__main__":
    end_now(main())  # see _Server.stop of the embedded backend
