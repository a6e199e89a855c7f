"""A scenario as a SageMaker Processing job, end to end on the emulator: the container's command really runs."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import botocore.session
import pytest
from botocore.validate import ParamValidator
from emulated import client, emulated, eventually, ledger, slow
from test_end_to_end import list_all
from test_processes import balances

import loadgen
from loadgen.aws.storage import Shelf
from loadgen.errors import ConfigError, UsageError
from loadgen.prices import PriceBook
from loadgen.results import Results
from loadgen.runners.parcel import opened, pack
from loadgen.runners.processing import Hire, State, job_request
from loadgen.runners.wheel import build_wheel

ROLE = "arn:aws:iam::123456789012:role/runner"
SHELF = "s3://jobs-of-mine/deep/er"
RAN = (0, 110)  # on a busy machine the verdict of a run that took place is INVALID, and the job is none the less done


def environment(emulator):
    """What points the SDK's own chain to the emulator, and nothing else of this machine's."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
    return kept | {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@contextmanager
def account(latency=0.004, **changes):
    """An emulated account that runs jobs, with one model."""
    models = {"model": slow(latency)}
    with emulated(**({"models": models, "time_scale": 1e6, "runs_jobs": True} | changes)) as emulator:
        yield emulator


def scenario(directory, load, memory_sizes=(2048,)):
    """A scenario file with a payload file beside it, and a module of its own."""
    (directory / "examples.jsonl").write_text('{"Body": "1,2,3"}\n{"Body": "4,5"}\n')
    (directory / "our_loads.py").write_text(f"from loadgen import *\nload = {load}\n")
    (directory / "ask.py").write_text(
        '"""Does it run over there?"""\n'
        "from loadgen import SageMaker, Scenario, ServerlessConfig, Step, read_requests\n"
        "from our_loads import load\n"
        "scenario = Scenario(SageMaker('model', metrics_timeout=2.0), read_requests('examples.jsonl'),\n"
        f"    [Step(ServerlessConfig(memory, 8), load) for memory in {memory_sizes!r}])\n"
    )
    return directory / "ask.py"


def run(emulator, directory, *words, timeout=120):
    """Run a command line as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "loadgen", *map(str, words)],
        check=False,
        cwd=directory,
        env=environment(emulator),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def submit(emulator, directory, *words):
    """Submit a job without waiting for it; return its name."""
    done = run(emulator, directory, "ask.py", "--processing-job", "--role", ROLE, "--s3", SHELF, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def described(emulator, name):
    with client("sagemaker", emulator) as sagemaker:
        return sagemaker.describe_processing_job(ProcessingJobName=name)


def ended(emulator, name, within=90.0):
    """The description of a job, once it is over."""
    over = ("Completed", "Failed", "Stopped")
    return eventually(lambda: (d := described(emulator, name))["ProcessingJobStatus"] in over and d, within=within)


def keys(emulator, part):
    return [key for key in emulator.storage.keys("jobs-of-mine", "deep/er/") if part in key]


@pytest.mark.parametrize("instances", [1, 2])
def test_a_scenario_runs_as_a_job_and_comes_home(tmp_path, instances):
    """One command: uploaded, run on N instances, fetched, reported; counts equal the ledger; nothing is left behind."""
    scenario(tmp_path, "OpenLoop(poisson(constant(60), seed=2), duration=2.0)")
    with account() as emulator:
        words = ("--instance-count", instances, "--wait", "--out", "home")
        done = run(emulator, tmp_path, "ask.py", "--processing-job", "--role", ROLE, "--s3", SHELF, *words)
        assert done.returncode in RAN, done.stderr
        assert list_all(emulator) == []
        (read,) = Results.open(tmp_path / "home").runs()
        books = ledger(emulator, read.endpoint)
        with client("sagemaker", emulator) as sagemaker:
            (row,) = sagemaker.list_processing_jobs(NameContains="loadgen-")["ProcessingJobSummaries"]
        again = run(emulator, tmp_path, "fetch", row["ProcessingJobName"], "--out", "home")

    assert row["ProcessingJobStatus"] == "Completed"
    assert "loadgen ended with status" in row["ExitMessage"]
    assert "ml.m5.large for at most 24 h" in done.stderr
    assert read.ended_by == "schedule"
    assert read.scheduled == len(read.samples) == books["arrivals"] == books["ok"]
    # The same schedule as here: the seed decides it.
    load = loadgen.OpenLoop(loadgen.poisson(loadgen.constant(60), seed=2), duration=2.0)
    assert sorted(read.samples["seq"].tolist()) == [seq for seq, _ in load]
    assert (tmp_path / "home/benchmarking_report/benchmarking_report.html").exists()
    if instances == 2:
        balances(read)
        assert [worker.name for worker in read.workers] == ["algo-1", "algo-2"]
        assert read.workers[0].clock_bound == 0 < read.workers[1].clock_bound < 5
    # Fetched twice: nothing new, the same answer.
    assert again.returncode == done.returncode
    assert "home is up to date" in again.stderr


def test_a_stopped_job_ends_politely(tmp_path):
    """StopProcessingJob reaches the run: it removes its endpoint, keeps what it measured, and is told as stopped (C108)."""
    scenario(tmp_path, "ClosedLoop(4, duration=600)")
    with account(latency=0.02) as emulator:
        name = submit(emulator, tmp_path)
        eventually(lambda: keys(emulator, "samples.bin"), within=60)
        running = run(emulator, tmp_path, "fetch", name, "--out", "early")
        assert "InProgress" in running.stderr
        with client("sagemaker", emulator) as sagemaker:
            sagemaker.stop_processing_job(ProcessingJobName=name)
        assert ended(emulator, name)["ProcessingJobStatus"] == "Stopped"
        assert list_all(emulator) == []
        done = run(emulator, tmp_path, "fetch", name, "--out", "home")
    assert done.returncode == 143, done.stderr
    (read,) = Results.open(tmp_path / "home").runs()
    assert read.ended_by == "stop"
    assert len(read.samples) > 50
    # While it ran, what had been uploaded by then could be read already.
    (early,) = Results.open(tmp_path / "early").runs()
    assert len(early.samples) <= len(read.samples)
    assert any("did not end" in words for words in early.damage)


def kill_tree(pid):
    """Kill a process and what it started, as a machine that goes does."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(int(child))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_dead_instance_left_is_removed_by_whoever_fetches(tmp_path):
    """An instance that dies cannot remove its endpoints: the submitter does, and what it had uploaded is kept (C108)."""
    scenario(tmp_path, "ClosedLoop(4, duration=600)")
    with account(latency=0.02) as emulator:
        name = submit(emulator, tmp_path)
        eventually(lambda: keys(emulator, "samples.bin"), within=60)
        for process in emulator.processing._jobs[name].processes:
            kill_tree(process.pid)
        assert ended(emulator, name)["ProcessingJobStatus"] == "Failed"
        left = list_all(emulator)
        assert left
        assert all(name[len("loadgen-") :] in thing for thing in left)
        with client("sagemaker", emulator) as sagemaker:  # a namesake of somebody else's is none of ours
            variants = [
                {
                    "VariantName": "v",
                    "ModelName": "model",
                    "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
                }
            ]
            sagemaker.create_endpoint_config(EndpointConfigName=f"{name}-not-ours", ProductionVariants=variants)
        done = run(emulator, tmp_path, "fetch", name, "--out", "home")
        assert list_all(emulator) == [f"{name}-not-ours"]
        again = run(emulator, tmp_path, "fetch", name, "--out", "home")
    assert "which the job left" in done.stderr
    assert "which the job left" not in again.stderr
    assert done.returncode == again.returncode == 69
    (read,) = Results.open(tmp_path / "home").runs()
    assert read.ended_by == "killed"


def test_a_scenario_that_fails_over_there_is_told(tmp_path):
    """Wrong over there alone: the job is Failed, its message says with what, the command line ends with 69."""
    file = scenario(tmp_path, "ClosedLoop(1, count=1)")
    here = "import os\nassert 'PROBE' in os.environ, 'not over there'\n"
    file.write_text(file.read_text() + here)
    with account() as emulator:
        words = ("ask.py", "--processing-job", "--role", ROLE, "--s3", SHELF, "--wait", "--out", "home")
        done = subprocess.run(
            [sys.executable, "-m", "loadgen", *words],
            check=False,
            cwd=tmp_path,
            env=environment(emulator) | {"PROBE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert list_all(emulator) == []
    assert done.returncode == 69
    assert "loadgen ended with status 107" in done.stderr
    assert not done.stdout


def test_a_job_that_runs_too_long_is_ended_without_a_leak(tmp_path):
    """At MaxRuntimeInSeconds SageMaker ends the job: told as such, with nothing left behind (C108)."""
    scenario(tmp_path, "ClosedLoop(2, duration=600)")
    with account(latency=0.02) as emulator:
        words = ("--max-runtime", 6, "--wait", "--out", "home")
        done = run(emulator, tmp_path, "ask.py", "--processing-job", "--role", ROLE, "--s3", SHELF, *words)
        assert list_all(emulator) == []
    assert done.returncode == 143
    assert "MaxRuntimeExceeded" in done.stderr


def test_the_predecessors_call_runs_the_whole_benchmark(tmp_path, monkeypatch):
    """run_as_sagemaker_job with the predecessor's arguments: the same steps, in the cloud, brought home when it waits."""
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"Body": "1,2,3"}\n')
    monkeypatch.chdir(tmp_path)
    with account() as emulator:
        for name, value in environment(emulator).items():
            monkeypatch.setenv(name, value)
        name = loadgen.run_as_sagemaker_job(
            ROLE,
            "model",
            "examples.jsonl",
            s3_output_path=SHELF,
            wait=True,
            memory_sizes=[1024, 2048],
            stability_benchmark_invocations=15,
            concurrency_benchmark_max_conc=[2],
            concurrency_benchmark_invocations=12,
            concurrency_num_clients_multiplier=[1, 1.5],
            result_save_path=tmp_path,
        )
        assert list_all(emulator) == []
    runs = Results.open(tmp_path / name).runs()
    assert [(r.step.phase, r.step.config.memory_mb, r.scheduled) for r in runs[:2]] == [
        ("stability", 1024, 15),
        ("stability", 2048, 15),
    ]
    assert [(r.step.load.clients, r.scheduled) for r in runs[2:]] == [(2, 12), (3, 12)]


def test_an_emulator_of_this_machine_cannot_be_reached_from_a_job(tmp_path):
    """A scenario against Emulated, or contradicting options, are refused before anything is uploaded."""
    file = scenario(tmp_path, "ClosedLoop(1, count=1)")
    text = file.read_text()
    with account() as emulator:
        file.write_text(
            text.replace("SageMaker('model', metrics_timeout=2.0)", "Emulated()").replace(
                "import SageMaker", "import Emulated"
            )
        )
        done = run(emulator, tmp_path, "ask.py", "--processing-job", "--role", ROLE)
        assert (done.returncode, "cannot reach an emulator" in done.stderr) == (78, True)
        file.write_text(text)
        for words, said in (
            ((), "without --role"),
            (("--role", ROLE, "--workers", "2"), "--workers"),
            (("--role", "me"), "role 'me'"),
        ):
            done = run(emulator, tmp_path, "ask.py", "--processing-job", *words)
            assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert emulator.storage._buckets == {}


def test_a_job_that_is_not_there_is_told(tmp_path):
    """No such job, or one that is none of ours: one line that says so, nothing written."""
    with account() as emulator:
        done = run(emulator, tmp_path, "fetch", "loadgen-never")
        assert (done.returncode, "no Processing job loadgen-never" in done.stderr) == (66, True)
    assert not (tmp_path / "results").exists()


# --- what is asked for


def test_the_request_is_one_that_the_service_takes():
    """The SDK's own validation accepts it, with every bound of the service model that it knows."""
    hire = Hire(ROLE, "ml.c5.xlarge", 3, 3600)
    request = job_request(hire, run_id="1122213045ab12", region="eu-west-1", shelf=Shelf.read("s3://bucket/a/b/"))
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateProcessingJob").input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    assert request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 3
    assert request["ProcessingInputs"][0]["S3Input"]["S3Uri"] == "s3://bucket/a/b/input"
    assert ".eu-west-1." in request["AppSpecification"]["ImageUri"]
    assert all(len(word) <= 256 for word in request["AppSpecification"]["ContainerArguments"])


def test_a_hire_that_cannot_be_is_refused():
    """Roles, types, counts and times that CreateProcessingJob would refuse are refused here; so is an unknown image."""
    for bad in (
        {"role": "runner"},
        {"instance_type": "m5.large"},
        {"instances": 0},
        {"instances": 101},
        {"max_runtime": 0},
    ):
        with pytest.raises(UsageError):
            Hire(**({"role": ROLE} | bad))
    with pytest.raises(ConfigError, match="--image"):
        job_request(Hire(ROLE), run_id="r", region="mars-north-1", shelf=Shelf("b"))
    given = job_request(Hire(ROLE, image="mine:1"), run_id="r", region="mars-north-1", shelf=Shelf("b"))
    assert given["AppSpecification"]["ImageUri"] == "mine:1"


def test_what_a_job_costs_at_most_is_said():
    """Instances times hours times the price, with its date; without a price, that there is none."""
    prices = PriceBook.builtin()
    price = prices.instance("us-east-1", "ml.m5.large")
    told = Hire(ROLE, instances=4, max_runtime=7200).price("us-east-1", prices)
    assert "4 x ml.m5.large for at most 2 h" in told
    assert f"{4 * 2 * price.usd:.2f} USD" in told
    assert price.as_of in told
    assert "no price" in Hire(ROLE, "ml.c7i.48xlarge").price("mars-north-1", prices)


def test_only_jobs_of_ours_are_read():
    """A job of another name, or without our output, is refused rather than guessed at."""
    ours = {
        "ProcessingJobName": "loadgen-1",
        "ProcessingJobStatus": "Failed",
        "FailureReason": "AlgorithmError",
        "ProcessingOutputConfig": {"Outputs": [{"S3Output": {"S3Uri": "s3://bucket/c/output"}}]},
    }
    state = State.of(ours)
    assert (state.run_id, state.is_over, state.output.uri) == ("1", True, "s3://bucket/c/output")
    assert str(state) == "job loadgen-1 is Failed: AlgorithmError"
    with pytest.raises(UsageError):
        State.of(ours | {"ProcessingJobName": "other"})
    with pytest.raises(UsageError):
        State.of(ours | {"ProcessingOutputConfig": {"Outputs": []}})


def test_the_wheel_is_one_that_pip_installs(tmp_path):
    """The package that runs here, packed: pip takes it, every file is there, and it knows its version and prices."""
    wheel = build_wheel(tmp_path)
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("loadgen/")}
    package = Path(loadgen.__file__).parent
    there = {
        f"loadgen/{p.relative_to(package).as_posix()}"
        for p in package.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert packed == there
    target = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    code = "import loadgen, loadgen.prices as p; print(loadgen.__file__, p.PriceBook.builtin().name != '')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=False,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(target / "loadgen/__init__.py"), "True"]
    assert build_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_a_parcel_holds_what_a_scenario_opens_and_nothing_else(tmp_path):
    """Files beside the scenario or below the working directory; nothing hidden, nothing of Python's own."""
    for name in ("work/data/a.jsonl", "work/.aws/credentials", "work/skipped.txt", "other/secret", "work/sub/ask.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with opened() as paths:
        for name in ("work/data/a.jsonl", "work/.aws/credentials", "other/secret"):
            (tmp_path / name).read_text()
        Path(json.__file__).read_text()
    (tmp_path / "work/skipped.txt").read_text()
    parcel = pack(paths, scenario=tmp_path / "work/sub/ask.py", working=tmp_path / "work")
    assert sorted(parcel.files) == ["data/a.jsonl", "sub/ask.py"]
    assert (parcel.directory, parcel.name_of(tmp_path / "work/sub/ask.py")) == ("", "sub/ask.py")
    aside = pack([], scenario=tmp_path / "other/secret", working=tmp_path / "work")
    assert (aside.directory, aside.name_of(tmp_path / "other/secret")) == ("work", "../other/secret")


# --- the emulator's jobs


def test_an_emulator_runs_no_jobs_unless_it_was_told_to():
    """Whoever reaches the port could run anything: by default a job fails at once, and says how to allow it."""
    with emulated() as emulator, client("sagemaker", emulator) as sagemaker:
        request = job_request(Hire(ROLE), run_id="r1", region="us-east-1", shelf=Shelf("bucket"))
        sagemaker.create_processing_job(**request)
        described = sagemaker.describe_processing_job(ProcessingJobName="loadgen-r1")
        assert described["ProcessingJobStatus"] == "Failed"
        assert "--run-jobs" in described["FailureReason"]
        assert described["AppSpecification"] == request["AppSpecification"]
        with pytest.raises(sagemaker.exceptions.ResourceInUse):
            sagemaker.create_processing_job(**request)
        with pytest.raises(sagemaker.exceptions.ResourceNotFound):
            sagemaker.describe_processing_job(ProcessingJobName="nothing")
        assert [row["ProcessingJobName"] for row in sagemaker.list_processing_jobs()["ProcessingJobSummaries"]] == [
            "loadgen-r1"
        ]


def command(words, **more):
    """A job that runs some words of Python, with an output."""
    return {
        "ProcessingJobName": "job",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "any", "ContainerEntrypoint": ["python3", "-c", words]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1} | more
        },
        "ProcessingInputs": [
            {
                "InputName": "in",
                "S3Input": {
                    "S3Uri": "s3://bucket-of-jobs/in",
                    "LocalPath": "/opt/ml/processing/in",
                    "S3DataType": "S3Prefix",
                    "S3DataDistributionType": "ShardedByS3Key",
                },
            }
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": "s3://bucket-of-jobs/out",
                        "LocalPath": "/opt/ml/processing/out",
                        "S3UploadMode": "Continuous",
                    },
                }
            ]
        },
    }


