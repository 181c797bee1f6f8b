"""Retries requests to an object store: which of its errors are transient, and how the others are reported."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential_jitter,
)

from pipelines.errors import RunError, UsageError
from pipelines.progress import say

T = TypeVar("T")

# Seconds for which a request is retried, and the most seconds between two tries.
PATIENCE, _LONGEST_WAIT = 300.0, 20.0

# Set by a thread's owner when it no longer waits for the thread's results: retrying ends.
abandoned: ContextVar[threading.Event] = ContextVar("abandoned", default=threading.Event())  # noqa: B039 - never set

# Transient errors: the AWS SDK's names (aws-cpp-sdk-core, CoreErrors.h), HTTP statuses and Google's canonical codes.
_TRANSIENT = re.compile(
    r"NETWORK_CONNECTION|SLOW_DOWN|THROTTLING|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|REQUEST_EXPIRED"
    r"|HTTP status (429|5\d\d)|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|curlCode|CURL error"
)
_DENIED = re.compile(
    r"ACCESS_DENIED|SIGNATURE_DOES_NOT_MATCH|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN|MISSING_AUTHENTICATION_TOKEN"
    r"|INVALID_SIGNATURE|EXPIRED_TOKEN|PERMISSION_DENIED|UNAUTHENTICATED|HTTP status 40[13]"
)
_ABSENT = re.compile(r"NO_SUCH_BUCKET|bucket does not exist|NOT_FOUND")


class StoreError(RunError):
    """An object store denies access, or did not answer before the retries ended."""


def retrying(place: object, request: Callable[[], T]) -> T:
    """The result of a request for `place`, retried while its errors are transient.

    Raises FileNotFoundError as the request does, UsageError for a missing bucket, StoreError for all other errors.
    """

    def announce(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome:
            say(f"{place} does not answer ({_reason(state.outcome.exception())}): retrying for {PATIENCE:.0f} s")

    given_up = abandoned.get()
    attempts = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, OSError) and bool(_TRANSIENT.search(str(error)))),
        wait=wait_exponential_jitter(multiplier=0.5, max=_LONGEST_WAIT),
        stop=stop_after_delay(PATIENCE) | stop_when_event_set(given_up),
        sleep=sleep_using_event(given_up),
        before_sleep=announce,
        reraise=True,
    )
    try:
        return attempts(request)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _explained(place, error) from None


def _explained(place: object, error: OSError) -> Exception:
    text = str(error)
    if _DENIED.search(text):
        return StoreError(f"{place}: access denied ({_reason(error)}): check the credentials and their permissions")
    if _ABSENT.search(text):
        return UsageError(f"{place}: there is no such bucket ({_reason(error)}): create it, or name another")
    return StoreError(
        f"{place}: the store failed ({_reason(error)}): whole shards are kept; run the same command again"
    )


def _reason(error: BaseException | None) -> str:
    """A store's error without the request around it: `AWS Error ACCESS_DENIED during PutObject`."""
    text = " ".join(str(error).split())
    aws = re.search(r"AWS Error .*?(?= operation:)", text)
    google = re.search(r"google::cloud::Status\((\w+): (.{0,100})", text)
    return aws.group() if aws else ": ".join(google.groups()) if google else text[:150]
