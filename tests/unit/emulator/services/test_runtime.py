"""InvokeEndpoint over real HTTP: responses, cold starts, throttles, errors, faults, and the ledger's counts."""

import json
import socket
import time
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from loadgen.emulator.behaviour.profile import PROFILES
from tests.support.emulator import (
    QUICK,
    client,
    deploy,
    emulated,
    endpoint_counters,
    eventually,
    fetch,
    invoke,
    profile_of_latency,
    requests_in_flight,
)


def assert_balanced(counters):
    """Check that arrivals equal the sum of all results, and return the counters."""
    parts = ("ok", "throttled", "failed", "disconnected", "in_flight")
    assert counters["arrivals"] == sum(counters[part] for part in parts)
    return counters


def test_a_response_has_the_services_headers():
    """200 with the model's body, the variant, a request id and the header that marks the emulator."""
    with emulated() as emulator:
        deploy(emulator)
        status, headers, body = invoke(emulator, Content_Type="text/csv")
        assert (status, body) == (200, QUICK.body)
        assert headers["x-Amzn-Invoked-Production-Variant"] == "AllTraffic"
        assert headers["x-amzn-RequestId"]
        assert headers["x-loadgen-emulator"]
        assert not [name for name in headers if name.lower().startswith("access-control")]
        counters = assert_balanced(endpoint_counters(emulator))
        assert (counters["ok"], counters["bytes_in"], counters["bytes_out"]) == (1, 1, len(QUICK.body))


def test_a_request_above_max_concurrency_is_throttled_with_a_null_message():
    """While the only slot is busy, the next request gets 400 ThrottlingException and {"message":null}."""
    with emulated(models={"slow": profile_of_latency(50.0)}) as emulator:
        deploy(emulator, model="slow")
        with requests_in_flight(emulator, 1), client("sagemaker-runtime", emulator) as runtime:
            status, headers, body = invoke(emulator)
            assert (status, headers["x-amzn-ErrorType"], body) == (400, "ThrottlingException", b'{"message":null}')
            with pytest.raises(ClientError) as caught:
                runtime.invoke_endpoint(EndpointName="endpoint", Body=b"1")
            error = caught.value.response["Error"]
            assert (error["Code"], error["Message"]) == ("ThrottlingException", None)
            counters = assert_balanced(endpoint_counters(emulator))
            assert (counters["throttled"], counters["in_flight"]) == (2, 1)


def test_new_instances_start_up_to_max_concurrency():
    """With MaxConcurrency 4 and one warm instance, four requests are in flight, three of them cold; a fifth is throttled."""
    with emulated(models={"slow": profile_of_latency(50.0)}) as emulator:
        deploy(emulator, model="slow", max_concurrency=4)
        with requests_in_flight(emulator, 4):
            assert invoke(emulator)[0] == 400
            counters = assert_balanced(endpoint_counters(emulator))
            assert (counters["in_flight"], counters["cold"], counters["throttled"]) == (4, 3, 1)


def test_a_cold_request_is_held_for_the_cold_start():
    """With the only instance busy, a request takes the cold start of 0.2 s and its own 0.5 s."""
    profile = profile_of_latency(0.5, cold_start=0.2, cold_jitter=0.0)
    with emulated(models={"slow": profile}, time_scale=1.0) as emulator:
        deploy(emulator, model="slow", max_concurrency=2)
        with requests_in_flight(emulator, 1):
            began = time.perf_counter()
            assert invoke(emulator)[0] == 200
            assert time.perf_counter() - began >= 0.7
        assert endpoint_counters(emulator)["cold"] == 1


def test_a_disconnected_request_keeps_its_slot_until_it_would_have_ended():
    """After the client has disconnected, the endpoint throttles others until the request would have ended."""
    with emulated(models={"slow": profile_of_latency(0.5)}) as emulator:
        deploy(emulator, model="slow")
        with requests_in_flight(emulator, 1):
            pass
        assert invoke(emulator)[0] == 400
        eventually(lambda: endpoint_counters(emulator)["in_flight"] == 0)
        assert invoke(emulator)[0] == 200
        counters = assert_balanced(endpoint_counters(emulator))
        assert (counters["disconnected"], counters["throttled"], counters["ok"]) == (1, 1, 1)


