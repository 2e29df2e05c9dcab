"""What a flow file means: YAML, variables, includes, files with secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from replicator.config.load import load
from replicator.errors import ConfigError
from replicator.model.security import Secret
from replicator.model.spec import Pattern, PatternKind, Rename, Spec, Verification
from replicator.model.units import ADDRESS_ALLOWED

FILE = """\
version: 1
clusters:
  east: {bootstrap: "e:1", security: {protocol: SASL_SSL, mechanism: PLAIN, username: u, SECRET}}
  no: {bootstrap: "${WEST:-w:2}"}
flows:
  f: {from: east, to: no, topics: {include: ["orders.*", {prefix: billing-}, {regex: "a-\\\\d+$$"}]}}
"""


def write(directory: Path, text: str, name: str = "flow.yaml") -> Path:
    """Write a file that only we can read."""
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def loaded(directory: Path, line: str = "password: p", environ: Mapping[str, str] | None = None) -> Spec:
    """Load FILE with a certain secret."""
    return load(write(directory, FILE.replace("SECRET", line)), environ or {})


def problems(path: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the mistakes of a file, without its directory."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return [line.replace(f"{path.parent}/", "") for line in caught.value.problems]


def test_a_file_becomes_the_model(tmp_path: Path) -> None:
    """A cluster named `no` works, `$$` is a dollar, and defaults are filled in."""
    spec = loaded(tmp_path)
    flow = spec.flow("f")
    assert spec.path == tmp_path / "flow.yaml"
    assert spec.daemon.state_dir == tmp_path / "state"
    assert spec.cluster("no").bootstrap == (("w", 2),)
    assert spec.cluster("no").doubt_margin_seconds == 30
    assert spec.cluster("east").security.password == Secret("p")
    assert flow.topics.include[1:] == (
        Pattern(PatternKind.PREFIX, "billing-"),
        Pattern(PatternKind.REGEX, r"a-\d+$"),
    )
    assert flow.verify == Verification(continuous=False, bytes_per_second=8 << 20)
    assert (flow.rename, flow.replication_factor, flow.limits.bytes_per_second) == (Rename(), None, None)


def test_verification_is_asked_for(tmp_path: Path) -> None:
    """With its rate as a size."""
    text = FILE.replace("SECRET", "password: p").replace(
        "f: {", "f: {verify: {continuous: true, bytes_per_second: 2MiB}, "
    )
    assert load(write(tmp_path, text), {}).flow("f").verify == Verification(continuous=True, bytes_per_second=2 << 20)


def test_variables(tmp_path: Path) -> None:
    """Numbers and flags may come from the environment too."""
    text = FILE.replace("SECRET", "password: '${P}', check_hostname: '${C}'").replace(
        "f: {", "f: {replication_factor: '${R}', "
    )
    spec = load(write(tmp_path, text), {"P": "a$b${x}", "R": "3", "WEST": "x:9", "C": "false"})
    assert spec.cluster("east").security.password == Secret("a$b${x}")  # a value is not substituted again
    assert spec.cluster("east").security.check_hostname is False
    assert spec.cluster("no").bootstrap == (("x", 9),)
    assert spec.flow("f").replication_factor == 3


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        ("${X}", {}, "environment variable X is not set"),
        ("${X:?set X to the password}", {"X": ""}, "environment variable X is not set: set X to the password"),
        ("${X}", {"X": "canary\nflows: {}"}, "environment variable X holds a line break"),
        ("canary${X", {}, "not a variable reference"),
        ("${canary password}", {}, "not a variable reference"),
        ("${EAST_PASWORD}", {"EAST_PASSWORD": "canary"}, "did you mean 'EAST_PASSWORD'?"),
    ],
)
def test_bad_variables(tmp_path: Path, value: str, environ: dict[str, str], expected: str) -> None:
    """One mistake each, and never a value of the environment or of the file."""
    found = problems(write(tmp_path, FILE.replace("SECRET", f"password: '{value}'")), environ)
    assert len(found) == 1
    assert found[0].startswith("flow.yaml:3:100: clusters.east.security.password: ")
    assert expected in found[0]
    assert "canary" not in found[0].replace("${canary", "")


def test_secret_files_must_be_ours_alone(tmp_path: Path) -> None:
    """Relative to the flow file; the message holds the command that helps."""
    secret = write(tmp_path, "canary", "pw")
    assert loaded(tmp_path, "password_file: pw").cluster("east").security.password_file == secret
    secret.chmod(0o640)
    (line,) = problems(write(tmp_path, FILE.replace("SECRET", "password_file: pw")))
    assert "can be read by others (mode 0640); run: chmod 600 pw" in line
    (line,) = problems(write(tmp_path, FILE.replace("SECRET", "password_file: gone")))
    assert "gone does not exist" in line
    (line,) = problems(write(tmp_path, FILE.replace("SECRET", "password_file: .")))
    assert "is not a file" in line


def test_a_password_in_a_file_others_can_read(tmp_path: Path) -> None:
    """In place it is allowed, in a file of mode 0600; from a variable, in any."""
    path = write(tmp_path, FILE.replace("SECRET", "password: canary"))
    path.chmod(0o644)
    (line,) = problems(path)
    assert "chmod 600" in line
    assert "canary" not in line
    path.write_text(FILE.replace("SECRET", "password: '${P}'"))
    assert load(path, {"P": "x"}).cluster("east").security.password == Secret("x")


@pytest.mark.parametrize("command", ['["get-token", "a b"]', "get-token 'a b'"])
def test_a_token_command_is_words(tmp_path: Path, command: str) -> None:
    """Split like a shell does, run without one."""
    text = FILE.replace("PLAIN, username: u, SECRET", f"OAUTHBEARER, token_command: {command}")
    assert load(write(tmp_path, text), {}).cluster("east").security.token_command == ("get-token", "a b")


def test_includes(tmp_path: Path) -> None:
    """Clusters and flows come from other files; their relative paths are relative to them."""
    main = write(tmp_path, "version: 1\ninclude: [sub/*.yaml]\nclusters: {a: {bootstrap: 'a:1'}}\n")
    write(tmp_path, "x", "sub/pw")
    write(tmp_path, FILE.replace("version: 1\n", "").replace("SECRET", "password_file: pw"), "sub/more.yaml")
    spec = load(main, {})
    assert [cluster.alias for cluster in spec.clusters] == ["a", "east", "no"]
    assert spec.cluster("east").security.password_file == tmp_path / "sub/pw"
    assert spec.daemon.state_dir == tmp_path / "state"


def test_mistakes_of_an_included_file_name_it(tmp_path: Path) -> None:
    """With its own lines; what only the main file may say is refused."""
    main = write(
        tmp_path,
        "version: 1\ninclude: [sub/*.yaml, none.yaml]\nclusters: {a: {bootstrap: 'a:1'}}\nflows: {}\n",
    )
    text = "daemon: {}\ninclude: [../flow.yaml]\nclusters:\n  a: {bootstrap: 'b:1'}\n  b: {bootstrap: x}\n"
    write(tmp_path, text, "sub/more.yaml")
    assert problems(main) == [
        "flow.yaml:2:23: include[1]: no file matches 'none.yaml'",
        "sub/more.yaml:1:1: daemon: not allowed in an included file; allowed: clusters, flows, include",
        "sub/more.yaml:2:11: include[0]: sub/../flow.yaml is included twice, or includes itself",
        "sub/more.yaml:4:3: clusters.a: is defined twice; first in flow.yaml:3",
        "sub/more.yaml:5:18: clusters.b.bootstrap: 'x' has no port; " + ADDRESS_ALLOWED,
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(ConfigError, match=r"gone\.yaml") as caught:
        load(tmp_path / "gone.yaml", {})
    assert caught.value.why
    assert caught.value.next_step


def test_a_mistake_quotes_no_more_than_a_line(tmp_path: Path) -> None:
    """It goes to the log at SIGHUP: a value of 900 kB was there whole, and keys as long."""
    file = tmp_path / "replicator.yaml"
    file.write_text(f"version: 0x{'f' * 500_000}\n'{'k' * 900} ': 1\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert len(caught.value.problems) > 1
    problems = [problem.removeprefix(f"{file}:") for problem in caught.value.problems]
    assert all(len(problem) < 1_200 for problem in problems)
    assert not any("k" * 200 in problem for problem in problems)
