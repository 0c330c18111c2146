"""The backend of Hugging Face Jobs on the stand-in of the Hub, with jobs that count."""

from pipeline.hf_jobs import HfJobsBackend
from tests.pipeline.hub_machines import HubJob
from tests.pipeline.hub_server import TOKEN, HubServer

JOB = "tests.pipeline.hub_job"


def backend_on(hub: HubServer, **options: str) -> HfJobsBackend:
    """A new instance: what a restarted app has."""
    slots = ("a10g-small", "cpu-basic")
    return HfJobsBackend(TOKEN, "ann", "rankloop", slots, endpoint=hub.endpoint, poll=0.1, **options)


def job_of(hub: HubServer) -> HubJob:
    """The newest job."""
    return list(hub.jobs.values())[-1]
