"""Loading credentials by the SDK's chain, before any client is opened.

An error of the chain is reported with the profile and what it names; no output of a credential program is shown.
Without a terminal nothing asks for input and nothing waits for it.
"""

import asyncio
import getpass
import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import UnknownCredentialError

from loadgen.aws.errors import SDK_ERRORS, STANDARD_ERRORS, to_loadgen_error
from loadgen.errors import AuthError, LoadgenError
from loadgen.redaction import remember_secrets

_HINT = (
    "correct the profile in ~/.aws/config, use another AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)
# Seconds for the whole chain without a terminal. A credential program has no limit of its own in the SDK.
_CHAIN_TIMEOUT = 120.0


async def load_credentials(session: Any) -> None:
    """Load and, where due, fetch the credentials of a botocore session; it keeps them. None found is not an error.

    Raises:
        AuthError: the chain failed, such as a credential program that is missing or an MFA code that is due.
        ConfigError, UnavailableError: with a hint.
    """
    limit = None if _has_terminal() else _CHAIN_TIMEOUT
    try:
        _ask_on_terminals_only(session)
        async with asyncio.timeout(limit) as deadline:
            credentials = await session.get_credentials()
            if credentials is not None:
                frozen = await credentials.get_frozen_credentials()
                remember_secrets(frozen.access_key, frozen.secret_key, frozen.token)
    except SDK_ERRORS as error:
        if isinstance(error, TimeoutError) and deadline.expired():
            name = session.get_config_variable("profile") or "default"
            raise AuthError(
                f"Loading credentials of profile {name}: no credentials within {limit:g} s, and there is no terminal",
                hint="a credential program may wait for input: log in before, or use another AWS_PROFILE",
            ) from error
        profiles = session.full_config.get("profiles", {})
        name = session.get_config_variable("profile") or "default"
        raise credentials_error(error, name, profiles, now=time.time()) from error


def _has_terminal() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _ask_on_terminals_only(session: Any) -> None:
    """Make the SDK ask for an MFA code on a terminal only; getpass would open /dev/tty, or print and read stdin."""
    try:
        provider = session.get_component("credential_provider").get_provider("assume-role")
    except UnknownCredentialError:
        return
    provider._prompter = _ask  # noqa: SLF001 - the SDK's session has no argument for it


def _ask(prompt: str) -> str:
    if not _has_terminal():
        raise EOFError
    return getpass.getpass(prompt)


def credentials_error(
    error: BaseException, profile: str, profiles: Mapping[str, Mapping[str, str]], *, now: float
) -> LoadgenError:
    """Convert an error of the credential chain, with what the profile names.

    Args:
        error: raised by the SDK.
        profile: name of the profile in use.
        profiles: all profiles of the configuration files.
        now: seconds since the epoch.
    """
    operation = f"Loading credentials of profile {profile}"
    settings = dict(_chain_settings(profile, profiles))
    program = settings.get("credential_process", "")
    if isinstance(error, EOFError):
        device = f" for {settings['mfa_serial']}" if "mfa_serial" in settings else ""
        hint = "use a profile without MFA, or a session that was logged in before (such as aws sso login)"
        return AuthError(f"{operation}: it asks for an MFA code{device}, and there is no terminal", hint=hint)
    if isinstance(error, OSError) and program and not error.filename:
        return AuthError(f"{operation}: {_program_name(program)}: {error.strerror or type(error).__name__}", hint=_HINT)
    if program and isinstance(error, (json.JSONDecodeError, UnicodeError)):
        return AuthError(f"{operation}: credential_process did not print JSON", hint=_HINT)
    mapped = to_loadgen_error(error, operation, now=now)
    # Whatever else a provider raises leaves the run without credentials.
    if isinstance(error, STANDARD_ERRORS) and mapped.status is not AuthError.status:
        return AuthError(mapped.message, hint=_HINT)
    return mapped


def _chain_settings(profile: str, profiles: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the settings of a profile and of the profiles it takes its credentials from."""
    seen: set[str] = set()
    while profile not in seen and profile in profiles:
        seen.add(profile)
        yield from profiles[profile].items()
        profile = profiles[profile].get("source_profile", "")


def _program_name(command: str) -> str:
    """Return the program of a command line: its arguments may be secret."""
    try:
        return shlex.split(command)[0]
    except (ValueError, IndexError):
        return "credential_process"