def test_a_payload_above_the_limit_is_rejected():
    """4 MiB is accepted; one byte more gets AWS's ValidationError, with the request's id in it."""
    with emulated() as emulator:
        deploy(emulator)
        assert invoke(emulator, body=b"x" * 4 * 2**20)[0] == 200
        status, headers, body = invoke(emulator, body=b"x" * (4 * 2**20 + 1))
        assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationError")
        assert json.loads(body)["message"] == f"Request {headers['x-amzn-RequestId']} has oversize body."
        assert assert_balanced(endpoint_counters(emulator))["failed_by_code"] == {"ValidationError": 1}


def test_a_body_above_the_servers_limit_is_not_read():
    """A request with a Content-Length of a gigabyte gets 413 without its body; other requests are served."""
    with emulated() as emulator:
        deploy(emulator)
        port = int(emulator.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as greedy:
            greedy.sendall(
                b"POST /endpoints/endpoint/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
            )
            assert greedy.recv(1000).startswith(b"HTTP/1.1 413 ")
        assert invoke(emulator)[0] == 200


@pytest.mark.parametrize("name", ["none", "creating"])
def test_an_endpoint_that_does_not_serve_is_not_found(name):
    """An endpoint that is unknown or being created gets the same ValidationError."""
    with emulated(time_scale=1.0, models={"quick": QUICK}) as emulator:
        deploy(emulator, "other")
        now = emulator.clock()
        config = {"EndpointName": "creating", "EndpointConfigName": "big"}
        variant = {
            "VariantName": "v",
            "ModelName": "xgboost",
            "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
        }
        emulator.control.create_endpoint_config({"EndpointConfigName": "big", "ProductionVariants": [variant]}, now)
        emulator.control.create_endpoint(config, now)
        status, headers, body = invoke(emulator, name)
        assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationError")
        assert json.loads(body) == {"message": f"Endpoint {name} of account 123456789012 not found."}


def test_a_model_without_enough_memory_is_a_model_error():
    """Model huggingface at 1024 MB gets 424 ModelError whose message says "insufficient memory", with its three members."""
    profile = replace(PROFILES["huggingface"], model_latency=((1024, 0.0),), overhead=0.0, deploy_time=0.0)
    with emulated(models={"hf": profile}) as emulator, client("sagemaker-runtime", emulator) as runtime:
        deploy(emulator, model="hf", memory_mb=1024)
        with pytest.raises(ClientError) as caught:
            runtime.invoke_endpoint(EndpointName="endpoint", Body=b"1")
        answer = caught.value.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
        assert answer["Error"]["Code"] == "ModelError"
        assert "insufficient memory" in answer["Error"]["Message"]
        assert answer["OriginalStatusCode"] == 500
        assert answer["LogStreamArn"].endswith("/aws/sagemaker/Endpoints/endpoint")
        assert assert_balanced(endpoint_counters(emulator))["failed_by_code"] == {"ModelError": 1}


def test_a_model_above_the_invocation_limit_is_a_model_error():
    """Above the limit the ModelError has OriginalStatusCode 0 and AWS's timeout text."""
    with emulated(models={"slow": profile_of_latency(5.0)}, invocation_limit=0.05) as emulator:
        deploy(emulator, model="slow")
        status, headers, body = invoke(emulator)
        assert (status, headers["x-amzn-ErrorType"]) == (424, "ModelError")
        answer = json.loads(body)
        assert answer["OriginalStatusCode"] == 0
        assert answer["message"].startswith(
            'Received server error (0) from primary with message "Your invocation timed out while waiting'
        )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ValidationError", 400),
        ("ModelError", 424),
        ("ModelNotReadyException", 429),
        ("InternalFailure", 500),
        ("ServiceUnavailable", 503),
        ("InternalDependencyException", 530),
    ],
)
def test_every_modelled_error_can_be_injected(code, status):
    """A fault on InvokeEndpoint makes botocore raise the modelled error once, and the ledger counts its code."""
    with emulated() as emulator, client("sagemaker-runtime", emulator) as runtime:
        deploy(emulator)
        fault = {
            "operation": "InvokeEndpoint",
            "kind": "error_before",
            "code": code,
            "status": status,
            "message": "why",
        }
        assert fetch(f"{emulator.url}/faults", json.dumps(fault).encode())[0] == 200
        with pytest.raises(ClientError) as caught:
            runtime.invoke_endpoint(EndpointName="endpoint", Body=b"1")
        assert type(caught.value).__name__ == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert invoke(emulator)[0] == 200
        counters = assert_balanced(endpoint_counters(emulator))
        assert (counters["failed_by_code"], counters["ok"]) == ({code: 1}, 1)


