"""What a start on a cluster changes of Snakemake."""

from types import SimpleNamespace

from execution.cluster.prepare import prepare_cluster


def test_a_local_rule_that_fails_is_not_tried_again(tmp_path):
    """It would print the same error once more for each of the profile's `retries`."""
    rules = [SimpleNamespace(name=name, restart_times=2) for name in ("make_tables", "train_run")]
    workflow = SimpleNamespace(
        rules=rules, is_local=lambda rule: rule.name == "make_tables", main_snakefile="Snakefile",
        overwrite_configfiles=[], config_settings=SimpleNamespace(config_args=[], configfiles=[]),
        group_settings=SimpleNamespace(overwrite_groups={}), executor_plugin=SimpleNamespace(name="another"),
    )  # fmt: skip
    prepare_cluster(workflow, tmp_path, "start-1", "cancel")
    assert {rule.name: rule.restart_times for rule in rules} == {"make_tables": 0, "train_run": 2}
