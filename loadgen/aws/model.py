"""Registering a model with an emulator, so that a scenario keeps its model's name in a rehearsal."""

import time

from loadgen.aws.failure import SDK_ERRORS, Trouble, explain, judge
from loadgen.aws.session import Clients

# The variable by which the emulator knows how the model behaves.
_PROFILE_VARIABLE = "LOADGEN_PROFILE"


async def register(clients: Clients, model: str, *, profile: str) -> None:
    """Create a model of this name that behaves like the profile; one that exists is left as it is.

    Raises:
        LoadgenError: the emulator refused it.
    """
    try:
        await clients.sagemaker.create_model(
            ModelName=model,
            PrimaryContainer={
                "Image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{profile}:1",
                "Environment": {_PROFILE_VARIABLE: profile},
            },
            ExecutionRoleArn="arn:aws:iam::123456789012:role/emulated-model",
        )
    except SDK_ERRORS as error:
        if judge(error) is not Trouble.EXISTS:
            raise explain(error, f"CreateModel {model}", now=time.time()) from error
