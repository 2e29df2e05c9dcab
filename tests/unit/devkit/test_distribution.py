"""Java and Maven are found or named; jars are fetched once and completely."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from replicator.devkit.runtime.distribution import ensure_distribution
from replicator.devkit.runtime.java import find_java, find_maven
from replicator.errors import DevkitError

_JAVA = "#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n"
# Finds -DoutputDirectory=..., leaves one jar there, and counts its runs.
_MVN = """#!/bin/sh
echo run >> "{runs}"
{before}
for argument in "$@"; do case "$argument" in -DoutputDirectory=*)
  /bin/mkdir -p "${{argument#*=}}"; /bin/sleep 0.1; echo jar > "${{argument#*=}}/kafka.jar";; esac; done
echo "$@" > "{runs}.arguments"
exit {status}
"""


class Commands:
    """A directory of fake commands that is the whole PATH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runs = directory / "mvn.runs"

    def java(self, version: str) -> None:
        """Let `java -version` say that."""
        self._write("java", _JAVA.format(version=version))

    def mvn(self, *, status: int = 0, before: str = "") -> None:
        """Let `mvn` copy one jar and exit so."""
        self._write("mvn", _MVN.format(runs=self.runs, status=status, before=before))

    def _write(self, name: str, text: str) -> None:
        file = self.directory / name
        file.write_text(text)
        file.chmod(0o755)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """No Java, no Maven, an empty cache."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    monkeypatch.setenv("PATH", str(binaries))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Commands(binaries)


@pytest.mark.usefixtures("commands")
def test_missing_java_names_the_package() -> None:
    """The next step can be pasted."""
    with pytest.raises(DevkitError) as caught:
        find_java()

    assert "openjdk-17-jre-headless" in caught.value.next_step


@pytest.mark.usefixtures("commands")
def test_missing_maven_names_the_package() -> None:
    """The next step can be pasted."""
    with pytest.raises(DevkitError) as caught:
        find_maven()

    assert caught.value.next_step == "apt-get install maven"


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_392"])
def test_old_java_is_refused(commands: Commands, version: str) -> None:
    """Also in the way Java 8 writes its version."""
    commands.java(version)

    with pytest.raises(DevkitError, match="Java 17 or newer") as caught:
        find_java()
    assert version in caught.value.why


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_new_java_is_taken(commands: Commands, version: str) -> None:
    """17 is a minimum."""
    commands.java(version)

    assert find_java() == commands.directory / "java"


def test_java_home_decides(commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where it is set, PATH does not count: the person meant that one."""
    commands.java("17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    with pytest.raises(DevkitError) as caught:
        find_java()
    assert str(tmp_path / "jdk") in caught.value.why


@pytest.mark.parametrize("version", ["4", "4.3", "latest", "4.3.1; rm", "../x"])
def test_a_kafka_version_has_three_numbers(version: str) -> None:
    """It becomes part of a path and of a command."""
    with pytest.raises(DevkitError, match="not a Kafka version"):
        ensure_distribution(version)


def test_jars_are_fetched_once(commands: Commands) -> None:
    """The second call only reads; even Maven may be gone by then."""
    commands.java("17.0.1")
    commands.mvn()

    first = ensure_distribution("4.3.1")
    (commands.directory / "mvn").unlink()
    second = ensure_distribution("4.3.1")

    assert first == second
    assert [file.name for file in first.libs.iterdir()] == ["kafka.jar"]
    assert commands.runs.read_text() == "run\n"


@pytest.mark.parametrize(("version", "profile"), [("4.3.1", "log4j2"), ("3.9.2", "reload4j")])
def test_the_logging_library_fits_the_version(commands: Commands, version: str, profile: str) -> None:
    """Kafka 3 logs by Log4j 1."""
    commands.java("17.0.1")
    commands.mvn()

    ensure_distribution(version)

    arguments = Path(f"{commands.runs}.arguments").read_text()
    assert f"--activate-profiles {profile} -Dkafka.version={version}" in arguments


def test_a_failed_fetch_leaves_nothing(commands: Commands) -> None:
    """Half a set of jars would be taken for whole by the next run."""
    commands.java("17.0.1")
    commands.mvn(status=1, before="echo '[ERROR] no such artifact'")

    with pytest.raises(DevkitError, match="could not fetch") as caught:
        ensure_distribution("4.9.9")
    assert caught.value.why == "no such artifact"

    commands.mvn()
    home = ensure_distribution("4.9.9").libs.parent
    assert sorted(file.name for file in home.iterdir()) == ["fetch.lock", "libs"]


def test_two_at_once_fetch_once(commands: Commands) -> None:
    """One fetches while the other waits."""
    commands.java("17.0.1")
    commands.mvn()
    both = [threading.Thread(target=ensure_distribution, args=("4.3.1",)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(20)

    assert commands.runs.read_text() == "run\n"
