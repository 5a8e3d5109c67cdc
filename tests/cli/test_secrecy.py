"""A private key that was put into the wrong place is not repeated: not by any command, anywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from regvault.cli.app import App
from regvault.cli.main import run
from regvault.cli.output import Console
from regvault.errors import UsageError
from regvault.model.location import redact
from regvault.model.secrecy import conceal, is_private_key
from regvault.vault.age import Identity
from regvault.vault.signing import SigningKey, parse_public_key

if TYPE_CHECKING:
    from pathlib import Path

SECRET = Identity.generate().secret()
PEM = SigningKey.generate().to_pem()
BODY = PEM.splitlines()[1]
KEYS = {
    "identity": (SECRET, SECRET[20:]),
    "in small letters": (SECRET.lower(), SECRET.lower()[20:]),
    "pem": (PEM, BODY[24:]),
    "pem, cut off": (PEM[:80], BODY[24:40]),
    "pem, its text": (BODY, BODY[24:]),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_private_key_is_found_in_any_text(kind: str) -> None:
    key, part = KEYS[kind]
    for text in (key, f"{key!r} is no digest", json.dumps({"a": key, "b": "after"})):
        assert is_private_key(text)
        assert part not in conceal(text)
        assert part not in redact(text)
    assert json.loads(conceal(json.dumps({"a": key, "b": "after"})))["b"] == "after"


@pytest.mark.parametrize(
    "text", ["It is written AGE-SECRET-KEY-1..., as age-keygen does.", "private key", "MC4"]
)
def test_what_is_no_private_key_stays(text: str) -> None:
    assert conceal(text) == text


@pytest.mark.parametrize("kind", KEYS)
def test_a_private_key_in_the_place_of_a_public_one_is_not_repeated(kind: str) -> None:
    """Rule 27."""
    key, part = KEYS[kind]
    for text in (key, f"ed25519:{key}"):
        with pytest.raises(UsageError, match="is a secret") as raised:
            parse_public_key(text)
        assert part not in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("kind", KEYS)
def test_no_output_has_a_private_key(
    kind: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results and messages alike. Rule 27."""
    key, part = KEYS[kind]
    for log_format in ("text", "json"):
        app = App(json=as_json, log_format=log_format, verbose=1)
        console = Console(app)
        console.say(key)
        console.raw(key)
        console.table(("a",), [(key,)])
        console.document({"a": [key]})
        console.lines([key], show=str, to_json=lambda each: {"a": each})
        console.note(key)
        console.warn(key, hint=key)
        console.error({"code": "usage", "message": key, "hint": key, "more": key})
    said = capsys.readouterr()
    assert "***" in said.out + said.err
    assert part not in said.out + said.err


COMMANDS = [
    ("purge", "{}", "--vault", "./v"),
    ("find", "{}", "--vault", "./v"),
    ("ls", "{}", "--vault", "./v"),
    ("restore", "{}", "--vault", "./v", "--to", "fs:out"),
    ("snapshot", "{}", "--vault", "./v"),
    ("snapshots", "--vault", "{}"),
    ("key", "add-recipient", "{}", "--vault", "./v"),
    ("verify", "--vault", "./v", "--identity", "{}"),
    ("snapshots", "{}", "--vault", "./v"),
    ("{}",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_repeats_an_identity(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rule 27."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "./v"]) == 0
    assert run([word.format(SECRET) for word in words]) != 0
    said = capsys.readouterr()
    assert SECRET[16:] not in said.out + said.err
    monkeypatch.setenv("REGVAULT_TRUSTED_KEYS", SECRET)
    assert run(["snapshots", "--vault", "./v"]) == 2
    assert SECRET[16:] not in "".join(capsys.readouterr())
