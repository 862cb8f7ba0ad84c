"""A cluster for Snakemake whose jobs run on this machine, after a command of a test."""

import os
import subprocess

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
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
    """Runs the shell command in BEFORE_A_JOB, as if time passed in the queue, and then the job."""

    def run_job(self, job):
        info, command = SubmittedJobInfo(job), self.format_job_exec(job)
        self.report_job_submission(info)
        subprocess.run(["bash", "-c", os.environ["BEFORE_A_JOB"]], check=True)
        is_done = subprocess.run(["bash", "-xc", command], check=False).returncode == 0
        (self.report_job_success if is_done else self.report_job_error)(info)

    async def check_active_jobs(self, active_jobs):
        return
        yield

    def cancel_jobs(self, active_jobs):
        """Do nothing: there are none."""
