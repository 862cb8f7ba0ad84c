"""A cluster for Snakemake that takes no job: a start on it shows what comes before the first."""

from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(RemoteExecutor):
    """Takes no job."""

    def run_job(self, job):
        raise AssertionError(f"{job} is a job of this cluster; start local rules alone")

    async def check_active_jobs(self, active_jobs):
        return
        yield

    def cancel_jobs(self, active_jobs):
        """Do nothing: there are none."""
