"""Checks within seconds whether a Ray cluster can be joined at an address.

Ray itself retries for minutes, and then reports that there is none. Refuses addresses of anything but a cluster,
clusters that need another token, and clusters of another Ray version.
"""

from __future__ import annotations

import os
import socket

import grpc
from ray import __version__
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled, without hints
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from pipelines.errors import RunError, UsageError

# Timeouts in seconds, for a connection and for an answer.
_CONNECT_TIMEOUT, _ANSWER_TIMEOUT = 5.0, 8.0
# The variables that Ray reads a token from, in order (Ray's docs, ray-security/token-auth).
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_WANTED = "give a head's HOST:6379"


def check(address: str) -> None:
    """Raises UsageError if no cluster can be joined at an address, and RunError if nothing listens there."""
    if address.startswith(("http://", "https://")):
        raise UsageError(
            f"--address {address} is a cluster's dashboard, which `ray job submit --address` takes: {_WANTED}, or "
            "submit the command as a job without an address (RAY_ADDRESS is one, too)"
        )
    if address == "auto":
        _ask(_found())
    elif address.startswith("ray://"):
        raise UsageError(
            f"--address {address} is for Ray Client, whose workers lack this checkout: {_WANTED} on a machine of the "
            "cluster, or submit the command as a job (`ray job submit --working-dir .`)"
        )
    elif "://" not in address:  # other schemes belong to modules that extend Ray
        _connect(address)
        _ask(address)


def _found() -> str:
    """The address of the cluster on this machine, or in RAY_ADDRESS."""
    try:
        found = canonicalize_bootstrap_address("auto")
    except ValueError:  # RAY_ADDRESS is a dashboard's
        found = None
    if found is None:
        raise UsageError(f"--address auto: no Ray runs on this machine: start one (`ray start --head`), or {_WANTED}")
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as Ray does, but only for `auto`
    return str(found)


def _connect(address: str) -> None:
    """Raises RunError if nothing listens at `HOST:PORT`, and UsageError if the address has another form."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 1 << 16:
        raise UsageError(f"--address {address} has no host and port: {_WANTED}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT).close()
    except OSError as error:
        raise RunError(f"no Ray cluster at {address} ({error.strerror or error}): is it up?") from None


def _ask(address: str) -> None:
    """Ask a head whether it is alive. Raises UsageError unless it answers as a head of this Ray's version."""
    if is_token_auth_enabled() and not _has_token():
        raise UsageError(
            "RAY_AUTH_MODE is `token`, but there is no token: set RAY_AUTH_TOKEN, or write the cluster's token to "
            "~/.ray/auth_token"
        )
    with init_grpc_channel(address) as channel:
        try:
            heads = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            request = gcs_service_pb2.CheckAliveRequest()  # type: ignore[attr-defined]  # created at import time
            answer = heads.CheckAlive(request, timeout=_ANSWER_TIMEOUT)
        except grpc.RpcError as error:
            raise UsageError(_refusal(address, error)) from None
    if answer.ray_version != __version__:
        raise UsageError(
            f"the cluster at {address} has Ray {answer.ray_version}, but this is {__version__}: both must be the same"
        )


def _refusal(address: str, error: grpc.RpcError) -> str:
    """What an error instead of an answer means."""
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return f"the cluster at {address} {_token_problem()}"
    if "http1" in error.details():
        return f"--address {address} answers like a dashboard, which `ray job submit --address` takes: {_WANTED}"
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"--address {address} is a different port of a cluster: {_WANTED}"
    return f"--address {address} does not answer like a Ray cluster ({error.code().name}): {_WANTED}"


def _has_token() -> bool:
    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def _token_problem() -> str:
    """Why the cluster refuses: the token is wrong, is not sent, or does not exist."""
    given = next((name for name in _TOKENS if os.environ.get(name)), "~/.ray/auth_token")
    if is_token_auth_enabled():
        return f"does not accept the token in {given}: it must be the cluster's own"
    if _has_token():
        return f"needs a token, and the one in {given} is not sent: set RAY_AUTH_MODE=token as well"
    return "needs a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or write it to ~/.ray/auth_token)"