def test_faults_throttle_drop_delay_and_fail_requests():
    """throttle, cut (after the effect), delay and error_after each apply to their number of calls."""
    with emulated() as emulator, client("sagemaker-runtime", emulator) as runtime:
        deploy(emulator)
        for fault in (
            {"kind": "throttle"},
            {"kind": "cut"},
            {"kind": "error_after", "code": "InternalFailure"},
            {"kind": "delay", "seconds": 0.1},
        ):
            fetch(f"{emulator.url}/faults", json.dumps({"operation": "InvokeEndpoint", **fault}).encode())
        assert invoke(emulator)[0] == 400
        with pytest.raises(ConnectionClosedError):
            runtime.invoke_endpoint(EndpointName="endpoint", Body=b"1")
        assert invoke(emulator)[0] == 500
        began = time.perf_counter()
        assert invoke(emulator)[0] == 200
        assert time.perf_counter() - began >= 0.1
        counters = assert_balanced(endpoint_counters(emulator))
        assert (counters["throttled"], counters["ok"]) == (1, 1)
        assert counters["failed_by_code"] == {"cut": 1, "InternalFailure": 1}


def test_a_fault_applies_to_the_selected_endpoints_until_cleared():
    """endpoint_contains selects endpoints; times 0 lasts until DELETE; GET lists the active faults."""
    with emulated() as emulator:
        deploy(emulator, "good")
        deploy(emulator, "bad")
        fault = {"operation": "InvokeEndpoint", "kind": "throttle", "times": 0, "endpoint_contains": "ba"}
        fetch(f"{emulator.url}/faults", json.dumps(fault).encode())
        assert [invoke(emulator, name)[0] for name in ("good", "bad", "bad")] == [200, 400, 400]
        assert len(json.loads(fetch(f"{emulator.url}/faults")[2])["faults"]) == 1
        fetch(f"{emulator.url}/faults", method="DELETE")
        assert invoke(emulator, "bad")[0] == 200


@pytest.mark.parametrize(
    "fault", [b"", b"[]", b'{"kind":"explode"}', b'{"kind":"cut","time":1}', b'{"kind":"delay","seconds":-1}', b"{"]
)
def test_an_invalid_fault_is_rejected(fault):
    """An invalid description gets 400 and adds no fault."""
    with emulated() as emulator:
        assert fetch(f"{emulator.url}/faults", fault, method="POST")[0] == 400
        assert not emulator.faults


def test_hidden_retries_of_an_sdk_are_counted():
    """A client that retries once on a throttle counts as two arrivals, one of them a hidden retry."""
    with (
        emulated() as emulator,
        client("sagemaker-runtime", emulator, retries={"total_max_attempts": 2, "mode": "standard"}) as runtime,
    ):
        deploy(emulator)
        fetch(f"{emulator.url}/faults", b'{"operation":"InvokeEndpoint","kind":"throttle"}')
        answer = runtime.invoke_endpoint(EndpointName="endpoint", Body=b"1")
        answer["Body"].close()
        assert answer["ResponseMetadata"]["RetryAttempts"] == 1
        counters = assert_balanced(endpoint_counters(emulator))
        assert (counters["arrivals"], counters["throttled"], counters["ok"], counters["hidden_retries"]) == (2, 1, 1, 1)


def test_counters_are_kept_after_the_endpoint_is_deleted():
    """The ledger has the counters of a deleted endpoint."""
    with emulated() as emulator:
        deploy(emulator)
        invoke(emulator)
        emulator.control.delete_endpoint({"EndpointName": "endpoint"}, emulator.clock())
        eventually(lambda: emulator.control.list_endpoints({}, emulator.clock())["Endpoints"] == [])
        assert endpoint_counters(emulator)["ok"] == 1
