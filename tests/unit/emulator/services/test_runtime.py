"""InvokeEndpoint over real HTTP: what is on the wire, who is held, who is refused, and whether the books agree."""

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


def balanced(books):
    """Check the law of conservation and return the books."""
    parts = ("ok", "throttled", "failed", "disconnected", "in_flight")
    assert books["arrivals"] == sum(books[part] for part in parts)
    return books


def test_an_answer_looks_like_the_services():
    """200 with the model's body, the variant, a request id and the mark that this is not AWS."""
    with emulated() as emulator:
        deploy(emulator)
        status, headers, body = invoke(emulator, Content_Type="text/csv")
        assert (status, body) == (200, QUICK.body)
        assert headers["x-Amzn-Invoked-Production-Variant"] == "AllTraffic"
        assert headers["x-amzn-RequestId"]
        assert headers["x-loadgen-emulator"]
        assert not [name for name in headers if name.lower().startswith("access-control")]
        books = balanced(endpoint_counters(emulator))
        assert (books["ok"], books["bytes_in"], books["bytes_out"]) == (1, 1, len(QUICK.body))


def test_the_request_above_max_concurrency_is_refused_at_once_with_a_null_message():
    """While one slot is taken for a minute, the next request gets 400 ThrottlingException and {"message":null}."""
    with emulated(models={"slow": profile_of_latency(50.0)}) as emulator:
        deploy(emulator, model="slow")
        with requests_in_flight(emulator, 1), client("sagemaker-runtime", emulator) as runtime:
            status, headers, body = invoke(emulator)
            assert (status, headers["x-amzn-ErrorType"], body) == (400, "ThrottlingException", b'{"message":null}')
            with pytest.raises(ClientError) as caught:
                runtime.invoke_endpoint(EndpointName="endpoint", Body=b"1")
            error = caught.value.response["Error"]
            assert (error["Code"], error["Message"]) == ("ThrottlingException", None)
            books = balanced(endpoint_counters(emulator))
            assert (books["throttled"], books["in_flight"]) == (2, 1)


def test_every_slot_is_filled_by_a_new_instance_before_anything_is_refused():
    """With MaxConcurrency 4 and one warm instance, four requests are in flight, three of them cold; a fifth is refused."""
    with emulated(models={"slow": profile_of_latency(50.0)}) as emulator:
        deploy(emulator, model="slow", max_concurrency=4)
        with requests_in_flight(emulator, 4):
            assert invoke(emulator)[0] == 400
            books = balanced(endpoint_counters(emulator))
            assert (books["in_flight"], books["cold"], books["throttled"]) == (4, 3, 1)


def test_a_cold_request_is_held_for_the_start():
    """Beside a warm request of half a second, a second one is answered after the start's 0.2 s and its own half."""
    profile = profile_of_latency(0.5, cold_start=0.2, cold_jitter=0.0)
    with emulated(models={"slow": profile}, time_scale=1.0) as emulator:
        deploy(emulator, model="slow", max_concurrency=2)
        with requests_in_flight(emulator, 1):
            began = time.perf_counter()
            assert invoke(emulator)[0] == 200
            assert time.perf_counter() - began >= 0.7
        assert endpoint_counters(emulator)["cold"] == 1


def test_a_client_that_goes_away_keeps_its_slot_until_its_time_is_over():
    """After the only client closes its connection, the endpoint refuses others until the request would have ended."""
    with emulated(models={"slow": profile_of_latency(0.5)}) as emulator:
        deploy(emulator, model="slow")
        with requests_in_flight(emulator, 1):
            pass
        assert invoke(emulator)[0] == 400
        eventually(lambda: endpoint_counters(emulator)["in_flight"] == 0)
        assert invoke(emulator)[0] == 200
        books = balanced(endpoint_counters(emulator))
        assert (books["disconnected"], books["throttled"], books["ok"]) == (1, 1, 1)


def test_a_payload_over_the_limit_is_refused_and_one_at_the_limit_is_not():
    """4 MiB passes; one byte more gets the ValidationError that users saw, with the request's id in it."""
    with emulated() as emulator:
        deploy(emulator)
        assert invoke(emulator, body=b"x" * 4 * 2**20)[0] == 200
        status, headers, body = invoke(emulator, body=b"x" * (4 * 2**20 + 1))
        assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationError")
        assert json.loads(body)["message"] == f"Request {headers['x-amzn-RequestId']} has oversize body."
        assert balanced(endpoint_counters(emulator))["failed_by_code"] == {"ValidationError": 1}


def test_a_body_beyond_all_bounds_is_not_read():
    """A request that announces a gigabyte is answered 413 without its body, and others go on being served."""
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
    """Unknown, being created or deleted: the router answers the same ValidationError."""
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


def test_a_model_without_enough_memory_answers_model_error():
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
        assert balanced(endpoint_counters(emulator))["failed_by_code"] == {"ModelError": 1}


def test_a_model_that_takes_too_long_answers_the_time_out_that_users_saw():
    """Past the limit the ModelError carries original status 0 and the text about the container's silence."""
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
def test_every_modelled_error_can_be_switched_on(code, status):
    """A fault on InvokeEndpoint makes botocore raise the modelled error, once, and the books know it by its code."""
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
        books = balanced(endpoint_counters(emulator))
        assert (books["failed_by_code"], books["ok"]) == ({code: 1}, 1)


def test_faults_refuse_cut_delay_and_let_happen():
    """A throttle is refused; cut breaks the connection after the effect; delay takes its time; each only for its calls."""
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
        books = balanced(endpoint_counters(emulator))
        assert (books["throttled"], books["ok"]) == (1, 1)
        assert books["failed_by_code"] == {"cut": 1, "InternalFailure": 1}


def test_a_fault_for_some_endpoints_leaves_the_others_alone_until_cleared():
    """endpoint_contains selects; times 0 lasts until DELETE; GET lists what is on."""
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
def test_a_fault_that_cannot_be_meant_is_refused(fault):
    """A wrong description gets 400 and switches nothing on."""
    with emulated() as emulator:
        assert fetch(f"{emulator.url}/faults", fault, method="POST")[0] == 400
        assert not emulator.faults


def test_hidden_retries_of_an_sdk_are_counted():
    """A client that retries once on a throttle shows as two arrivals of which one is a retry."""
    with (
        emulated() as emulator,
        client("sagemaker-runtime", emulator, retries={"total_max_attempts": 2, "mode": "standard"}) as runtime,
    ):
        deploy(emulator)
        fetch(f"{emulator.url}/faults", b'{"operation":"InvokeEndpoint","kind":"throttle"}')
        answer = runtime.invoke_endpoint(EndpointName="endpoint", Body=b"1")
        answer["Body"].close()
        assert answer["ResponseMetadata"]["RetryAttempts"] == 1
        books = balanced(endpoint_counters(emulator))
        assert (books["arrivals"], books["throttled"], books["ok"], books["hidden_retries"]) == (2, 1, 1, 1)


def test_the_ledger_survives_the_endpoint():
    """After its endpoint is gone, the books are still there."""
    with emulated() as emulator:
        deploy(emulator)
        invoke(emulator)
        emulator.control.delete_endpoint({"EndpointName": "endpoint"}, emulator.clock())
        eventually(lambda: emulator.control.list_endpoints({}, emulator.clock())["Endpoints"] == [])
        assert endpoint_counters(emulator)["ok"] == 1
