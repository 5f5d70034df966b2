"""`geoagent data annotate` against a stub of an OpenAI-compatible server, over real HTTP."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from geoagent.agent.endpoint import Endpoint
from geoagent.agent.vision import VisionLimits, picture, sample_picture
from geoagent.annotate.client import AnnotationClient
from geoagent.annotate.folder import FolderAnnotation
from geoagent.annotate.prompt import MAX_PIXELS
from geoagent.cli import main
from geoagent.data.annotations import ELEMENTS, read_annotations
from geoagent.data.record import read_records
from geoagent.errors import OutageError, UsageError
from tests.interrupts import heed_interrupts

from .stub import TOKEN, Given, StubServer

Answer = Callable[[dict[str, Any], int], Given]
Make = Callable[..., StubServer]


def said(locatability: Any = 7, **scene: Any) -> str:
    return json.dumps(
        {"scene": {**dict.fromkeys(ELEMENTS, "no"), **scene}, "locatability": locatability}
    )


def image_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"][1]["image_url"]["url"])


def is_sample(body: dict[str, Any]) -> bool:
    """The picture by which the client sees whether a server works."""
    return image_of(body) == sample_picture().data_url


def but_for_sample(content: Given) -> Answer:
    return lambda body, number: said() if is_sample(body) else content


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setenv("GEOAGENT_VISION_TOKEN", TOKEN)
    made: list[StubServer] = []

    def make(answer: Answer = lambda body, number: said(), delay_s: float = 0.0) -> StubServer:
        made.append(StubServer(answer, delay_s))
        return made[-1]

    yield make
    for server in made:
        server.close()


def row(number: int) -> dict[str, Any]:
    where = {"latitude": 48.9, "longitude": 2.3, "country": "France", "region": "", "city": "Paris"}
    return {"id": f"r{number}", "image": f"{number}.png", "split": "val", **where}


def dataset(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.new("RGB", (40, 30), (number * 5, 90, 200)).save(folder / f"{number}.png")
    lines = [json.dumps(row(number)) + "\n" for number in range(count)]
    (folder / "records.jsonl").write_text("".join(lines))
    return folder


def words(folder: Path, server: StubServer, *more: str) -> list[str]:
    url = server.endpoint.url
    return ["data", "annotate", str(folder), "--url", url, "--model", "m", *more]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]


def work_on(folder: Path, server: StubServer, **limits: Any) -> FolderAnnotation:
    limits = {"patience_s": 1.5, "request_timeout_s": 5.0, "concurrency": 2, **limits}
    return FolderAnnotation(folder, AnnotationClient(server.endpoint, VisionLimits(**limits)))


def test_annotations_are_columns_of_the_records(
    stub: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = dataset(tmp_path / "set", 3), stub(lambda *_: said(4, weather="maybe"))
    before = (folder / "records.jsonl").read_bytes()
    assert main(words(folder, server)) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert (summary["annotated"], summary["asked"], summary["failed"]) == (3, 3, 0)
    assert summary["mean_locatability"] == 4
    assert summary["locatability"]["4"] == 3
    assert summary["scene"]["weather"] == {"yes": 0, "no": 0, "maybe": 3}
    assert "█" in err
    assert TOKEN not in out + err + (folder / "annotations.jsonl").read_text()
    records, _ = read_records(folder)
    assert [record.extra["locatability"] for record in records] == [4] * 3
    assert records[0].extra["scene"]["weather"] == "maybe"
    assert (folder / "records.jsonl").read_bytes() == before
    assert rows(folder)[0].keys() == {"id", "locatability", "scene", "model", "prompt"}
    asked = len(server.requests)
    assert main(words(folder, server)) == 0  # all is there
    assert len(server.requests) == asked == 4


def test_what_is_asked(stub: Make, tmp_path: Path) -> None:
    folder, server = dataset(tmp_path, 1), stub()
    assert main(words(folder, server)) == 0
    body = server.requests[-1]
    assert (body["model"], body["temperature"], body["seed"]) == ("m", 0.0, 0)
    form = body["response_format"]["json_schema"]["schema"]
    assert form["properties"]["scene"]["required"] == list(ELEMENTS)
    assert form["properties"]["locatability"]["enum"] == list(range(11))
    text = body["messages"][-1]["content"][0]["text"]
    assert all(f"- {name}: " in text for name in ELEMENTS)


def decoded(data_url: str) -> Image.Image:
    prefix = "data:image/jpeg;base64,"
    assert data_url.startswith(prefix)
    return Image.open(io.BytesIO(base64.b64decode(data_url.removeprefix(prefix))))


def test_pictures_are_upright_small_and_say_nothing_of_the_place(tmp_path: Path) -> None:
    image = Image.new("RGB", (2400, 1200), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    exif[0x010E] = "Eiffel Tower"
    image.save(tmp_path / "a.jpg", exif=exif, comment="by the Eiffel Tower")
    assert (tmp_path / "a.jpg").read_bytes().count(b"Eiffel") == 2
    url = picture(tmp_path / "a.jpg", MAX_PIXELS).data_url
    sent = decoded(url)
    assert sent.height == pytest.approx(2 * sent.width, rel=0.01)
    assert MAX_PIXELS * 0.95 < sent.width * sent.height <= MAX_PIXELS
    assert not sent.getexif()
    assert b"Eiffel" not in base64.b64decode(
        picture(tmp_path / "a.jpg", MAX_PIXELS).data_url.split(",")[1]
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_any_kind(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (1500, 1100)).save(tmp_path / "a.tiff")
    sent = decoded(picture(tmp_path / "a.tiff", MAX_PIXELS).data_url)
    assert (sent.mode, sent.size) == ("RGB", (1167, 856))


def test_no_more_at_once_than_asked_for(stub: Make, tmp_path: Path) -> None:
    folder, server = dataset(tmp_path, 12), stub(delay_s=0.1)
    assert main(words(folder, server, "--parallel", "3")) == 0
    assert server.most_at_once == 3


def test_a_useless_reply_is_asked_again_warmer(stub: Make, tmp_path: Path) -> None:
    server = stub(lambda body, number: "no JSON" if number == 2 else said())
    folder = dataset(tmp_path, 1)
    assert main(words(folder, server)) == 0
    asked = [(b["temperature"], b["seed"]) for b in server.requests if not is_sample(b)]
    assert asked == [(0.0, 0), (0.5, 1)]


WRONG: list[tuple[Given, str]] = [
    ("no JSON", "not JSON"),
    ("[1, 2]", "not JSON"),
    (said(11), "locatability"),
    (said(-1), "locatability"),
    (said(5.5), "locatability"),
    (said("7"), "locatability"),
    (said(True), "locatability"),
    (said(None), "locatability: missing"),
    (said(sign="often"), "sign"),
    (said(sign=None), "sign: missing"),
    (said(sign=1), "sign"),
    (json.dumps({"locatability": 3}), "scene: missing"),
    (400, "HTTP 400 (made to fail)"),
    (500, "HTTP 500"),
    (b"<html>", "not a chat completion"),
]


@pytest.mark.parametrize(("content", "reason"), WRONG)
def test_a_useless_reply_is_no_annotation(
    stub: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Given, reason: str
) -> None:
    folder, replies = dataset(tmp_path, 2), {"bad": content}
    first = picture(folder / "0.png", MAX_PIXELS).data_url

    def answer(body: dict[str, Any], number: int) -> Given:
        return replies["bad"] if image_of(body) == first else said()

    server = stub(answer)
    assert main(words(folder, server)) == 2
    out, err = capsys.readouterr()
    assert reason in err
    assert (json.loads(out)["failed"], json.loads(out)["annotated"]) == (1, 1)
    assert reason in read_annotations(folder)["r0"].failed
    by_id = {record.id: record.extra for record in read_records(folder)[0]}
    assert "locatability" not in by_id["r0"]
    assert by_id["r1"]["locatability"] == 7
    replies["bad"] = said(2)  # the next run asks again what has failed, and only that
    asked = len(server.requests)
    assert main(words(folder, server)) == 0
    assert len(server.requests) == asked + 2
    assert read_records(folder)[0][0].extra["locatability"] == 2


def test_a_wrong_token(
    stub: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, server = dataset(tmp_path, 2), stub()
    for token, word in (("wrong-secret", "refused"), ("", "needed")):
        monkeypatch.setenv("GEOAGENT_VISION_TOKEN", token)
        assert main(words(folder, server)) == 2
        err = capsys.readouterr().err
        assert f"a token is {word} (401)" in err
        assert "GEOAGENT_VISION_TOKEN" in err
        assert "wrong-secret" not in err
    assert not (folder / "annotations.jsonl").exists()
    monkeypatch.setenv("GEOAGENT_VISION_TOKEN", "two words")
    assert main(words(folder, server)) == 2


def test_a_token_that_ends_in_the_middle(stub: Make, tmp_path: Path) -> None:
    folder, server = dataset(tmp_path, 6), stub(lambda _, number: said() if number < 4 else 401)
    assert main(words(folder, server, "--parallel", "1")) == 2
    assert len(rows(folder)) == 2


def test_a_server_that_asks_for_time(stub: Make, tmp_path: Path) -> None:
    folder = dataset(tmp_path, 1)
    server = stub(lambda _, number: (429, {"Retry-After": "2"}) if number == 2 else said())
    started = time.monotonic()
    assert main(words(folder, server)) == 0
    assert time.monotonic() - started >= 2
    assert len(server.requests) == 3


def test_a_server_that_asks_for_more_time_than_there_is(
    stub: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = dataset(tmp_path, 3)
    server = stub(lambda _, number: (429, {"Retry-After": "3600"}) if number == 3 else said())
    started = time.monotonic()
    assert main(words(folder, server, "--parallel", "1")) == 75
    assert time.monotonic() - started < 10
    err = capsys.readouterr().err
    assert "come back in 3600 s" in err
    assert "1 of 3 images are annotated" in err
    assert main(words(folder, server)) == 0
    assert sorted(line["id"] for line in rows(folder)) == ["r0", "r1", "r2"]


@pytest.mark.parametrize("given", [503, 500, b""])
def test_an_outage_keeps_what_was_answered(
    stub: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: Given
) -> None:
    folder, away = dataset(tmp_path, 8), {"from": 5}
    server = stub(lambda _, number: given if number >= away["from"] else said())
    assert main(words(folder, server, "--parallel", "2", "--patience", "1")) == 75
    out, err = capsys.readouterr()
    assert out == ""
    assert "has not answered for" in err
    assert "3 of 8 images are annotated" in err
    assert len(rows(folder)) == 3
    assert not any("failed" in line for line in rows(folder))
    away["from"] = 10**6
    assert main(words(folder, server)) == 0
    assert Counter(line["id"] for line in rows(folder)) == {f"r{k}": 1 for k in range(8)}


def test_a_server_that_is_too_slow(stub: Make, tmp_path: Path) -> None:
    folder = dataset(tmp_path, 2)
    slow = work_on(folder, stub(delay_s=1.0), request_timeout_s=0.2, patience_s=0.5)
    with pytest.raises(OutageError, match="no reply within"):
        slow.run(lambda: None)


def test_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    told: list[str] = []
    limits = VisionLimits(patience_s=0.5)
    client = AnnotationClient(Endpoint("http://127.0.0.1:9/v1", "m", ""), limits, told.append)
    with pytest.raises(OutageError, match=r"127.0.0.1:9/v1: cannot be reached \(Connect"):
        FolderAnnotation(dataset(tmp_path, 1), client).run(lambda: None)
    assert "waiting for the vision model" in told[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (400, "a model that sees images"),
        ("I see a road.", "reply is not JSON"),
        (500, "HTTP 500"),
        (404, "no chat model m there (HTTP 404 (made to fail))"),
        (405, "no chat model m there (HTTP 405 (made to fail)); check --model, and that --url"),
        (501, "no chat model m there (HTTP 501 (made to fail)); check --model, and that --url"),
    ],
)
def test_a_model_that_cannot_do_it_is_told_before_any_image(
    stub: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: Given,
    message: str,
) -> None:
    folder, server = dataset(tmp_path, 2), stub(lambda *_: given)
    assert main(words(folder, server)) == 2
    assert message in capsys.readouterr().err
    assert all(is_sample(body) for body in server.requests)
    assert not (folder / "annotations.jsonl").exists()


def test_images_that_cannot_be_read(
    stub: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = dataset(tmp_path / "set", 5), stub()
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes()[:60])
    (folder / "2.png").unlink()
    (tmp_path / "secret.png").write_bytes((folder / "0.png").read_bytes())
    outside = {**row(9), "image": "../secret.png"}
    bad = {**row(10), "latitude": 200}
    with (folder / "records.jsonl").open("a") as file:
        file.write(f"{json.dumps(outside)}\n{json.dumps(bad)}\n")
    assert main(words(folder, server)) == 2
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert (summary["annotated"], summary["unreadable"], summary["rejected"]) == (3, 3, 1)
    assert "r1: image: '1.png' cannot be read" in err
    assert "r2: image: '2.png' does not exist" in err
    assert "r9: image: '../secret.png' is outside" in err
    assert "records.jsonl:7: r10: latitude" in err
    assert {line["id"] for line in rows(folder)} == {"r0", "r3", "r4"}


def test_images_in_another_folder(stub: Make, tmp_path: Path) -> None:
    images, folder, server = dataset(tmp_path / "images", 2), tmp_path / "set", stub()
    folder.mkdir()
    (images / "records.jsonl").rename(folder / "records.jsonl")
    (folder / "dataset.json").write_text(json.dumps({"images": str(images)}))
    assert main(words(folder, server)) == 0
    assert len(rows(folder)) == 2
    assert {file.suffix for file in images.iterdir()} == {".png"}


def test_models_are_not_mixed(
    stub: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = dataset(tmp_path, 2), stub()
    assert main(words(folder, server)) == 0
    other = [word.replace("m", "other") if word == "m" else word for word in words(folder, server)]
    asked = len(server.requests)
    assert main(other) == 2
    assert "--redo puts the file aside" in capsys.readouterr().err
    assert len(server.requests) == asked
    assert main([*other, "--redo"]) == 0
    assert {line["model"] for line in rows(folder)} == {"other"}
    aside = (folder / "annotations-1.jsonl").read_text().splitlines()
    assert {json.loads(line)["model"] for line in aside} == {"m"}


def test_redo_keeps_the_earlier_ones_until_the_model_answers(stub: Make, tmp_path: Path) -> None:
    folder = dataset(tmp_path, 2)
    assert main(words(folder, stub())) == 0
    assert main(words(folder, stub(lambda *_: "no JSON"), "--redo")) == 2
    assert len(rows(folder)) == 2
    assert not (folder / "annotations-1.jsonl").exists()


def test_limit_and_split(stub: Make, tmp_path: Path) -> None:
    folder, server = dataset(tmp_path, 4), stub()
    with (folder / "records.jsonl").open("a") as file:
        file.write(json.dumps({**row(0), "id": "train", "split": "train"}) + "\n")
    assert main(words(folder, server, "--limit", "2")) == 0
    assert [line["id"] for line in rows(folder)] in (["r0", "r1"], ["r1", "r0"])
    assert main(words(folder, server, "--split", "train")) == 0
    assert len(rows(folder)) == 3
    assert main(words(folder, server)) == 0
    assert len(rows(folder)) == 5
    assert main(words(folder, server, "--split", "none")) == 2


def test_two_at_once_are_refused(stub: Make, tmp_path: Path) -> None:
    folder, server = dataset(tmp_path, 1), stub()
    inner: list[str] = []

    def answer(body: dict[str, Any], number: int) -> str:
        if number == 1:
            with pytest.raises(UsageError) as caught:
                work_on(folder, server).run(lambda: None)
            inner.append(str(caught.value))
        return said()

    server = stub(answer)
    work_on(folder, server).run(lambda: None)
    assert "another process is annotating it" in inner[0]


def test_a_model_that_sees_nothing(
    stub: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(dataset(tmp_path / "a", 10), stub())) == 0
    assert "does the model see the images?" in capsys.readouterr().err
    server = stub(lambda _, number: said(number % 3))
    assert main(words(dataset(tmp_path / "b", 10), server)) == 0
    assert "does the model see" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    ["gpu07:8000/v1", "ftp://h/v1", "http://", "http://h:99999/v1", "http://a:b@h/v1", "x\x01"],
)
def test_addresses_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    folder = dataset(tmp_path, 1)
    assert main(["data", "annotate", str(folder), "--url", url, "--model", "m"]) == 2
    assert capsys.readouterr().err.startswith("error: --url")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_started_again(stub: Make, tmp_path: Path, number: signal.Signals) -> None:
    folder, server = dataset(tmp_path, 20), stub(delay_s=0.15)
    command = [sys.executable, "-m", "geoagent.cli", *words(folder, server, "--parallel", "2")]
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet, preexec_fn=heed_interrupts)
    file = folder / "annotations.jsonl"
    deadline = time.monotonic() + 60
    while not file.exists() or file.read_text().count("\n") < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, number)
    assert process.wait(30) == (130 if number == signal.SIGINT else -number)
    kept = {line["id"] for line in rows(folder)}
    assert 5 <= len(kept) < 20
    with file.open("a") as end:
        end.write('{"id": "r19", "loc')  # what a kill at the wrong moment leaves
    first = Counter(image_of(body) for body in server.requests)
    assert main(words(folder, server)) == 0
    again = Counter(image_of(body) for body in server.requests) - first
    done = {picture(folder / f"{name[1:]}.png", MAX_PIXELS).data_url for name in kept}
    assert not done & set(again)
    assert len(read_annotations(folder)) == 20
    whole = [line for line in file.read_text().splitlines() if line.endswith("}")]
    assert len(whole) == 20


def test_a_failure_is_the_images_only_while_the_server_is_well(stub: Make, tmp_path: Path) -> None:
    server = stub(but_for_sample("no JSON"))
    work = work_on(dataset(tmp_path, 1), server, retries=1)
    assert work.run(lambda: None).failed == {"r0": f"{server.endpoint.url}: reply is not JSON"}
