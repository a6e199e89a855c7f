"""Why credentials could not be refreshed, for the outcome of the requests that need them. No I/O.

A refresh runs whatever the credential chain names: STS, IMDS, a program, a file, a plug-in. Each may raise anything.
"""

from botocore.exceptions import ClientError


def describe_refresh_error(error: BaseException) -> str:
    """Return one line that names the operation and the code, or the exception's type; no text of a provider.

    Example:
        >>> denied = ClientError({"Error": {"Code": "ExpiredToken"}}, "AssumeRole")
        >>> describe_refresh_error(denied)
        'credentials cannot be refreshed (AssumeRole: ExpiredToken)'
        >>> describe_refresh_error(EOFError())
        'credentials cannot be refreshed (EOFError)'
    """
    reason = type(error).__name__
    if isinstance(error, ClientError):
        reason = f"{error.operation_name}: {error.response.get('Error', {}).get('Code') or reason}"
    return f"credentials cannot be refreshed ({reason})"
