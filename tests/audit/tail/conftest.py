import pytest
from tailing import Site


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)
