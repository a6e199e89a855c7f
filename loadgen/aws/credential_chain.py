"""Loading credentials by the SDK's chain, before any client is opened.

An error of the chain is reported with the profile and what it names; no output of a credential program is shown.
Without a terminal nothing asks for input and nothing waits for it.
"""

import asyncio
import getpass
import json
import os
import shlex
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Iterator, Mapping
from contextlib import suppress
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
    programs = _CredentialPrograms(has_terminal=limit is None)
    try:
        _ask_on_terminals_only(session)
        programs.start_those_of(session)
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
    finally:
        await programs.end()


class _CredentialPrograms:
    """The credential programs that the chain starts. The SDK leaves one running when its caller stops waiting.

    Args:
        has_terminal: whether a program may ask on the terminal. Without one it runs in a session of its own, so that
            what it has started can be ended with it.
    """

    def __init__(self, *, has_terminal: bool) -> None:
        self._has_terminal = has_terminal
        self._running: list[Process] = []

    def start_those_of(self, session: Any) -> None:
        """Start the programs of the session's profile, and of the profiles that it takes its credentials from."""
        resolver = session.get_component("credential_provider")
        with suppress(UnknownCredentialError):
            resolver.get_provider("custom-process")._popen = self._start  # noqa: SLF001 - there is no argument for it
        with suppress(UnknownCredentialError, AttributeError):
            builder = resolver.get_provider("assume-role")._profile_provider_builder  # noqa: SLF001 - likewise
            create = builder._create_process_provider  # noqa: SLF001

            def create_process_provider(profile_name: str) -> Any:
                provider = create(profile_name)
                provider._popen = self._start  # noqa: SLF001
                return provider

            builder._create_process_provider = create_process_provider  # noqa: SLF001

    async def _start(self, *argv: str, **options: Any) -> Process:
        process = await asyncio.create_subprocess_exec(*argv, **options, start_new_session=not self._has_terminal)
        self._running = [known for known in self._running if known.returncode is None]
        self._running.append(process)
        return process

    async def end(self) -> None:
        """Kill the programs that still run, and wait for their end."""
        for process in self._running:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    if self._has_terminal:
                        process.kill()
                    else:
                        os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()
        self._running.clear()


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
