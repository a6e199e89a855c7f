"""The tables of the emulator are bounded: what a client can add without end is refused, or replaces the oldest."""

import json

import pytest
from botocore.exceptions import ClientError

from loadgen.emulator import faults
from loadgen.emulator.behaviour import ledger
from loadgen.emulator.services import metric_store, processing_jobs, s3_storage
from loadgen.emulator.services.stored_inputs import StoredInputs
from tests.support.emulator import client, deploy, emulated, endpoint_config, eventually, fetch
from tests.support.processing_jobs import ROLE, job_account, wait_for_job

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1"


def refusal(call, **parameters):
    """Return code and message of the error that a call raises."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def model(name, **environment):
    """Return CreateModel's input."""
    container = {"Image": IMAGE, "Environment": environment}
    return {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": ROLE}


def test_models_and_configurations_are_limited_by_number_and_size():
    """Above either limit a Create is ResourceLimitExceeded in AWS's words; after a Delete there is room again."""
    with emulated() as emulator, client("sagemaker", emulator) as sagemaker:
        emulator.control._model_inputs = StoredInputs("models", max_resources=3, max_bytes=2000)
        emulator.control._config_inputs = StoredInputs("endpoint configurations", max_resources=1)
        sagemaker.create_model(**model("m1"))
        code, message = refusal(sagemaker.create_model, **model("m2", TEXT="x" * 1024, MORE="x" * 1000))
        assert code == "ResourceLimitExceeded"
        assert "'Size of models in bytes' is 2000 Units" in message
        sagemaker.create_model(**model("m2"))
        sagemaker.create_model(**model("m3"))
        code, message = refusal(sagemaker.create_model, **model("m4"))
        assert (code, "with current utilization of 3 Units" in message) == ("ResourceLimitExceeded", True)
        sagemaker.delete_model(ModelName="m2")
        sagemaker.create_model(**model("m4"))
        sagemaker.create_endpoint_config(**endpoint_config())
        second = endpoint_config() | {"EndpointConfigName": "second"}
        assert refusal(sagemaker.create_endpoint_config, **second)[0] == "ResourceLimitExceeded"
        sagemaker.delete_endpoint_config(EndpointConfigName="config")
        sagemaker.create_endpoint_config(**second)


def test_a_resource_has_at_most_50_tags():
    """AddTags that would make 51 is refused whole; changing one of the 50 is allowed."""
    with emulated() as emulator, client("sagemaker", emulator) as sagemaker:
        arn = sagemaker.create_model(**model("m1"))["ModelArn"]
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": f"k{n}", "Value": "v"} for n in range(50)])
        assert "at most 50" in refusal(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": "more", "Value": "v"}])[1]
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "k0", "Value": "changed"}])
        assert len(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == 50


def job(name, instances=1, source="pass"):
    """Return CreateProcessingJob's input."""
    cluster = {"InstanceCount": instances, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    application = {"ImageUri": "any", "ContainerEntrypoint": ["python3", "-c", source]}
    return {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": application,
        "ProcessingResources": {"ClusterConfig": cluster},
    }


def test_running_instances_and_kept_jobs_are_limited(monkeypatch):
    """Instances above 20 are ResourceLimitExceeded until jobs end; of finished jobs the oldest are forgotten."""
    monkeypatch.setattr(processing_jobs, "MAX_JOBS", 3)
    with job_account(time_scale=1e-3) as emulator, client("sagemaker", emulator) as sagemaker:
        sagemaker.create_processing_job(**job("wide", 15))
        code, message = refusal(sagemaker.create_processing_job, **job("more", 6))
        assert code == "ResourceLimitExceeded"
        assert "'ml.m5.large for processing job usage' is 20 Instances, with current utilization of 15" in message
        sagemaker.stop_processing_job(ProcessingJobName="wide")
        wait_for_job(emulator, "wide")
        for number in range(4):
            sagemaker.create_processing_job(**job(f"job-{number}", 5))
        listed = sagemaker.list_processing_jobs()["ProcessingJobSummaries"]
        assert sorted(row["ProcessingJobName"] for row in listed) == ["job-0", "job-1", "job-2", "job-3"]


def test_metrics_of_a_client_are_limited(monkeypatch):
    """PutMetricData above the number of series or values stores nothing of the request and is LimitExceeded."""
    monkeypatch.setattr(metric_store, "MAX_SERIES", 3)
    monkeypatch.setattr(metric_store, "MAX_PUT_VALUES", 10)
    with emulated() as emulator, client("cloudwatch", emulator) as cloudwatch:

        def put(names, values=(1.0,)):
            rows = [{"MetricName": name, "Values": list(values)} for name in names]
            cloudwatch.put_metric_data(Namespace="Mine", MetricData=rows)

        put(["a", "b"])
        assert refusal(put, names=["c", "d"])[0] == "LimitExceeded"
        assert len(emulator.metrics.series) == 2
        put(["a"], range(8))
        put(["a"], range(1))
        assert refusal(put, names=["a"], values=range(100, 110))[0] == "LimitExceeded"
        assert emulator.metrics.put_values == 9


def test_metrics_of_endpoints_replace_the_oldest(monkeypatch):
    """An endpoint publishes although the table of series is full; the table does not grow."""
    monkeypatch.setattr(metric_store, "MAX_SERIES", 8)
    store = metric_store.MetricStore()
    for number in range(5):
        metric_store.EndpointMetrics(store, f"e{number}", "v").observe(
            60.0, [("Invocations", 1.0), ("ModelLatency", 2.0)]
        )
        assert len(store.series) <= 8
    assert store.find("AWS/SageMaker", "ModelLatency", [("EndpointName", "e4"), ("VariantName", "v")], None)
    assert not store.find("AWS/SageMaker", "ModelLatency", [("EndpointName", "e0"), ("VariantName", "v")], None)


def test_the_bytes_of_s3_are_counted_and_limited(monkeypatch):
    """Objects, copies and parts count; above the limit EntityTooLarge; replacing, deleting and aborting give bytes back."""
    monkeypatch.setattr(s3_storage, "MAX_STORED_BYTES", 100)
    with emulated() as emulator, client("s3", emulator) as s3:
        s3.create_bucket(Bucket="bucket-one")
        s3.put_object(Bucket="bucket-one", Key="a", Body=bytes(60))
        large = {"Bucket": "bucket-one", "Key": "b", "Body": bytes(41)}
        assert refusal(s3.put_object, **large)[0] == "EntityTooLarge"
        copy = {"Bucket": "bucket-one", "Key": "b", "CopySource": "bucket-one/a"}
        assert refusal(s3.copy_object, **copy)[0] == "EntityTooLarge"
        s3.put_object(Bucket="bucket-one", Key="a", Body=bytes(50))
        upload = {"Bucket": "bucket-one", "Key": "c"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        s3.upload_part(**upload, PartNumber=1, Body=bytes(50))
        assert refusal(s3.upload_part, **upload, PartNumber=2, Body=b"x")[0] == "EntityTooLarge"
        etag = s3.upload_part(**upload, PartNumber=1, Body=bytes(40))["ETag"]
        assert emulator.storage.stored_bytes == 90
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        assert emulator.storage.stored_bytes == 90
        upload["UploadId"] = s3.create_multipart_upload(Bucket="bucket-one", Key="c")["UploadId"]
        s3.upload_part(**upload, PartNumber=1, Body=bytes(5))
        s3.abort_multipart_upload(**upload)
        s3.delete_object(Bucket="bucket-one", Key="a")
        s3.delete_object(Bucket="bucket-one", Key="a")
        s3.delete_object(Bucket="bucket-one", Key="c")
        assert emulator.storage.stored_bytes == 0


def test_buckets_objects_and_uploads_are_limited(monkeypatch):
    """Above the number of buckets TooManyBuckets, above that of objects or uploads InvalidRequest; replacing is allowed."""
    for name in ("MAX_BUCKETS", "MAX_OBJECTS", "MAX_UPLOADS"):
        monkeypatch.setattr(s3_storage, name, 2)
    with emulated() as emulator, client("s3", emulator) as s3:
        for bucket in ("bucket-one", "bucket-two", "bucket-two"):
            s3.create_bucket(Bucket=bucket)
        assert refusal(s3.create_bucket, Bucket="bucket-three")[0] == "TooManyBuckets"
        for bucket in ("bucket-one", "bucket-two", "bucket-one"):
            s3.put_object(Bucket=bucket, Key="a", Body=b"x")
        assert refusal(s3.put_object, Bucket="bucket-one", Key="b", Body=b"x")[0] == "InvalidRequest"
        for _ in range(2):
            s3.create_multipart_upload(Bucket="bucket-one", Key="c")
        assert refusal(s3.create_multipart_upload, Bucket="bucket-one", Key="c")[0] == "InvalidRequest"


def test_the_ledger_and_the_faults_are_limited(monkeypatch):
    """Counters of the oldest endpoint without requests in flight are dropped; codes above 100 are `other`; faults above the limit are refused."""
    monkeypatch.setattr(ledger, "MAX_ENDPOINTS", 2)
    monkeypatch.setattr(faults, "MAX_FAULTS", 2)
    kept = ledger.Ledger()
    kept.counters_for("busy").arrivals = 1
    for name in ("a", "b", "c"):
        kept.counters_for(name)
    assert list(kept.by_endpoint) == ["busy", "c"]
    counters = kept.counters_for("c")
    for number in range(150):
        counters.count_failure(f"code-{number}")
    counters.count_failure("code-0")
    assert (len(counters.failed), counters.failed["other"], counters.failed["code-0"]) == (101, 50, 2)
    with emulated() as emulator:
        deploy(emulator)
        fault = json.dumps({"operation": "X", "kind": "throttle"}).encode()
        assert [fetch(f"{emulator.url}/faults", fault)[0] for _ in range(3)] == [200, 200, 400]
        eventually(lambda: fetch(f"{emulator.url}/faults", method="DELETE")[0] == 200)
        assert fetch(f"{emulator.url}/faults", fault)[0] == 200
