"""The house that all fault tests disturb, one after the other."""

import pytest

from tests.faults.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("faults"))
    yield house
    house.close()


@pytest.fixture(autouse=True)
def undisturbed(request):
    """Each test finds the house as it was built, whatever the one before it did."""
    if "house" in request.fixturenames:
        house = request.getfixturevalue("house")
        house.restore()
