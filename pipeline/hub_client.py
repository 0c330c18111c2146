"""How this project speaks to the Hugging Face Hub: one client with time limits, and its refusals as sentences.

Used for buckets and jobs, by the app and on a job's machine. Reads no setting: a token that is None is the one the
client finds by itself, as it does on a job's machine.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.errors import BucketBatchError, EntryNotFoundError, HfHubHTTPError
from huggingface_hub.utils import disable_progress_bars
from huggingface_hub.utils._http import default_client_factory

from pipeline.backend import BackendUnreachable
from pipeline.store import Missing

SECONDS = 60.0  # for one answer; the client's own default is to wait for ever
REFUSALS = {
    400: "the request was refused",
    401: "the token is not valid (any more); make a new one at https://huggingface.co/settings/tokens",
    402: "there is no credit; add some at https://huggingface.co/settings/billing",
    403: "the token may not do this; it needs to write to buckets and to run jobs for this account",
    404: "it is not there",
    409: "it is there already",
    429: "it was asked too often; it is asked again later",
}


def connect(endpoint: str | None, token: str | None) -> HfApi:
    """A client for an endpoint; None is the usual one."""
    set_client_factory(_patient_client)
    disable_progress_bars()
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # else each request is a line in the log
    return HfApi(endpoint=endpoint, token=token)


def _patient_client() -> httpx2.Client:
    client = default_client_factory()
    client.timeout = httpx2.Timeout(SECONDS)
    return client


@contextmanager
def answering(name: str, what: str) -> Iterator[None]:
    """Says what went wrong with the Hub as BackendUnreachable, beginning with the backend's name; Missing passes."""
    try:
        yield
    except EntryNotFoundError as error:
        raise Missing(what) from error
    except BucketBatchError as error:
        raise BackendUnreachable(f"{name}: {what}: {_first_line(error)}") from error
    except HfHubHTTPError as error:
        raise BackendUnreachable(f"{name}: {what}: {_refusal(error)}") from error
    except (httpx2.HTTPError, OSError) as error:
        raise BackendUnreachable(f"{name}: {what}: no answer ({type(error).__name__}: {error})") from error
    except (ValueError, KeyError, TypeError) as error:  # from the client, as where a proxy answers in the Hub's place
        said = f"an answer that this version does not understand ({type(error).__name__}: {_first_line(error)})"
        raise BackendUnreachable(f"{name}: {what}: {said}") from error
    except RuntimeError as error:  # from the library that transfers the bytes of buckets
        if isinstance(error, BackendUnreachable):
            raise
        raise BackendUnreachable(f"{name}: {what}: the transfer broke off ({_first_line(error)})") from error


def _refusal(error: HfHubHTTPError) -> str:
    code = error.response.status_code if error.response is not None else 0
    said = REFUSALS.get(code, "the Hub has trouble; it is asked again later" if code >= 500 else "it was refused")
    told = error.server_message
    return f"{said} ({code}{f', {told[:200]}' if told else ''})"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]
