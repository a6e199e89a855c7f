"""Pages of the List operations, while resources come and go."""

import pytest

from loadgen.emulator.behaviour.ledger import Ledger
from loadgen.emulator.faults import Faults
from loadgen.emulator.services.control_plane import ControlPlane
from loadgen.emulator.settings import Settings
from tests.support.emulator import QUICK, endpoint_config


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("sort_by", ["Name", "CreationTime", "Status"])
@pytest.mark.parametrize("change", ["delete the first", "delete the last of the page", "create before", "create after"])
def test_what_changes_between_two_pages_hides_and_repeats_nothing(change, sort_by, order):
    """Of ten endpoints in pages of three, each that exists throughout is listed exactly once."""
    settings = Settings(models={"quick": QUICK}, delete_time=1e-9)
    control = ControlPlane(settings, Faults(), Ledger(), 0.0)
    control.create_endpoint_config({**endpoint_config(), "EndpointConfigName": "c"}, 0.0)

    def create(name, now):
        control.create_endpoint({"EndpointName": name, "EndpointConfigName": "c"}, now)

    for number in range(10):
        create(f"e{number}", 10.0 * (number // 2))  # pairs of one creation time
    asked = {"MaxResults": 3, "SortBy": sort_by, "SortOrder": order}
    listed, token, changed = [], {}, None
    while token is not None:
        answer = control.operations["ListEndpoints"]({**asked, **token}, 200.0)
        listed += [row["EndpointName"] for row in answer["Endpoints"]]
        token = {"NextToken": answer["NextToken"]} if "NextToken" in answer else None
        if changed is None:
            changed = {"delete the first": listed[0], "delete the last of the page": listed[-1]}.get(change, "")
            if changed:
                control.delete_endpoint({"EndpointName": changed}, 199.0)
            else:
                create("d" if change == "create before" else "f", 0.0 if change == "create before" else 200.0)
    throughout = [name for name in listed if name.startswith("e")]
    assert sorted(throughout) == [f"e{number}" for number in range(10)]
