"""What a start on a cluster changes of Snakemake."""

from types import SimpleNamespace

import pytest

from _cluster import prepare_cluster
from terralucas.errors import StudyError


def workflow_of(rules, immediate_submit=False):
    """Snakemake's workflow, as far as it matters here."""
    return SimpleNamespace(
        remote_execution_settings=SimpleNamespace(immediate_submit=immediate_submit),
        rules=rules, is_local=lambda rule: rule.name == "make_tables", main_snakefile="Snakefile",
        overwrite_configfiles=[], config_settings=SimpleNamespace(config_args=[], configfiles=[]),
        group_settings=SimpleNamespace(overwrite_groups={}), executor_plugin=SimpleNamespace(name="another"),
    )  # fmt: skip


def test_a_local_rule_that_fails_is_not_tried_again(tmp_path):
    """It would print the same error once more for each of the profile's `retries`."""
    rules = [SimpleNamespace(name=name, restart_times=2) for name in ("make_tables", "train_run")]
    prepare_cluster(workflow_of(rules), tmp_path, "cancel")
    assert {rule.name: rule.restart_times for rule in rules} == {"make_tables": 0, "train_run": 2}


def test_a_start_that_would_not_wait_for_its_jobs_is_refused(tmp_path):
    """It ended well, having submitted nothing, and named a report that was not there."""
    with pytest.raises(StudyError, match="found: --immediate-submit"):
        prepare_cluster(workflow_of([], immediate_submit=True), tmp_path, "cancel")
