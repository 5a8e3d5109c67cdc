"""`--endpoint-url` that is none is a wrong command line, with a word on how one is written."""

from __future__ import annotations

import pytest

from regvault.cli.main import run


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://host:0"])
def test_what_is_no_url_of_a_server_is_refused(url, capsys):
    code = run(["ls", "--vault", "s3://bucket/vault", "--endpoint-url", url])
    assert code == 2
    assert "One is written https://HOST" in capsys.readouterr().err


def test_credentials_in_it_are_refused_and_not_repeated(capsys):
    url = "http://key:hush@host"
    assert run(["ls", "--vault", "s3://bucket/vault", "--endpoint-url", url]) == 2
    said = capsys.readouterr()
    assert "hush" not in said.out + said.err