@pytest.mark.parametrize(("status", "expected"), [(0, "Completed"), (3, "Failed")])
def test_an_emulated_job_has_inputs_outputs_a_message_and_a_status(status, expected):
    """Inputs are dealt out by key, outputs go up, the message and the exit status are in Describe."""
    words = (
        "import json, pathlib, sys\n"
        "ml = '/opt/ml/'\n"
        "host = json.loads(pathlib.Path(ml + 'config/resourceconfig.json').read_text())['current_host']\n"
        "names = sorted(p.name for p in pathlib.Path(ml + 'processing/in').iterdir())\n"
        "pathlib.Path(ml + f'processing/out/{host}.txt').write_text(' '.join(names))\n"
        "pathlib.Path(ml + 'output/message').write_text(host + ';')\n"
        f"sys.exit({status})\n"
    )
    with account() as emulator, client("sagemaker", emulator) as sagemaker:
        emulator.storage.make("bucket-of-jobs")
        for name in "abc":
            emulator.storage.put("bucket-of-jobs", f"in/{name}", name.encode(), 0.0)
        sagemaker.create_processing_job(**command(words, InstanceCount=2 - status % 2))
        described = ended(emulator, "job")
        outputs = {
            key: emulator.storage.get("bucket-of-jobs", key).body.decode()
            for key in emulator.storage.keys("bucket-of-jobs", "out/")
        }
    assert described["ProcessingJobStatus"] == expected
    if expected == "Completed":
        assert described["ExitMessage"] == "algo-1;algo-2;"
        assert outputs == {"out/algo-1.txt": "a c", "out/algo-2.txt": "b"}
        assert "FailureReason" not in described
    else:
        assert "exit code: 3" in described["FailureReason"]
        assert outputs == {"out/algo-1.txt": "a b c"}
    assert described["ProcessingStartTime"] <= described["ProcessingEndTime"]


def test_a_job_without_its_inputs_fails():
    """No object under the prefix: the job fails with the place in its reason, and no command ran."""
    with account() as emulator, client("sagemaker", emulator) as sagemaker:
        emulator.storage.make("bucket-of-jobs")
        sagemaker.create_processing_job(**command("raise SystemExit(9)"))
        described = ended(emulator, "job")
    assert described["ProcessingJobStatus"] == "Failed"
    assert "s3://bucket-of-jobs/in" in described["FailureReason"]


def test_a_job_is_stopped_before_it_starts():
    """StopProcessingJob while the instances are still on their way ends it as Stopped."""
    with account(time_scale=1.0) as emulator, client("sagemaker", emulator) as sagemaker:
        sagemaker.create_processing_job(**command("raise SystemExit(9)"))
        assert described(emulator, "job")["ProcessingJobStatus"] == "InProgress"
        sagemaker.stop_processing_job(ProcessingJobName="job")
        assert ended(emulator, "job")["ProcessingJobStatus"] == "Stopped"
        assert replace(Shelf("a"), prefix="b").uri == "s3://a/b"
