"""The throughput and scale benches: output of other tools, medians, tables, target servers, cells."""

import http.client
import re
import socket
import ssl
import sys
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benches pin processes to cores")
pytest.importorskip("uvloop")


from bench import scale, target_server, throughput  # noqa: E402 - skipped where they cannot be imported
from bench.throughput import Cell  # noqa: E402
from tests.support.loadgen_client import run_on_uvloop  # noqa: E402

# What each program of the named version prints for 4321.5 calls per second.
PRINTED = {
    "wrk": "  8644 requests in 2.00s, 2.10MB read\nRequests/sec:   4321.50\nTransfer/sec:      1.05MB\n",  # 4.1
    "hey": "Summary:\n  Total:\t2.0012 secs\n  Requests/sec:\t4321.50\n",  # 0.1
    "h2load": "finished in 2.00s, 4321.50 req/s, 1.05MB/s\nrequests: 8643 total\n",  # 1.64
    "autocannon": '{"title":"x","requests":{"average":4321.5,"mean":4321.5,"stddev":9},"latency":{"average":1}}',  # 8
    "k6": "    http_req_waiting...: avg=1ms\n    http_reqs......................: 8643   4321.5/s\n",  # 0.5
    "locust": (  # 2.47
        "Type     Name      # reqs      # fails |    Avg     Min     Max    Med |   req/s  failures/s\n"
        "POST     /x           8643     0(0.00%) |      2       0      68      0 | 4300.00        0.00\n"
        "         Aggregated   8643     0(0.00%) |      2       0      68      0 | 4321.50        0.00\n"
    ),
}


def test_every_programs_rate_is_read():
    """The rate is found in a sample of the output of every program."""
    assert PRINTED.keys() == throughput._TOOLS.keys()
    for name, (_, pattern) in throughput._TOOLS.items():
        found = re.search(pattern, PRINTED[name])
        assert found is not None, name
        assert float(found[1]) == 4321.5, name


def test_a_program_that_fails_or_hangs_is_a_cell_without_a_rate(tmp_path, monkeypatch, capsys):
    """A program that fails or hangs gives a rate of 0, its output is printed, and the bench continues."""
    failing = [sys.executable, "-c", "print('no such option')"]
    monkeypatch.setitem(throughput._TOOLS, "wrk", (lambda _: failing, r"Requests/sec:\s+([\d.]+)"))
    monkeypatch.setattr(throughput, "_pin", lambda: None)
    job = throughput._Job("http://127.0.0.1:1", 1, 1, tmp_path)
    assert throughput.measure("wrk", job, None).rate == 0
    assert "no such option" in capsys.readouterr().err
    hanging = [sys.executable, "-c", "import signal; signal.pause()"]
    monkeypatch.setitem(throughput._TOOLS, "wrk", (lambda _: hanging, r"rate (\d+)"))
    real = throughput.subprocess.run

    def impatient(command, **options):
        return real(command, **(options | {"timeout": 0.05}))

    monkeypatch.setattr(throughput, "subprocess", SimpleNamespace(**vars(throughput.subprocess) | {"run": impatient}))
    assert throughput.measure("wrk", job, None).rate == 0
    assert "timed out" in capsys.readouterr().err


def test_a_round_that_failed_does_not_count_among_the_others():
    """Figures are medians of the rounds that worked; without any the rate is 0."""
    rounds = [Cell("hey", "https", 64, rate, cpu, 1.0) for rate, cpu in ((10, 5), (0, 0), (30, 1), (20, 9))]
    (cell,) = throughput.medians(rounds)
    assert (cell.rate, cell.cpu_us) == (20, 5)
    (cell,) = throughput.medians([Cell("hey", "https", 64, 0.0, 0.0, 0.1)])
    assert cell.rate == 0


def test_rounds_on_a_shared_core_count_only_without_others():
    """Rounds in which the caller had its core for itself are preferred; without any, the median is of all rounds."""
    shared = [Cell("wire", "http", 64, rate, 40.0, 0.4) for rate in (100, 300, 200)]
    assert throughput.medians([*shared, Cell("wire", "http", 64, 900, 20.0, 0.97)])[0].rate == 900
    assert throughput.medians(shared)[0].rate == 200


def test_the_table_compares_with_plain_aiobotocore():
    """Ten times the rate is shown as 10.0, a tenth of the CPU too, and a failed caller as dashes."""
    cells = [
        Cell("engine", "http", 64, 10_000, 50, 1.0),
        Cell("wrk", "http", 64, 0, 0, 0.0),
        Cell("aiobotocore", "http", 64, 1000, 500, 1.0),
    ]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in throughput.format_table(cells, "http", [64]).split("\n")
    ]
    assert rows[2] == ["engine", "10,000", "10.0", "50.0", "10.0"]
    assert rows[3] == ["wrk", "-", "-", "-", "-"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_without_nginx_the_responder_serves(tmp_path, monkeypatch, scheme):
    """Without nginx the responder is the target, over HTTP and TLS, where it negotiates HTTP/1.1."""
    monkeypatch.setattr(target_server, "shutil", SimpleNamespace(which=lambda _: None))
    pem = target_server.certificate(tmp_path)
    with target_server.target_server(tmp_path, tls=pem if scheme == "https" else None, cpu=0) as (name, url):
        assert (name, url.partition(":")[0]) == ("responder", scheme)
        port = int(url.rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        if scheme == "https":
            context = ssl.create_default_context(cafile=pem)
            context.set_alpn_protocols(["h2", "http/1.1"])
            connection.sock = context.wrap_socket(
                socket.create_connection(("127.0.0.1", port), timeout=30), server_hostname="localhost"
            )
            assert connection.sock.selected_alpn_protocol() == "http/1.1"
        connection.request("POST", "/endpoints/bench/invocations", b"1,2,3")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"0.123456789012345\n")
        connection.close()


def test_resident_memory_is_read_as_megabytes():
    """2,048 kB are 2 MB; a missing field is an error."""
    status = "Name:\tpython\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\nRssAnon:\t 1024 kB\n"
    assert scale.resident_mb(status, "VmRSS") == 2
    assert scale.resident_mb(status, "VmHWM") == 4
    with pytest.raises(ValueError, match="VmSwap"):
        scale.resident_mb(status, "VmSwap")


def test_growth_with_clients_and_with_requests_is_separate():
    """10 MB for 1,024 more clients are 10 KB per client; 2 MB for more requests are 2 MB."""
    cells = [
        scale.Cell("null", 1, 50_000, 9.0, 4.0, 70.0, 80.0),
        scale.Cell("null", 1025, 50_000, 9.0, 5.0, 70.0, 90.0),
        scale.Cell("null", 64, 10_000, 9.0, 4.5, 70.0, 81.0),
        scale.Cell("null", 64, 1_000_000, 9.0, 4.25, 70.0, 83.0),
    ]
    assert list(scale.growth(cells)) == [
        "null: CPU of a request 4.0 and 5.0 us with 1 and 1,025 clients; 10.0 KB per client",
        "null: CPU of a request 4.5 and 4.2 us with 10,000 and 1,000,000 requests; +2.0 MB",
    ]
    assert all(cell.transport in scale.format_table(cells) for cell in cells)


def test_a_cell_counts_what_is_on_disk(tmp_path):
    """All requests of a cell are answered and on disk, and their cost is above 0."""
    cell = run_on_uvloop(scale._measure("null", "", 5, 200, 30.0, tmp_path))
    assert (cell.clients, cell.requests) == (5, 200)
    assert 0 < cell.initial_mb <= cell.peak_mb
    assert cell.wall_us > 0
