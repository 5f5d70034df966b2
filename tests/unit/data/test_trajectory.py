"""Trajectories in records: both forms, and everything that training could not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoagent.data.record import Record
from geoagent.data.trajectory import read_trajectory, trajectory_row

CALL = '<think>A sign.</think><tool_call>{"name": "search_web", "arguments": {}}</tool_call>'
ANSWER = "<think>So.</think><answer>Peru; Ancash; Huaraz</answer>"
MESSAGES = [
    {"role": "system", "content": "Use tools."},
    {"role": "user", "content": "<image>Where?"},
    {"role": "assistant", "content": CALL},
    {"role": "user", "content": "<tool_response>a crop:<image></tool_response>"},
    {"role": "assistant", "content": ANSWER},
]


def record(**extra: Any) -> Record:
    extra = {"trajectory": MESSAGES, "images": ["a.png", "crops/a-1.png"], **extra}
    return Record("a", "a.png", -9.5, -77.5, "Peru", "", "", "Peru", "train", extra=extra)


def changed(number: int, **message: Any) -> list[Any]:
    return [*MESSAGES[:number], {**MESSAGES[number], **message}, *MESSAGES[number + 1 :]]


def test_our_form_is_read_as_it_is() -> None:
    found = read_trajectory(record())
    assert list(found.messages) == MESSAGES
    assert found.images == ("a.png", "crops/a-1.png")


def test_the_published_form_becomes_ours() -> None:
    turns = [
        {"from": "human", "value": MESSAGES[1]["content"]},
        {"from": "function_call", "value": CALL},
        {"from": "observation", "value": MESSAGES[3]["content"]},
        {"from": "gpt", "value": ANSWER},
    ]
    found = read_trajectory(record(trajectory=turns, system="Use tools."))
    assert list(found.messages) == MESSAGES
    assert list(read_trajectory(record(trajectory=turns)).messages) == MESSAGES[1:]


def test_a_records_system_does_not_replace_the_trajectorys_own() -> None:
    assert list(read_trajectory(record(system="Another.")).messages) == MESSAGES


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"trajectory": None}, "trajectory: missing, or not a list"),
        ({"trajectory": []}, "trajectory: missing, or not a list"),
        ({"trajectory": "<image>Where?"}, "trajectory: missing, or not a list"),
        ({"trajectory": [["user", "Where?"]]}, "message 1: not an object"),
        ({"trajectory": changed(1, role="root")}, "message 2: 'root' is no role"),
        ({"trajectory": changed(1, role=["user"])}, "is no role"),
        ({"trajectory": changed(2, content=" ")}, "message 3: its content is empty"),
        ({"trajectory": changed(2, content=["a"])}, "message 3: its content is empty or not"),
        ({"trajectory": changed(2, role="user")}, "message 3 is of the user, where the assistant"),
        ({"trajectory": MESSAGES[2:]}, "message 1 is of the assistant, where the user's is due"),
        ({"trajectory": MESSAGES[:1]}, "does not end with the assistant's <answer>"),
        ({"trajectory": MESSAGES[:4]}, "does not end with the assistant's <answer>"),
        ({"trajectory": changed(4, content=CALL)}, "does not end with the assistant's <answer>"),
        ({"trajectory": changed(4, content=ANSWER + "<image>")}, "assistant's message holds"),
        ({"trajectory": changed(1, content="<image><video>")}, "a message holds <video>"),
        ({"trajectory": changed(3, content="nothing")}, "1 times <image> for 2 images"),
        ({"trajectory": changed(3, content="<image><image>")}, "3 times <image> for 2 images"),
        ({"images": None}, "images: missing, or not a list of names"),
        ({"images": ["a.png", 7]}, "images: missing, or not a list of names"),
        ({"images": ["b.png", "a.png"]}, "the first has to be the record's image"),
        ({"images": []}, "the first has to be the record's image"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(extra: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_trajectory(record(**extra))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "crops").mkdir(parents=True)
    for name in ("root/a.png", "root/crops/a-1.png", "secret.png"):
        Image.new("RGB", (32, 32), "white").save(tmp_path / name)
    return folder


def test_a_row_for_ms_swift(root: Path) -> None:
    row = trajectory_row(record(), root)
    assert row["messages"] == MESSAGES
    assert row["images"] == [str(root / "a.png"), str(root / "crops/a-1.png")]


def test_images_outside_the_folder_are_refused(root: Path) -> None:
    (root / "link.png").symlink_to(root.parent / "secret.png")
    for name in ("../secret.png", str(root.parent / "secret.png"), "link.png"):
        with pytest.raises(ValueError, match="is outside the dataset folder"):
            trajectory_row(record(images=["a.png", name]), root)


def test_a_crop_that_is_lost_or_broken_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"'crops/b\.png' does not exist"):
        trajectory_row(record(images=["a.png", "crops/b.png"]), root)
    (root / "crops/a-1.png").write_bytes((root / "crops/a-1.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"'crops/a-1\.png' cannot be decoded"):
        trajectory_row(record(), root)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TURN = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(["user", "gpt", "system", ANSWER, "<image>", "<image>Where?"]) | JSON
        for name in ("role", "content", "from", "value")
    },
)


@given(
    trajectory=JSON | st.lists(TURN | JSON, max_size=5),
    images=JSON | st.lists(st.sampled_from(["a.png", "b.png"]), max_size=3),
    system=JSON,
)
def test_whatever_a_dataset_holds_is_read_or_refused(**extra: Any) -> None:
    try:
        found = read_trajectory(record(**extra))
    except ValueError:
        return
    assert found.images[0] == "a.png"
    tags = sum(message["content"].count("<image>") for message in found.messages)
    assert tags == len(found.images)
