from importlib import metadata

import regvault


def test_the_version_users_report_is_the_version_that_was_installed() -> None:
    assert metadata.version("regvault") == regvault.__version__
